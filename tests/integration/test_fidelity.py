"""Nothing is lost: every corpus file goes through the command and is held against its source by an independent oracle.

The oracle shares no code with the product's audit. Files that cannot be kept whole must say so by name.
"""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest

from tests.support.case import Case
from tests.support.cli_runner import Ran, run_here
from tests.support.clips import CASES, DAMAGED
from tests.support.faults import (
    Change,
    copy_of,
    with_frame_moved,
    with_frame_repeated,
    with_frames_swapped,
    without_frame,
)
from tests.support.oracle import Promise, differences

SEGMENT_SECONDS = "0.4"
"""Short, so that each of these one-second files is cut inside its GOPs."""
CONCEALED_FRAMES = 4
"""Broken packets cost a picture or two; decoders fill the gap in their own way, up to the next keyframe."""
AUDIT_FAILED = 5

FAULTS = {
    "one_dropped_frame": Change(frames=without_frame(7)),
    "a_dropped_last_frame": Change(frames=without_frame(23)),
    "one_shifted_pts": Change(frames=with_frame_moved(7)),
    "two_swapped_frames": Change(frames=with_frames_swapped(7, 8)),
    "one_repeated_frame": Change(frames=with_frame_repeated(7)),
    "lost_audio_tracks": Change(lost_kinds=frozenset({"audio"})),
    "lost_subtitles": Change(lost_kinds=frozenset({"subtitle"})),
    "changed_colour_tags": Change(colour=(6, 6, 6, 1)),
    "changed_range": Change(colour=(1, 1, 1, 2)),
    "changed_sample_aspect_ratio": Change(sample_aspect_ratio=Fraction(4, 3)),
    "lost_chapters": Change(keep_chapters=False),
    "lost_languages": Change(keep_languages=False),
    "lost_rotation": Change(keep_rotation=False),
}


def upscaled(case: Case, name: str, folder: Path, *options: str) -> tuple[Path, Path, Ran]:
    """Make the case's file and run the command over it."""
    source = case.write(folder / f"{name}{case.suffix}")
    output = folder / f"{name}.out{case.target_suffix}"
    command = ("video", source, "-o", output, "--scale", "2", "--model", "lanczos", "--preset", "ultrafast", "--json")
    if "--codec" in (*case.options, *options):
        command = tuple(part for part in command if part not in ("--preset", "ultrafast"))
    return source, output, run_here(*command, "--segment-seconds", SEGMENT_SECONDS, *case.options, *options)


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_lost(name: str, tmp_path: Path) -> None:
    """Frames, times, order, picture, tracks, tags and extras of the output are those of the source."""
    case = CASES[name]

    source, output, ran = upscaled(case, name, tmp_path)

    assert ran.exit_code == 0, ran.stderr
    assert [] == differences(source, output, case.promise)
    assert case.warnings <= warning_codes(ran)
    assert {source.name, output.name} == {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files_keep_all_that_decodes(name: str, tmp_path: Path) -> None:
    """Frames on both sides of a damage are there at their times, the tracks are whole, and the damage is reported."""
    case = DAMAGED[name]

    source, output, ran = upscaled(case, name, tmp_path)

    assert ran.exit_code == 0, ran.stderr
    assert [] == differences(source, output, Promise(damaged_frames=CONCEALED_FRAMES))
    assert case.warnings <= warning_codes(ran)


@pytest.mark.parametrize(
    "name", ["everything_mkv", "everything_mp4", "hdr10_hevc", "odd_size_444", "interlaced_top_first"]
)
def test_the_network_loses_nothing_either(name: str, tmp_path: Path) -> None:
    """With the built-in network in place of Lanczos the same holds."""
    case = CASES[name]

    source, output, ran = upscaled(case, name, tmp_path, "--model", "fast-clean")

    assert ran.exit_code == 0, ran.stderr
    assert [] == differences(source, output, case.promise)


@pytest.fixture(scope="module")
def good_pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Give a source with every kind of track and a good output made from it."""
    folder = tmp_path_factory.mktemp("pair")
    source, output, ran = upscaled(CASES["everything_mp4"], "everything_mp4", folder)
    assert ran.exit_code == 0, ran.stderr
    return source, output


def test_verify_accepts_a_good_pair(good_pair: tuple[Path, Path]) -> None:
    """The audit that the user can repeat accepts what the product made."""
    ran = run_here("verify", *good_pair)

    assert ran.exit_code == 0, ran.stderr + ran.stdout


def test_verify_accepts_the_control(good_pair: tuple[Path, Path], tmp_path: Path) -> None:
    """A copy of the output, encoded again without a fault, is accepted: those below are caught for cause."""
    source, output = good_pair

    ran = run_here("verify", source, copy_of(output, tmp_path / "control.mp4"))

    assert ran.exit_code == 0, ran.stderr + ran.stdout


@pytest.mark.parametrize("fault", FAULTS)
def test_verify_catches_a_planted_fault(fault: str, good_pair: tuple[Path, Path], tmp_path: Path) -> None:
    """Each single fault makes the audit fail with its exit code."""
    source, output = good_pair

    ran = run_here("verify", source, copy_of(output, tmp_path / "faulty.mp4", FAULTS[fault]), "--json")

    assert ran.exit_code == AUDIT_FAILED, ran.stdout


@pytest.mark.parametrize("fault", FAULTS)
def test_the_oracle_catches_a_planted_fault(fault: str, good_pair: tuple[Path, Path], tmp_path: Path) -> None:
    """The oracle of this file is no yes-man either."""
    source, output = good_pair

    assert [] != differences(source, copy_of(output, tmp_path / "faulty.mp4", FAULTS[fault]))


def warning_codes(ran: Ran) -> set[str]:
    """Return the codes of all warnings in the report, wherever it keeps them."""
    found: set[str] = set()
    stack: list[object] = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")] or [ran.report]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            found.update(_codes(value.get("warnings", [])))
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)
    return found


def _codes(warnings: object) -> set[str]:
    entries = warnings if isinstance(warnings, list) else []
    return {str(entry["code"] if isinstance(entry, dict) else entry[0]) for entry in entries}
