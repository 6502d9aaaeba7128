"""A job that is killed goes on from its finished segments and ends with the same bytes.

Kills come at random but reproducible states of the work folder; a power cut is SIGKILL to the whole process group.
"""

from __future__ import annotations

import hashlib
import random
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.cli_runner import COMMAND, Ran, environment_for, run_apart
from tests.support.killing import Moment, kill_when, markers, reached

pytestmark = pytest.mark.timeout(900)  # up to five whole runs a test; a busy machine needs a minute for each
SEGMENT_COUNT = 5
KILLS = 3
INTERRUPTED_EXIT = 130
MOST_LOOKS = 40
"""After a segment was begun; a look takes some five milliseconds, a segment at least a few hundred."""


def command(source: Path, output: Path, *options: str) -> list[str]:
    """Return the arguments of a run that cuts the five-second clip into five segments."""
    sizes = ["--scale", "2", "--model", "lanczos", "--preset", "fast", "--segment-seconds", "1"]
    return ["video", str(source), "-o", str(output), *sizes, *options]


def sha256(path: Path) -> str:
    """Return the digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> tuple[str, Ran]:
    """Give the digest and the report of a run that nothing disturbed."""
    source = repository / "src" / "upscale_server" / "clips" / "nasa.mp4"
    output = tmp_path_factory.mktemp("undisturbed") / "out.mp4"
    ran = run_apart(*command(source, output, "--json"))
    assert ran.exit_code == 0, ran.stderr
    return sha256(output), ran


def test_two_runs_give_the_same_bytes(undisturbed: tuple[str, Ran], bundled_clip: Path, tmp_path: Path) -> None:
    """The comparison below means something: without a kill, bytes repeat."""
    output = tmp_path / "again.mp4"

    ran = run_apart(*command(bundled_clip, output))

    assert ran.exit_code == 0, ran.stderr
    assert undisturbed[0] == sha256(output)


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_three_times_ends_with_the_same_bytes(
    seed: int, undisturbed: tuple[str, Ran], bundled_clip: Path, tmp_path: Path
) -> None:
    """After three SIGKILLs at random states the result is identical, and only running segments were done again."""
    chance = random.Random(seed)
    output, work = tmp_path / "out.mp4", tmp_path / "out.mp4.work"
    arguments = command(bundled_clip, output, "--json")
    finished = sorted(chance.sample(range(SEGMENT_COUNT - 1), KILLS))
    moments = [Moment(count, chance.randrange(MOST_LOOKS)) for count in finished]

    before = markers(work)
    for moment in moments:
        status = kill_when(arguments, reached(work, moment))
        after = markers(work)
        assert -signal.SIGKILL == status, f"it ended before {moment}"
        assert before <= after, "a finished segment was done again"
        assert not output.exists()
        before = after
    ran = run_apart(*arguments)

    assert ran.exit_code == 0, ran.stderr
    assert undisturbed[0] == sha256(output)
    assert len(before) == reused_segments(ran)
    assert {"out.mp4"} == {path.name for path in tmp_path.iterdir()}


def test_killed_while_joining_reuses_every_segment(
    undisturbed: tuple[str, Ran], bundled_clip: Path, tmp_path: Path
) -> None:
    """A kill after the last segment costs no segment."""
    output, work = tmp_path / "out.mp4", tmp_path / "out.mp4.work"
    arguments = command(bundled_clip, output, "--json")

    status = kill_when(arguments, lambda: any(work.rglob("joined.*")))
    ran = run_apart(*arguments)

    assert -signal.SIGKILL == status
    assert ran.exit_code == 0, ran.stderr
    assert SEGMENT_COUNT == reused_segments(ran)
    assert undisturbed[0] == sha256(output)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_says_so_and_goes_on(
    how: signal.Signals, undisturbed: tuple[str, Ran], bundled_clip: Path, tmp_path: Path
) -> None:
    """Ctrl-C and a polite stop end with exit code 130, keep what is finished, and the next run goes on from it."""
    output, work = tmp_path / "out.mp4", tmp_path / "out.mp4.work"
    arguments = command(bundled_clip, output, "--json")

    status = kill_when(arguments, reached(work, Moment(2)), how)
    kept = markers(work)
    ran = run_apart(*arguments)

    assert INTERRUPTED_EXIT == status
    assert not any(work.rglob("*.part*"))
    assert ran.exit_code == 0, ran.stderr
    assert len(kept) == reused_segments(ran) >= 2
    assert undisturbed[0] == sha256(output)


def test_damaged_segment_is_done_again(undisturbed: tuple[str, Ran], bundled_clip: Path, tmp_path: Path) -> None:
    """A finished segment whose bytes changed since is not trusted."""
    output, work = tmp_path / "out.mp4", tmp_path / "out.mp4.work"
    arguments = command(bundled_clip, output, "--json")
    kill_when(arguments, reached(work, Moment(3)))
    kept = len(markers(work))
    victim = next(work.rglob("segment-00001.mkv"))
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)

    ran = run_apart(*arguments)

    assert ran.exit_code == 0, ran.stderr
    assert kept - 1 == reused_segments(ran)
    assert undisturbed[0] == sha256(output)


def test_work_of_another_wish_is_not_reused(bundled_clip: Path, tmp_path: Path) -> None:
    """Segments made with other settings never get into the result."""
    output, work = tmp_path / "out.mp4", tmp_path / "out.mp4.work"
    kill_when(command(bundled_clip, output), reached(work, Moment(2)))

    ran = run_apart(*command(bundled_clip, output, "--crf", "30", "--json"))

    assert ran.exit_code == 0, ran.stderr
    assert 0 == reused_segments(ran)


def reused_segments(ran: Ran) -> int:
    """Return how many segments the report says were found finished."""
    return int(ran.report["segments_reused"])


def test_ctrl_c_is_exit_130_and_the_work_goes_on_next_time(bundled_clip: Path, tmp_path: Path) -> None:
    """Interrupted in the middle: a line that says so, the work folder kept; the same command then finishes."""
    output = tmp_path / "b.mp4"
    arguments = ["video", bundled_clip, "-o", output, "--engine", "lanczos", "--codec", "h264", "--preset", "slow"]
    arguments += ["--duration", "2"]
    stopped = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment_for(),
    )  # fmt: skip
    assert stopped.stderr is not None
    while "upscale 0/" not in (line := stopped.stderr.readline()) and line:
        pass  # wait for the work to begin, however long the start takes
    stopped.send_signal(signal.SIGINT)
    out, err = stopped.communicate(timeout=60)

    again = run_apart(*arguments)

    assert (INTERRUPTED_EXIT, "") == (stopped.returncode, out)
    assert "upscale: interrupted: stopped before the end" in err
    assert "run the same command again" in err
    assert 0 == again.exit_code
    assert ["b.mp4"] == [path.name for path in tmp_path.iterdir()]
