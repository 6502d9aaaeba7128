"""Attacks in three lengths by HOSTILE: `short` inside `make test`, `full` in fifteen minutes, `long` without end.

    HOSTILE=full python -m pytest tests/hostile

What an attack found is counted, and with HOSTILE=long written beside the benchmarks' results.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator

import pytest

from tests.support.hostile import LENGTHS, Amount, write_result

_LONGEST = (
    "test_every_video_ends_as_it_should",
    "test_whatever_is_killed_every_job_ends_once_with_the_same_bytes",
    "test_every_picture_ends_as_it_should",
    "test_jobs_leave_nothing_and_planted_leaks_are_found",
    "test_a_killed_servers_upload_in_parts_is_gone_on_with",
    "test_slow_clients_hold_up_neither_control_routes_nor_a_job",
    "test_uploads_outlast_a_minute_without_a_store",
    "test_each_write_of_a_job_may_meet_a_full_disk",
    "test_too_many_jobs_are_sent_away_for_a_while_and_the_server_recovers",
)
"""A minute and more each, in the full length: they begin first, or one of them would run alone at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest attacks before all others."""
    ranks = {name: rank for rank, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: ranks.get(item.name.partition("[")[0], len(ranks)))


@pytest.fixture(scope="session")
def length() -> str:
    """Give the length of this run."""
    chosen = os.environ.get("HOSTILE", LENGTHS[0])
    if chosen not in LENGTHS:
        raise pytest.UsageError(f"HOSTILE is {chosen!r}; expected one of {', '.join(LENGTHS)}")
    return chosen


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let nothing be left out of a long run, whose figures are kept."""
    report = yield
    if report.skipped and os.environ.get("HOSTILE") == LENGTHS[-1]:
        report.outcome = "failed"
        report.longrepr = f"a long run leaves nothing out: {report.longrepr}"
    return report


@pytest.fixture
def amount(length: str) -> Amount:
    """Give a function that picks one of three numbers by the length of this run."""
    return lambda short, full, long: {"short": short, "full": full, "long": long}[length]


@pytest.fixture
def report(length: str) -> Callable[[str, dict[str, object]], None]:
    """Give a function that keeps what an attack counted: `report(name, figures)`; of a long run it is committed."""

    def keep(name: str, figures: dict[str, object]) -> None:
        print(f"hostile {length} {name}: {figures}")  # noqa: T201 - it stands in the output of a test that fails
        if length == "long":
            write_result(name, figures)

    return keep
