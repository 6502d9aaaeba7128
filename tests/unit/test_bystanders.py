"""Others on the machine: told by what is missing from ours, on cores that had nothing left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from upscale_server import bystanders
from upscale_server.bystanders import Bystanders, Spent, spent_now

CORES, SECONDS = 4, 10.0


@pytest.mark.parametrize(
    ("ours", "others", "disturbed"),
    [
        (4.0, 0.0, False),
        (3.5, 0.5, False),
        (3.0, 1.0, True),
        (1.0, 1.5, False),
        (1.0, 2.5, True),
    ],
    ids=["alone", "hardly anybody", "others take a core of ours", "room for both", "no room left"],
)
def test_others_disturb_where_they_take_what_was_needed(ours: float, others: float, *, disturbed: bool) -> None:
    """In cores taken of four, for ten seconds."""
    looks = iter(
        [Spent(100.0, 1000.0, CORES), Spent(100.0 + ours * SECONDS, 1000.0 + (ours + others) * SECONDS, CORES)]
    )
    clock = iter([50.0, 50.0 + SECONDS])

    watch = Bystanders(lambda: next(looks), lambda: next(clock))

    assert disturbed == watch.disturbed


def test_where_the_system_does_not_tell_nobody_was_there() -> None:
    """Else nothing would ever be learned there."""
    assert not Bystanders(lambda: None).disturbed


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="the system does not tell")
def test_the_work_of_a_child_is_ours() -> None:
    """A server's lanes are its children; while they live, and once they have ended."""
    before = spent_now()
    with subprocess.Popen([sys.executable, "-c", _BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        during = spent_now()
        child.communicate(b"end")
    after = spent_now()

    assert before is not None
    assert during is not None
    assert after is not None
    assert during.ours - before.ours >= _LEAST_SECONDS
    assert after.ours - before.ours >= _LEAST_SECONDS
    assert len(os.sched_getaffinity(0)) == after.cores


_LEAST_SECONDS = 0.25
_BUSY = """
import sys, time
while time.process_time() < 0.3:
    pass
print("busy", flush=True)
sys.stdin.read()
"""


def test_a_system_without_figures_says_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No file, or one that holds something else."""
    monkeypatch.setattr(bystanders, "Path", lambda _name: tmp_path / "gone")
    assert spent_now() is None
    (tmp_path / "gone").write_text("cpu0 of another kind\n")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0})
    assert spent_now() is None
