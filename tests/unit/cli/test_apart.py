"""Checks in a process of their own: what crashes or hangs there is a finding, and what was found before is told."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator

import pytest

from upscale_server.cli.apart import apart
from upscale_server.cli.checks import Check

FIRST, SECOND = Check("first", "ok", "fine"), Check("second", "warning", "so so", fix="a command")


def both() -> Iterator[Check]:
    """Find two things."""
    yield FIRST
    yield SECOND


def crashes() -> Iterator[Check]:
    """End the process as a driver does that crashes."""
    yield FIRST
    os._exit(139)


def hangs() -> Iterator[Check]:
    """Wait for what never comes."""
    yield FIRST
    threading.Event().wait()


@pytest.mark.slow
def test_findings_come_over_as_they_are() -> None:
    """Nothing is added where all goes well, and no process stays."""
    assert [FIRST, SECOND] == list(apart("things", both))
    assert [] == multiprocessing.active_children()


@pytest.mark.slow
def test_crash_is_a_finding() -> None:
    """The command itself lives on and tells where it was."""
    first, found = apart("things", crashes)

    assert (FIRST, "things", "broken") == (first, found.name, found.verdict)
    assert "ended with 139 after the check of first" in found.found


@pytest.mark.slow
def test_hanging_check_is_given_up() -> None:
    """It is waited for, not for ever; its process is ended."""
    found = list(apart("things", hangs, silence_seconds=3))[-1]  # a start takes a part of it; without a limit: for ever

    assert ("things", "broken", True) == (found.name, found.verdict, "no answer within 3 s" in found.found)
    assert [] == multiprocessing.active_children()


def test_reader_that_stops_ends_the_process() -> None:
    """Ctrl-C between two findings leaves nothing that works on."""
    finding = apart("things", hangs)
    assert FIRST == next(finding)

    finding.close()  # type: ignore[attr-defined] - an iterator for its users, a generator here

    assert [] == multiprocessing.active_children()
