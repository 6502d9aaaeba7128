"""Validators' questions over a real Axon: signed by throw-away keys, on loopback, with no chain behind.

The service behind the Axon is a fake here; a real one is the business of the server's own tests.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import typing
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from inspect import signature
from pathlib import Path

import pytest

from tests.support.fake_service import FakeService
from upscale_server.errors import BadRequest, QueueFull
from upscale_server.subnet.axon import Miner, answering, serve
from upscale_server.subnet.ledger import Ledger
from upscale_server.subnet.untyped import AnySynapse, Axon, Wallet
from upscale_server.subnet.work import Work

with warnings.catch_warnings():
    # Importing bittensor warns of its own dependencies and sets up a logging of its own.
    warnings.simplefilter("ignore")
    bittensor = pytest.importorskip(
        "bittensor", reason="bittensor is not installed: pip install bittensor==10.5.0 to test the subnet face"
    )
    from upscale_server.subnet import handlers
    from upscale_server.subnet.synapses import (
        LengthCheckProtocol,
        MinerPayload,
        MinerResponse,
        PollResponse,
        TaskWarrantProtocol,
        VideoUpscalingJobProtocol,
        VideoUpscalingPollProtocol,
        VideoUpscalingProtocol,
    )

Prepare = Callable[[object, object, AnySynapse, float], AnySynapse]
pytestmark = pytest.mark.filterwarnings("ignore")
PAYLOAD = {"reference_video_urls": ["http://a/1.mp4", "http://a/2.mp4"], "task_types": ["HD24K", "SD24K"]}


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep Dendrite's constructor from asking the internet for this machine's address."""
    monkeypatch.setattr("bittensor.core.dendrite.networking.get_external_ip", lambda: "127.0.0.1")


@pytest.fixture(scope="module")
def wallets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Wallet]:
    """Give throw-away keys for a miner, a validator and a stranger."""
    folder = tmp_path_factory.mktemp("wallets")
    made = {}
    for name in ("miner", "validator", "stranger"):
        made[name] = bittensor.Wallet(name=name, hotkey="default", path=str(folder))
        made[name].create_new_coldkey(use_password=False, overwrite=True, suppress=True)
        made[name].create_new_hotkey(use_password=False, overwrite=True, suppress=True)
    return made


@pytest.fixture
def service() -> FakeService:
    """Give a service in memory."""
    return FakeService()


def _free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


@pytest.fixture
def axon(wallets: dict[str, Wallet], service: FakeService, tmp_path: Path) -> Iterator[Axon]:
    """Give an Axon that answers the validator alone."""
    miner = Miner(
        "http://unused",
        tmp_path,
        host="127.0.0.1",
        port=_free_port(),
        allowed_hotkeys=frozenset({wallets["validator"].hotkey.ss58_address}),
    )
    with answering(miner, wallets["miner"], service) as running:
        yield running


def _ask(wallet: Wallet, axon: Axon, synapse: AnySynapse, seconds: float = 20.0) -> AnySynapse:
    async def asked() -> AnySynapse:
        async with bittensor.Dendrite(wallet=wallet) as dendrite:
            return await dendrite.forward(axon.info(), synapse, timeout=seconds, deserialize=False)

    return asyncio.run(asked())


def test_a_validator_that_holds_the_line_gets_the_addresses(
    wallets: dict[str, Wallet], axon: Axon, service: FakeService
) -> None:
    """Lists and their scalar twins are both filled, in the order of the request, each with its scale."""
    asked = VideoUpscalingProtocol(version={"major": 1}, round_id="7", miner_payload=MinerPayload(**PAYLOAD))

    answer = _ask(wallets["validator"], axon, asked)

    assert answer.is_success, answer.axon
    assert ["http://results/1.mp4", "http://results/2.mp4"] == answer.miner_response.optimized_video_urls
    assert "http://results/1.mp4" == answer.miner_response.optimized_video_url
    assert [2, 4] == [one["scale"] for one in service.asked]


def test_an_older_validator_asks_with_scalars(wallets: dict[str, Wallet], axon: Axon, service: FakeService) -> None:
    """One address and one task, as the first generation of the protocol has them."""
    asked = VideoUpscalingProtocol(
        miner_payload=MinerPayload(reference_video_url="http://a/1.mp4", task_type="SD24K", maximum_optimized_size_mb=9)
    )

    answer = _ask(wallets["validator"], axon, asked)

    assert "http://results/1.mp4" == answer.miner_response.optimized_video_url
    assert [
        {
            "payload_url": "http://a/1.mp4",
            "scale": 4,
            "profile": "subnet",
            "maximum_optimized_size_mb": 9,
        }
    ] == service.asked


def test_a_job_is_accepted_and_polled(wallets: dict[str, Wallet], axon: Axon, service: FakeService) -> None:
    """The pair of questions: taken at once, processing, completed with the addresses."""
    service.hold_url("http://a/2.mp4")
    taken = _ask(
        wallets["validator"], axon, VideoUpscalingJobProtocol(job_id="j1", miner_payload=MinerPayload(**PAYLOAD))
    )
    before = _ask(wallets["validator"], axon, VideoUpscalingPollProtocol(job_id="j1"))
    service.release()
    after = _ask(wallets["validator"], axon, VideoUpscalingPollProtocol(job_id="j1"))

    assert taken.job_response.accepted
    assert ("j1", "processing") == (before.poll_response.job_id, before.poll_response.status)
    assert "completed" == after.poll_response.status
    assert ["http://results/1.mp4", "http://results/2.mp4"] == after.poll_response.optimized_video_urls
    assert "http://results/1.mp4" == after.poll_response.optimized_video_url


def test_an_unknown_job_and_one_that_is_not_taken_say_so(
    wallets: dict[str, Wallet], axon: Axon, service: FakeService
) -> None:
    """A full service is `accepted: false`, and its job is unknown afterwards."""
    service.refuse(QueueFull("the queue is full"))
    taken = _ask(
        wallets["validator"], axon, VideoUpscalingJobProtocol(job_id="j2", miner_payload=MinerPayload(**PAYLOAD))
    )
    looked = _ask(wallets["validator"], axon, VideoUpscalingPollProtocol(job_id="j2"))

    assert not taken.job_response.accepted
    assert "unknown" == looked.poll_response.status


def test_two_validators_may_use_the_same_id(wallets: dict[str, Wallet], service: FakeService, tmp_path: Path) -> None:
    """Nobody sees another's results by guessing an id, nor takes its name away."""
    work = Work(service, Ledger(tmp_path))
    with ThreadPoolExecutor(1) as threads:
        handled = {one.kind: one.forward for one in handlers.Handlers(work, lambda _: True, threads, 10).all()}

        def ask(name: str, synapse: AnySynapse) -> AnySynapse:
            synapse.dendrite = bittensor.TerminalInfo(hotkey=wallets[name].hotkey.ss58_address)
            return asyncio.run(handled[type(synapse)](synapse))

        ask("validator", VideoUpscalingJobProtocol(job_id="1", miner_payload=MinerPayload(**PAYLOAD)))
        seen = ask("stranger", VideoUpscalingPollProtocol(job_id="1")).poll_response.status
        other = MinerPayload(reference_video_urls=["http://a/3.mp4"])
        ask("stranger", VideoUpscalingJobProtocol(job_id="1", miner_payload=other))
        own = ask("validator", VideoUpscalingPollProtocol(job_id="1")).poll_response.optimized_video_urls

    assert "unknown" == seen
    assert ["http://results/1.mp4", "http://results/2.mp4"] == own


def test_the_small_questions_are_answered(wallets: dict[str, Wallet], axon: Axon) -> None:
    """Ten seconds of content, and upscaling as the kind of work."""
    length = _ask(wallets["validator"], axon, LengthCheckProtocol())
    warrant = _ask(wallets["validator"], axon, TaskWarrantProtocol())

    assert 10 == length.max_content_length
    assert 2 == warrant.warrant_task


def test_a_stranger_is_refused(wallets: dict[str, Wallet], axon: Axon, service: FakeService) -> None:
    """A signed question of someone who is not on the list reaches no handler."""
    answer = _ask(wallets["stranger"], axon, VideoUpscalingProtocol(miner_payload=MinerPayload(**PAYLOAD)))

    assert 403 == answer.dendrite.status_code
    assert [] == service.asked


def test_a_borrowed_name_without_its_key_is_refused(
    wallets: dict[str, Wallet], axon: Axon, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list alone does not admit: the question must be signed by the key that it names."""
    monkeypatch.setattr(
        bittensor.Dendrite,
        "preprocess_synapse_for_request",
        _signed_by_another(bittensor.Dendrite.preprocess_synapse_for_request, wallets),
    )

    answer = _ask(wallets["stranger"], axon, VideoUpscalingProtocol(miner_payload=MinerPayload(**PAYLOAD)))

    assert 401 == answer.dendrite.status_code
    assert [] == service.asked


def _signed_by_another(original: Prepare, wallets: dict[str, Wallet]) -> Prepare:
    def pretend(dendrite: object, target: object, synapse: AnySynapse, seconds: float) -> AnySynapse:
        made = original(dendrite, target, synapse, seconds)
        made.dendrite.hotkey = wallets["validator"].hotkey.ss58_address
        return made

    return pretend


def test_a_caller_that_waits_does_not_keep_others_from_being_answered(
    wallets: dict[str, Wallet], axon: Axon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one question is worked on, another is answered: the event loop is not blocked."""
    entered, go_on = threading.Event(), threading.Event()
    original = FakeService.wait

    def slow(self: FakeService, job_id: str, seconds: float | None = None) -> Mapping[str, object]:
        entered.set()
        assert go_on.wait(20)
        return original(self, job_id, seconds)

    monkeypatch.setattr(FakeService, "wait", slow)
    held = VideoUpscalingProtocol(miner_payload=MinerPayload(reference_video_url="http://a/1.mp4"))
    caller = threading.Thread(target=_ask, args=(wallets["validator"], axon, held), daemon=True)
    caller.start()
    assert entered.wait(20)

    answer = _ask(wallets["validator"], axon, LengthCheckProtocol(), seconds=8.0)
    was_waiting = caller.is_alive()

    go_on.set()
    caller.join(20)
    assert answer.is_success
    assert was_waiting
    assert not caller.is_alive()


def test_it_listens_where_it_was_told_to(axon: Axon) -> None:
    """Bittensor's own choice is every network of the machine."""
    doors = [door.getsockname() for server in axon.fast_server.servers for door in server.sockets]

    assert [("127.0.0.1", axon.port)] == doors


def test_signatures_are_what_bittensor_compares_with() -> None:
    """The parameter is `synapse`, its annotation the class, and a blacklist returns `typing.Tuple[bool, str]`."""
    for one in handlers.Handlers(None, lambda _hotkey: True, None, 10).all():  # type: ignore[arg-type] # not called
        for function, answer in ((one.forward, one.kind), (one.blacklist, typing.Tuple[bool, str])):  # noqa: UP006
            made = signature(function)
            assert ["synapse"] == list(made.parameters)
            assert one.kind is made.parameters["synapse"].annotation
            assert answer == made.return_annotation


@pytest.mark.parametrize(
    ("kind", "plural", "single"),
    [
        (MinerPayload, "reference_video_urls", "reference_video_url"),
        (MinerPayload, "task_types", "task_type"),
        (MinerResponse, "optimized_video_urls", "optimized_video_url"),
        (PollResponse, "optimized_video_urls", "optimized_video_url"),
    ],
)
def test_lists_and_scalars_are_kept_in_step(kind: type, plural: str, single: str) -> None:
    """Either fills the other, and the list counts where they differ."""
    assert ["a"] == getattr(kind(**{single: "a"}), plural)
    assert "a" == getattr(kind(**{plural: ["a", "b"]}), single)
    assert "a" == getattr(kind(**{plural: ["a"], single: "z"}), single)
    assert [] == getattr(kind(), plural)


def test_a_taken_port_is_said(wallets: dict[str, Wallet], service: FakeService, tmp_path: Path) -> None:
    """A server that could not listen would otherwise look like a quiet network."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        door.listen()
        miner = Miner("http://unused", tmp_path, host="127.0.0.1", port=int(door.getsockname()[1]))
        with pytest.raises(BadRequest, match="cannot listen"), answering(miner, wallets["miner"], service):
            pass


def test_a_missing_wallet_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which wallet, which hotkey, and how to make one."""
    monkeypatch.setattr("upscale_server.client.Client.health", lambda _self: {"status": "ok"})
    miner = Miner("http://127.0.0.1:1", tmp_path, wallet="nonesuch", wallet_dir=tmp_path)

    with pytest.raises(BadRequest, match="nonesuch"):
        serve(miner, threading.Event())
