"""The answers to each kind of question, in the form in which an Axon takes them.

What the work is stands in `work`. The trap: bittensor compares signatures, not behaviour. The parameter must be called
`synapse`, its annotation must be the class itself and not a text, and a blacklist must be annotated with
`typing.Tuple[bool, str]`, which `tuple[bool, str]` does not equal; so annotations are set by hand here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Tuple, TypeVar  # noqa: UP035 - Tuple is what bittensor compares with

from upscale_server.logs import get_logger
from upscale_server.subnet.synapses import (
    ContentLength,
    JobResponse,
    LengthCheckProtocol,
    MinerPayload,
    MinerResponse,
    PollResponse,
    TaskWarrantProtocol,
    VideoUpscalingJobProtocol,
    VideoUpscalingPollProtocol,
    VideoUpscalingProtocol,
    Warrant,
)
from upscale_server.subnet.untyped import AnySynapse
from upscale_server.subnet.work import Wanted, Work, wanted_of

Forward = Callable[[AnySynapse], Awaitable[AnySynapse]]
Blacklist = Callable[[AnySynapse], "tuple[bool, str]"]
Admits = Callable[[str], bool]
Value = TypeVar("Value")

_ANSWER_SECONDS = 5.0
"""Kept back of a caller's patience, so that what is finished still reaches it."""
_LONGEST_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Handler:
    """One kind of question, what answers it, and who may not ask."""

    kind: type
    forward: Forward
    blacklist: Blacklist


class Handlers:
    """All handlers; the threads are those in which callers that hold the line are waited for."""

    def __init__(self, work: Work, admits: Admits, threads: Executor, longest: ContentLength) -> None:
        self._work = work
        self._admits = admits
        self._threads = threads
        self._longest = longest

    def all(self) -> tuple[Handler, ...]:
        """Return a handler for each kind of question."""
        kinds: dict[type, Forward] = {
            VideoUpscalingProtocol: self._upscale,
            VideoUpscalingJobProtocol: self._begin,
            VideoUpscalingPollProtocol: self._look,
            LengthCheckProtocol: self._length,
            TaskWarrantProtocol: self._warrant,
        }
        return tuple(Handler(kind, _forward(kind, answer), self._blacklist(kind)) for kind, answer in kinds.items())

    async def _upscale(self, synapse: VideoUpscalingProtocol) -> VideoUpscalingProtocol:
        seconds = max(1.0, float(synapse.timeout or _LONGEST_SECONDS) - _ANSWER_SECONDS)
        wanted = _wanted(synapse.miner_payload)
        # With a round's name a caller that lost the line and asks again meets the work it has already ordered.
        name = f"{_asker(synapse)} {synapse.round_id} {wanted}" if synapse.round_id else None
        urls = await self._apart(lambda: self._work.do(wanted, name, seconds))
        synapse.miner_response = MinerResponse(optimized_video_urls=urls)
        return synapse

    async def _begin(self, synapse: VideoUpscalingJobProtocol) -> VideoUpscalingJobProtocol:
        wanted = _wanted(synapse.miner_payload)
        accepted = await self._apart(lambda: self._work.begin(_name_of(synapse), wanted))
        synapse.job_response = JobResponse(accepted=accepted)
        return synapse

    async def _look(self, synapse: VideoUpscalingPollProtocol) -> VideoUpscalingPollProtocol:
        looked = await self._apart(lambda: self._work.look(_name_of(synapse)))
        synapse.poll_response = PollResponse(
            job_id=synapse.job_id, status=looked.status, optimized_video_urls=list(looked.urls)
        )
        return synapse

    async def _length(self, synapse: LengthCheckProtocol) -> LengthCheckProtocol:
        synapse.max_content_length = self._longest
        return synapse

    async def _warrant(self, synapse: TaskWarrantProtocol) -> TaskWarrantProtocol:
        synapse.warrant_task = Warrant.UPSCALING
        return synapse

    async def _apart(self, work: Callable[[], Value]) -> Value:
        """Run blocking work off the event loop, on which the Axon answers everybody else."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _blacklist(self, kind: type) -> Blacklist:
        def blacklist(synapse: AnySynapse) -> tuple[bool, str]:
            asker = _asker(synapse)
            if asker and self._admits(asker):
                return False, "admitted"
            get_logger().warning("miner_refused", hotkey=asker, kind=kind.__name__)
            return True, "hotkey is not one of those that may ask" if asker else "no hotkey"

        blacklist.__annotations__ = {"synapse": kind, "return": Tuple[bool, str]}  # noqa: UP006 - as above
        return blacklist


def _forward(kind: type, answer: Forward) -> Forward:
    async def forward(synapse: AnySynapse) -> AnySynapse:
        get_logger().info("miner_asked", kind=kind.__name__, hotkey=_asker(synapse))
        return await answer(synapse)

    forward.__annotations__ = {"synapse": kind, "return": kind}
    return forward


def _asker(synapse: AnySynapse) -> str:
    return str(getattr(synapse.dendrite, "hotkey", None) or "")


def _name_of(synapse: VideoUpscalingJobProtocol | VideoUpscalingPollProtocol) -> str:
    """Return the name of an asker's job: nobody meets another's by using the same id."""
    return f"{_asker(synapse)} {synapse.job_id}" if synapse.job_id else ""


def _wanted(payload: MinerPayload) -> tuple[Wanted, ...]:
    return wanted_of(
        payload.reference_video_urls, payload.task_types or [payload.task_type], payload.maximum_optimized_size_mb
    )
