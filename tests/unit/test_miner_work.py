"""A validator's request becomes jobs of our own service, and its answers keep the request's order and the truth."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_service import FakeService
from upscale_server.errors import NotFound, QueueFull, ServerUnreachable
from upscale_server.subnet.chain import Chain
from upscale_server.subnet.ledger import Ledger
from upscale_server.subnet.work import Looked, Wanted, Work, wanted_of

TWO = (Wanted("http://a/1.mp4", "HD24K", 100), Wanted("http://a/2.mp4", "SD24K", 50))


@pytest.fixture
def service() -> FakeService:
    """Give a service in memory."""
    return FakeService()


@pytest.fixture
def work(service: FakeService, tmp_path: Path) -> Work:
    """Give the work on that service."""
    return Work(service, Ledger(tmp_path))


def test_each_address_takes_its_task() -> None:
    """The last task counts on where there are fewer tasks than addresses."""
    wanted = wanted_of(["a", "b", "c"], ["SD24K", "HD24K"], 7)

    assert ["SD24K", "HD24K", "HD24K"] == [one.task for one in wanted]


@pytest.mark.parametrize(("task", "scale"), [("SD2HD", 2), ("SD24K", 4), ("HD24K", 2), ("4K28K", 2), ("sd24k", 4)])
def test_a_task_names_its_scale_and_the_profile(task: str, scale: int) -> None:
    """Validators hold the output against the input times two or four, exactly."""
    asked = Wanted("http://a/1.mp4", task, 100).as_asked()

    assert {
        "payload_url": "http://a/1.mp4",
        "scale": scale,
        "profile": "subnet",
        "maximum_optimized_size_mb": 100,
    } == asked
    assert "maximum_optimized_size_mb" not in Wanted("http://a/1.mp4", task, 0).as_asked()


def test_results_keep_the_order_and_failures_are_empty(work: Work, service: FakeService) -> None:
    """The second of two fails; the first still has its address, at its place."""
    service.fail_url("http://a/2.mp4")

    assert ["http://results/1.mp4", ""] == work.do(TWO, None, 5.0)


def test_a_full_service_is_an_empty_answer_and_not_an_error(work: Work, service: FakeService) -> None:
    """A validator gets an answer it can read."""
    service.refuse(QueueFull("the queue is full"))

    assert ["", ""] == work.do(TWO, None, 5.0)


def test_what_is_not_ready_in_time_is_empty(work: Work, service: FakeService) -> None:
    """A caller's patience ends before the work: what is finished goes out."""
    service.hold_url("http://a/2.mp4")

    assert ["http://results/1.mp4", ""] == work.do(TWO, None, 0.0)


def test_the_same_round_again_meets_the_same_jobs(work: Work, service: FakeService) -> None:
    """A lost line does not double the work; a request without a name always is new."""
    work.do(TWO, "round 1", 5.0)
    work.do(TWO, "round 1", 5.0)
    assert 2 == len(service.jobs)

    work.do(TWO, None, 5.0)
    assert 4 == len(service.jobs)


def test_a_job_is_taken_polled_and_completed(work: Work, service: FakeService) -> None:
    """Processing while any part is unfinished, then completed with both addresses."""
    service.hold_url("http://a/2.mp4")

    assert work.begin("their-id", TWO)
    assert Looked("processing") == work.look("their-id")

    service.release()
    assert Looked("completed", ("http://results/1.mp4", "http://results/2.mp4")) == work.look("their-id")


def test_a_job_of_which_nothing_succeeds_has_failed(work: Work, service: FakeService) -> None:
    """Failed means that no part has a result; with one result it is completed, with an empty place."""
    service.fail_url("http://a/1.mp4")
    work.begin("half", TWO)
    service.fail_url("http://a/2.mp4")
    work.begin("none", TWO)

    assert Looked("completed", ("", "http://results/2.mp4")) == work.look("half")
    assert Looked("failed", ("", "")) == work.look("none")


def test_what_was_never_taken_is_unknown(work: Work, service: FakeService) -> None:
    """An unknown id, a job that was removed, a request without videos, and one that the service refused."""
    work.begin("removed", TWO)
    service.jobs.clear()

    assert not work.begin("empty", ())
    assert not work.begin("", TWO)
    assert Looked("unknown") == work.look("never")
    assert Looked("unknown") == work.look("removed")
    service.refuse(QueueFull("the queue is full"))
    assert not work.begin("refused", TWO)
    assert Looked("unknown") == work.look("refused")


def test_a_service_that_restarts_is_still_processing(work: Work, service: FakeService) -> None:
    """An unreachable service has not lost the job, so the validator is not told that it failed."""
    work.begin("their-id", TWO)
    service.break_with(ServerUnreachable("connection refused"))

    assert Looked("processing") == work.look("their-id")


def test_a_restarted_miner_still_knows_its_jobs(service: FakeService, tmp_path: Path) -> None:
    """The names are on the disk."""
    Work(service, Ledger(tmp_path)).begin("their/odd:id \u00fc", TWO)

    assert "completed" == Work(service, Ledger(tmp_path)).look("their/odd:id \u00fc").status


def test_two_callers_may_record_the_same_name_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each writes a file of its own before it gets the name, so that neither takes the other's away."""
    ledger = Ledger(tmp_path)
    replaced: list[Path] = []
    whole = Path.replace

    def replace(part: Path, target: Path) -> Path:
        replaced.append(part)
        if len(replaced) == 1:
            ledger.keep("same", ["2"])  # another thread, between our writing and our naming
        return whole(part, target)

    monkeypatch.setattr(Path, "replace", replace)

    ledger.keep("same", ["1"])

    assert ["1"] == ledger.find("same")
    assert 2 == len(set(replaced))


def test_old_names_are_removed(tmp_path: Path) -> None:
    """The folder does not grow for ever; what is younger than two days stays."""
    ledger = Ledger(tmp_path)
    ledger.keep("old", ["1"])
    ledger.keep("new", ["2"])
    old = next(path for path in tmp_path.iterdir() if path.read_text() == '["1"]')
    os.utime(old, (0, 0))

    ledger.keep("newest", ["3"])

    assert ledger.find("old") is None
    assert ["2"] == ledger.find("new")


class _Graph:
    hotkeys = ("validator", "miner")
    validator_permit = (True, False)


class _Subtensor:
    """A chain's connection that counts and may break."""

    def __init__(self) -> None:
        self.read = 0
        self.broken = False
        self.served: list[Any] = []

    def metagraph(self, netuid: int) -> _Graph:
        self.read += 1
        assert netuid == 85
        if self.broken:
            message = "no answer"
            raise OSError(message)
        return _Graph()


class _Axon:
    def serve(self, **facts: Mapping[str, object]) -> None:
        self.facts = facts


def test_only_validators_with_a_permit_are_admitted() -> None:
    """The list is read once and kept while it is fresh."""
    subtensor = _Subtensor()
    chain = Chain(subtensor, 85)

    assert [True, False, False] == [chain.permits(one) for one in ("validator", "miner", "stranger")]
    assert 1 == subtensor.read


def test_a_chain_that_does_not_answer_admits_nobody_new() -> None:
    """Without a list nobody is a validator; the error does not reach the asker."""
    subtensor = _Subtensor()
    subtensor.broken = True

    assert not Chain(subtensor, 85).permits("validator")


def test_the_chain_is_told_of_the_axon_under_its_subnet() -> None:
    """The Axon's own method writes the address; it gets the subnet and the connection."""
    subtensor, axon = _Subtensor(), _Axon()

    Chain(subtensor, 85).announce(axon)

    assert {"netuid": 85, "subtensor": subtensor} == axon.facts


def test_a_removed_job_is_not_found_by_the_fake(service: FakeService) -> None:
    """The fake fails as the service does."""
    with pytest.raises(NotFound):
        service.job("nonesuch")
