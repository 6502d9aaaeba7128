"""A job is followed over broken streams and a restarting server, and never longer than asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from upscale_server.client import Client, follow
from upscale_server.client.follow import events_in
from upscale_server.errors import Canceled, NotFound, ServerUnreachable, SourceCorrupt, Unauthorized

Answering = Callable[[httpx.Request], httpx.Response]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "POLL_SECONDS", 0.0)


def job(state: str, frames: int = 0) -> dict[str, Any]:
    """Return a job as the server shows it, as far as following looks at it."""
    return {"id": "a1", "state": state, "progress": {"frames_done": frames}, "fault": None}


def stream(*jobs: dict[str, Any], first_id: int = 1) -> httpx.Response:
    """Return an event stream of snapshots that ends after the last."""
    text = "".join(f": hello\nid: {number}\ndata: {json.dumps(one)}\n\n" for number, one in enumerate(jobs, first_id))
    return httpx.Response(200, text=text, headers={"Content-Type": "text/event-stream; charset=utf-8"})


def client(answering: Answering) -> Client:
    """Return a client whose server is a function."""
    return Client("http://server.test", transport=httpx.MockTransport(answering))


def in_turn(*answers: httpx.Response | Exception) -> tuple[Answering, list[httpx.Request]]:
    """Return a server that gives one answer after the other, and the requests that it got."""
    left: Iterator[httpx.Response | Exception] = iter(answers)
    got: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        got.append(request)
        found = next(left)
        if isinstance(found, Exception):
            raise found
        return found

    return answer, got


def test_snapshots_come_in_order_and_end_with_the_finished_job() -> None:
    """Each event of the stream is a snapshot; nothing is asked for after the last."""
    answering, got = in_turn(stream(job("queued"), job("running", 5), job("succeeded", 9)))

    with client(answering) as one:
        states = [snapshot["state"] for snapshot in one.follow("a1")]

    assert ["queued", "running", "succeeded"] == states
    assert ["/v1/jobs/a1/events"] == [request.url.path for request in got]


def test_a_broken_stream_is_taken_up_after_the_last_event_that_came() -> None:
    """The second connection says which event was the last, and the job's own state is looked at in between."""
    answering, got = in_turn(
        stream(job("running", 1), first_id=7),
        httpx.Response(200, json=job("running", 2)),
        stream(job("succeeded"), first_id=8),
    )

    with client(answering) as one:
        done = one.wait("a1")

    assert "succeeded" == done["state"]
    assert ["/v1/jobs/a1/events", "/v1/jobs/a1", "/v1/jobs/a1/events"] == [request.url.path for request in got]
    assert [None, None, "7"] == [request.headers.get("last-event-id") for request in got]


def test_a_restarting_server_is_waited_for() -> None:
    """Refused connections in the middle do not lose the job."""
    gone = httpx.ConnectError("refused")
    answering, _ = in_turn(stream(job("running")), gone, gone, gone, stream(job("succeeded")))

    with client(answering) as one:
        assert "succeeded" == one.wait("a1")["state"]


def test_a_server_that_stays_away_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the patience the wait ends with the reason."""
    monkeypatch.setattr(follow, "PATIENCE_SECONDS", -1.0)
    answering, _ = in_turn(httpx.ConnectError("refused"))

    with client(answering) as one, pytest.raises(ServerUnreachable, match="refused"):
        one.wait("a1")


def test_without_a_stream_the_job_is_looked_at_again_and_again() -> None:
    """A proxy that does not let events through costs nothing but smoothness."""
    no_stream = httpx.Response(406, text="no")
    answering, got = in_turn(
        no_stream, httpx.Response(200, json=job("running")), no_stream, httpx.Response(200, json=job("succeeded"))
    )

    with client(answering) as one:
        assert "succeeded" == one.wait("a1")["state"]

    assert 4 == len(got)


def test_a_wait_that_is_over_returns_the_job_as_it_is() -> None:
    """`seconds` bounds the wait; the job goes on without its caller."""
    answering, _ = in_turn(stream(job("running", 3)))

    with client(answering) as one:
        assert 3 == one.wait("a1", seconds=0)["progress"]["frames_done"]


def test_a_failed_job_raises_its_own_fault() -> None:
    """The class that failed the job on the server fails the call."""
    fault = SourceCorrupt("the source is damaged").as_record("r1")
    answering, _ = in_turn(stream({**job("failed"), "fault": fault}))

    with client(answering) as one, pytest.raises(SourceCorrupt, match="the source is damaged"):
        one.wait("a1")


def test_a_cancelled_job_is_told_apart_from_a_failed_one() -> None:
    """Someone's decision is not an error of the source."""
    answering, _ = in_turn(stream(job("canceled")))

    with client(answering) as one, pytest.raises(Canceled):
        one.wait("a1")


@pytest.mark.parametrize("kind", [NotFound, Unauthorized])
def test_what_waiting_cannot_mend_is_raised_at_once(kind: type[NotFound | Unauthorized]) -> None:
    """An unknown job or a missing key ends the wait with its own error."""
    refusal = httpx.Response(kind.http_status, json=kind("no").as_record("r"))
    answering, _ = in_turn(refusal, refusal)

    with client(answering) as one, pytest.raises(kind):
        one.wait("a1")


def test_comments_foreign_events_and_split_data_are_read_as_the_standard_says() -> None:
    """Lines of one event belong together; what is no JSON is left out; an id holds until the next."""
    lines = [": hi", "id: 4", 'data: {"a":', "data: 1}", "", "data: no json", "", "event: x", "data:2", ""]

    assert [({"a": 1}, "4"), (2, "4")] == list(events_in(iter(lines)))
