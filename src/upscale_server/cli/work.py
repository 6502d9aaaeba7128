"""`upscale work`: lends this machine to a Ray cluster, until it is told to stop.

What the machine then does is asked of it by the cluster's servers; see `cluster`.
"""

from __future__ import annotations

import signal
from typing import Annotated

import typer

from upscale_server.cli import options, talk
from upscale_server.cli.apart import apart
from upscale_server.cli.check_work import device_checks
from upscale_server.cli.session import session_of
from upscale_server.errors import BadRequest, ModelMissing, ServerUnreachable
from upscale_server.settings import Settings


def work(
    context: typer.Context,
    address: Annotated[
        str | None,
        typer.Option("--address", help="The cluster's head. Default: UPSCALE_RAY__ADDRESS.", metavar="HOST:PORT"),
    ] = None,
    cpus: Annotated[int | None, typer.Option("--cpus", min=0, help="Cores to lend. Default: all.")] = None,
    gpus: Annotated[int | None, typer.Option("--gpus", min=0, help="GPUs to lend. Default: all.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Prove the device, and do not join.")] = False,
    as_json: options.Json = False,
) -> None:
    """Lend this machine's device to a Ray cluster, and show first what it really computes on."""
    settings = session_of(context).settings
    _check(settings, address)
    for found in apart("device", device_checks):
        if as_json:
            talk.result_json({"check": found.name, "ok": found.verdict == "ok", "found": found.found})
        else:
            talk.result(f"{found.name}: {found.found}")
        if found.verdict == "broken":
            talk.say(f"{talk.PROGRAM}: this machine cannot work: {found.found}")
            raise typer.Exit(ModelMissing.exit_code)
    if not check:
        _lend(address or settings.ray.address, cpus, gpus)


def _check(settings: Settings, address: str | None) -> None:
    """Refuse what cannot work before anything is measured."""
    from upscale_server.cluster.joining import check_address
    from upscale_server.cluster.opening import transport_of

    head = address or settings.ray.address
    if head == "auto":
        raise BadRequest(
            "the cluster's head is not named; expected --address HOST:PORT, or UPSCALE_RAY__ADDRESS",
            hint="`ray start --head` on one machine starts a cluster and says its address",
        )
    check_address(head)
    transport_of(settings)


def _lend(address: str, cpus: int | None, gpus: int | None) -> None:
    """Belong to the cluster until SIGTERM, Ctrl-C, or its end."""
    from upscale_server.cluster.joining import Membership

    membership = Membership(address, cpus, gpus)
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _stop)
        membership.join()
        talk.say(f"{talk.PROGRAM}: works for the cluster at {address}; Ctrl-C ends that")
        membership.wait()
        talk.say(f"{talk.PROGRAM}: the cluster at {address} has ended")
        raise typer.Exit(ServerUnreachable.exit_code)  # so that whoever watches over us lets us join again
    except _Stopped:
        talk.say(f"{talk.PROGRAM}: leaving the cluster")
    finally:
        membership.leave()


class _Stopped(BaseException):
    """A signal asked for the end."""


def _stop(*_: object) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    raise _Stopped
