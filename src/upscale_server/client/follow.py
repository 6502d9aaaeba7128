"""Follows a job to its end over server-sent events, through broken connections and a restarting server.

It knows how events come over the wire; what a job means is the caller's business.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from upscale_server.client.answers import error_of
from upscale_server.errors import NotFound, ServerUnreachable

FINISHED = frozenset({"succeeded", "failed", "canceled"})
"""States in which nothing more happens by itself."""
SILENT_SECONDS = 30.0
"""Longest wait for the next event; the server sends a comment more often, so that silence means a dead connection."""
PATIENCE_SECONDS = 120.0
"""How long a server that does not answer is asked again: longer than a restart with loading of models."""
POLL_SECONDS = 0.5
"""Pause between two looks at a job where events do not come."""

Job = Mapping[str, Any]  # a JSON object; newer servers may add fields


@dataclass(frozen=True, slots=True)
class Wire:
    """How to reach one job: `look` asks once, `events` opens its stream with a Last-Event-ID and a read limit."""

    look: Callable[[], Job]
    events: Callable[[str, float], httpx.Response]


def follow(wire: Wire, seconds: float | None) -> Iterator[Job]:
    """Yield a job's snapshots until it is finished or `seconds` are over.

    Raises:
        NotFound: there is no such job.
        ServerUnreachable: no answer for two minutes.
    """
    end = time.monotonic() + seconds if seconds is not None else float("inf")
    heard, last_id = time.monotonic(), ""
    while True:
        try:
            for job, event_id in _stream(wire, last_id, end):
                last_id = event_id
                heard = time.monotonic()
                yield job
                if job["state"] in FINISHED or heard >= end:
                    return
            job = wire.look()
            heard = time.monotonic()
            yield job
            if job["state"] in FINISHED or heard >= end:
                return
        except (httpx.TransportError, ServerUnreachable) as err:
            if time.monotonic() - heard > PATIENCE_SECONDS:
                raise ServerUnreachable(f"the server has not answered for {PATIENCE_SECONDS:.0f} s: {err}") from err
        if time.monotonic() >= end:
            return
        time.sleep(POLL_SECONDS)


def _stream(wire: Wire, last_id: str, end: float) -> Iterator[tuple[Job, str]]:
    """Yield the snapshots of one connection with their ids; nothing where the server offers no stream."""
    limit = min(SILENT_SECONDS, max(POLL_SECONDS, end - time.monotonic()))
    response = wire.events(last_id, limit)
    try:
        if response.status_code == httpx.codes.NOT_FOUND:
            response.read()
            if isinstance(found := error_of(response), NotFound):
                raise found
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            return
        for content, event_id in events_in(response.iter_lines()):
            if isinstance(content, dict) and "state" in content:
                yield content, event_id
    finally:
        response.close()


def events_in(lines: Iterator[str]) -> Iterator[tuple[Any, str]]:  # an event's data is any JSON value
    """Yield the JSON value and the id of each event in a text/event-stream; comments and other texts are left out.

    Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
    """
    parts: list[str] = []
    event_id = ""
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            parts.append(value)
        elif name == "id":
            event_id = value
        elif not line and parts:
            content = _json_in("\n".join(parts))
            parts = []
            if content is not None:
                yield content, event_id


def _json_in(text: str) -> Any:  # noqa: ANN401 - any JSON value
    try:
        return json.loads(text)
    except ValueError:
        return None
