"""Whose work it is travels with an order: a worker's log lines name the job and the request, from every thread."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any, cast

import pytest
from structlog.contextvars import bound_contextvars

from upscale_server.checkpoint import Done, WorkDir
from upscale_server.events import ignore
from upscale_server.logs import bound_facts, configure_worker, get_logger
from upscale_server.media.types import Segment
from upscale_server.plan import Plan
from upscale_server.settings import LogStyle
from upscale_server.workers.crew import Crew
from upscale_server.workers.job_executor import JobExecutor

ABOUT = {"job_id": "a-job", "request_id": "a-request"}


@pytest.mark.parametrize("style", ["json", "console"])
def test_every_line_of_a_worker_says_whose_it_is(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], style: LogStyle
) -> None:
    """Also one of a thread that knows nothing of it; in the file and on stderr, until the order is over."""
    about = dict(ABOUT)
    configure_worker("info", style, tmp_path / "server.log", about)
    other = threading.Thread(target=lambda: get_logger().info("from_a_thread"))
    other.start()
    other.join()
    about.clear()
    get_logger().info("afterwards")

    first, last = (tmp_path / "server.log").read_text().splitlines()
    assert [first, last] == capfd.readouterr().err.splitlines()
    if style == "json":
        assert ABOUT == {name: value for name, value in json.loads(first).items() if name in ABOUT}
    assert "a-request" in first
    assert "a-request" not in last


def test_a_log_that_cannot_be_opened_leaves_stderr(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A lane does not fail to load for it."""
    (tmp_path / "file").write_text("no folder")
    configure_worker("info", "console", tmp_path / "file" / "server.log", {})
    get_logger().info("told")

    assert "event=told" in capfd.readouterr().err


class NotingCrew:
    """A crew that notes what is bound where an order is given, and does nothing."""

    def __init__(self) -> None:
        self.bound: list[dict[str, str]] = []

    def do(self, order: Any, *_: object) -> Done:  # noqa: ANN401 - an order
        """Note it."""
        self.bound.append(bound_facts())
        return Done(order.segment.index, (), 0, "")


def test_segments_are_ordered_in_the_name_of_their_job(tmp_path: Path) -> None:
    """The threads that wait for lanes were not there when the job was bound."""
    crew = NotingCrew()
    executor = JobExecutor(lambda: cast("Crew", crew), cast("Crew", crew), lambda: 2, lambda: "")
    segments = [Segment(index, 0, 1, 0) for index in range(3)]

    with bound_contextvars(**ABOUT):
        list(executor.run(cast("Plan", None), segments, WorkDir(tmp_path, "digest"), ignore))

    assert [ABOUT] * 3 == crew.bound
