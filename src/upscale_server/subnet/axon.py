"""The miner's face: an Axon that answers validators by calling our own HTTP service.

It upscales nothing, and stops when it is told to; the service is another process, which outlives it or not.
The traps: bittensor imports slowly and takes over logging, so it is imported on use; its server listens on every
network unless its configuration is changed before the start, and a start that fails is silent.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Literal

from upscale_server.client import Client
from upscale_server.errors import BadRequest, MissingExtra, UpscaleError
from upscale_server.logs import get_logger
from upscale_server.subnet.chain import Chain
from upscale_server.subnet.ledger import Ledger
from upscale_server.subnet.untyped import Axon, Package, Wallet
from upscale_server.subnet.work import Service, Work

_START_SECONDS = 20.0
_LOOK_SECONDS = 0.05
_WAITING_CALLERS = 64
"""Callers that may hold the line at once: each costs a waiting thread and nothing else."""
_EVERY_NETWORK = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound


@dataclass(frozen=True, slots=True)
class Miner:
    """Everything that the face needs to know.

    `external_ip` is what is written to the chain, the host where that is a single address; bittensor looks the
    machine's own up online where neither says. `allowed_hotkeys` are asked for their signature like everyone and need
    no permit. Without `netuid` nothing is told to a chain, and without hotkeys as well every signed caller is answered.
    """

    server_url: str
    state_dir: Path
    api_key: str | None = None
    host: str = "0.0.0.0"  # noqa: S104 - validators come from anywhere; they are checked by signature
    port: int = 8091
    external_ip: str | None = None
    external_port: int | None = None
    wallet: str = "default"
    hotkey: str = "default"
    wallet_dir: Path | None = None
    netuid: int | None = None
    network: str = "finney"
    allowed_hotkeys: frozenset[str] = frozenset()
    longest_seconds: Literal[5, 10] = 10


def serve(miner: Miner, stop: Event) -> None:
    """Answer validators until `stop` is set.

    Raises:
        MissingExtra: bittensor is not installed.
        BadRequest: there is no such wallet, or the port is taken.
        ServerUnreachable, ModelsNotLoaded: the service does not answer, or is not ready.
    """
    with Client(miner.server_url, miner.api_key) as client:
        client.health()
        with answering(miner, _wallet_of(miner), client):
            stop.wait()


@contextmanager
def answering(miner: Miner, wallet: Wallet, service: Service) -> Iterator[Axon]:
    """Give an Axon that is answering; it is stopped when the block ends."""
    bittensor = _bittensor()
    from upscale_server.subnet.handlers import Handlers  # noqa: PLC0415 - its synapses need bittensor
    from upscale_server.subnet.synapses import ContentLength  # noqa: PLC0415 - as above

    admits, announce = _doors(miner, bittensor)
    external = miner.external_ip or (None if miner.host in _EVERY_NETWORK else miner.host)
    axon = bittensor.Axon(
        wallet=wallet, port=miner.port, ip=miner.host, external_ip=external, external_port=miner.external_port
    )
    axon.fast_config.host = miner.host
    work = Work(service, Ledger(miner.state_dir / "miner"))
    with ThreadPoolExecutor(_WAITING_CALLERS, thread_name_prefix="miner") as threads:
        for one in Handlers(work, admits, threads, ContentLength(miner.longest_seconds)).all():
            axon.attach(forward_fn=one.forward, blacklist_fn=one.blacklist)
        try:
            _start(axon, miner)
            announce(axon)
            get_logger().info("miner_answers", host=miner.host, port=miner.port, hotkey=wallet.hotkey.ss58_address)
            yield axon
        finally:
            axon.stop()


def _doors(miner: Miner, bittensor: Package) -> tuple[Callable[[str], bool], Callable[[Axon], None]]:
    """Return who may ask, and what tells the chain where we are."""
    if miner.netuid is None:
        allowed = miner.allowed_hotkeys
        return (lambda hotkey: not allowed or hotkey in allowed), lambda _axon: None
    chain = Chain(bittensor.Subtensor(network=miner.network), miner.netuid)
    return (lambda hotkey: hotkey in miner.allowed_hotkeys or chain.permits(hotkey)), chain.announce


def _start(axon: Axon, miner: Miner) -> None:
    """Start and wait until it listens: the server's thread ends without a word where it cannot."""
    try:
        with socket.create_server((miner.host, miner.port), family=_family_of(miner.host)):
            pass
    except OSError as err:
        raise BadRequest(
            f"the axon cannot listen on {miner.host}:{miner.port}: {err.strerror}", hint="choose another port"
        ) from err
    axon.start()
    end = time.monotonic() + _START_SECONDS
    while not axon.fast_server.started:
        if time.monotonic() > end:
            raise UpscaleError(f"the axon does not listen on {miner.host}:{miner.port} after {_START_SECONDS:.0f} s")
        time.sleep(_LOOK_SECONDS)


def _family_of(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _wallet_of(miner: Miner) -> Wallet:
    where = {} if miner.wallet_dir is None else {"path": str(miner.wallet_dir)}
    wallet = _bittensor().Wallet(name=miner.wallet, hotkey=miner.hotkey, **where)
    try:
        wallet.hotkey  # noqa: B018 - reading it opens the key's file
    except Exception as err:
        raise BadRequest(
            f"wallet {miner.wallet!r} has no readable hotkey {miner.hotkey!r}: {err}", hint="make one with btcli"
        ) from err
    return wallet


def _bittensor() -> Package:
    try:
        import bittensor  # noqa: PLC0415 - an extra
    except ImportError as err:
        raise MissingExtra(
            f"the miner needs bittensor: {err}", hint="install the package with its extra `subnet`"
        ) from err
    if not hasattr(bittensor, "Axon"):
        version = getattr(bittensor, "__version__", "unknown")
        raise UpscaleError(f"bittensor {version} has no Axon; version 10.5.0 is the last that has one")
    return bittensor
