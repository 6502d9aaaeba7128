"""Attacks in three lengths by HOSTILE: `short` inside `make test`, `full` in fifteen minutes, `long` without end.

    HOSTILE=full python -m pytest tests/hostile

What an attack found is counted, and with HOSTILE=long written beside the benchmarks' results.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator

import pytest

from tests.support.hostile import LENGTHS, Amount, write_result


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
