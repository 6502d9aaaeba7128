"""Whatever is handed over: one clear line, the documented exit code, and no stray file.

Each command runs in a process of its own, so that stderr holds all that a user would see.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import tiny_models
from tests.support.bad_files import BAD_SOURCES, SOURCE_EXIT, Bad
from tests.support.cli_runner import COMMAND, LIMIT_SECONDS, Ran, environment_for, run_apart
from tests.support.clip_spec import Attachment, Clip, Picture, Sound
from tests.support.clip_writer import write_clip

BAD_REQUEST_EXIT, RESOURCE_EXIT = 2, 4
QUICK = ("--model", "lanczos", "--preset", "ultrafast")
FEW_BYTES = 20_000


def video(source: Path, output: Path, *options: str) -> Ran:
    """Run the command on one file; twice the size unless the options say otherwise."""
    size = () if {"--scale", "--to", "--task"} & set(options) else ("--scale", "2")
    quick = QUICK[2:] if "--model" in options else QUICK
    return run_apart("video", source, "-o", output, *size, *quick, *options)


def assert_one_line(ran: Ran) -> None:
    """Hold the error on stderr to one line (and perhaps its hint) without internals; progress may stand before it."""
    errors = [line for line in ran.stderr.splitlines() if line.startswith("upscale: ")]
    errors = [line for line in errors if not line.startswith(("upscale: hint: ", "upscale: warning: "))]
    assert 1 == len(errors), ran.stderr
    assert "Traceback" not in ran.stderr


def assert_nothing_but_one_line(ran: Ran) -> None:
    """Hold stderr to the error's line alone (and perhaps its hint): no work was begun, no library talked."""
    assert_one_line(ran)
    assert len(ran.stderr.splitlines()) <= 2, ran.stderr


def files_in(folder: Path) -> set[str]:
    """Return every file and folder below, hidden ones included."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("bad", BAD_SOURCES, ids=lambda bad: bad.name)
def test_bad_source_is_refused_in_one_line(bad: Bad, tmp_path: Path) -> None:
    """A source that is no usable video ends with its documented code and exit code, and leaves nothing behind."""
    source, results = tmp_path / bad.name, tmp_path / "results"
    bad.write(source)
    results.mkdir()

    ran = video(source, results / "out.mkv", "--json")

    assert bad.exit_code == ran.exit_code, ran.stderr
    assert fault_code(ran) in bad.codes
    assert_one_line(ran) if bad.begins_well else assert_nothing_but_one_line(ran)
    assert set() == files_in(results)
    assert {bad.name, "results"} >= files_in(tmp_path)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Give a good small clip."""
    return write_clip(Clip(sounds=(Sound(),)), tmp_path / "clip.mp4")


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a mounted disk of 64 KiB; only the superuser can mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting a small disk needs Linux and the superuser")
    mounted = subprocess.run(
        ["/bin/mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["/bin/umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize(
    ("options", "exit_code", "code"),
    [
        (("--to", "96x64"), SOURCE_EXIT, "nothing_to_upscale"),
        (("--to", "48x32"), SOURCE_EXIT, "nothing_to_upscale"),
        (("--to", "much"), BAD_REQUEST_EXIT, "bad_request"),
        (("--task", "SD28K"), BAD_REQUEST_EXIT, "unknown_task"),
        (("--scale", "5"), BAD_REQUEST_EXIT, "bad_scale"),
        (("--codec", "vc1"), BAD_REQUEST_EXIT, "bad_request"),
        (("--model", "no-such-model"), RESOURCE_EXIT, "model_missing"),
        (("--start", "60"), BAD_REQUEST_EXIT, "bad_request"),
        (("--duration", "-1"), BAD_REQUEST_EXIT, "bad_request"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_impossible_wish_is_refused(
    options: tuple[str, ...], exit_code: int, code: str, clip: Path, tmp_path: Path
) -> None:
    """A wish that cannot be granted for a good file has its own code, and nothing is written."""
    ran = video(clip, tmp_path / "out.mp4", *options, "--json")

    assert (exit_code, code) == (ran.exit_code, fault_code(ran)), ran.stderr
    assert {"clip.mp4"} == files_in(tmp_path)


def test_container_that_is_not_offered_is_refused(clip: Path, tmp_path: Path) -> None:
    """An output suffix without a muxer of ours is an unsupported format; the line names those we have."""
    ran = video(clip, tmp_path / "out.avi")

    assert ran.exit_code == SOURCE_EXIT
    assert ".mkv" in ran.stderr
    assert_one_line(ran)
    assert {"clip.mp4"} == files_in(tmp_path)


def test_hdr_is_not_lost_silently(tmp_path: Path) -> None:
    """An HDR source asked for in 8 bits is refused by name."""
    picture = Picture(
        codec="libx265", pixel_format="yuv420p10le", colour=(9, 16, 9, 1), options={"x265-params": "log-level=none"}
    )
    source = write_clip(Clip(pictures=(picture,)), tmp_path / "hdr.mp4")

    ran = video(source, tmp_path / "out.mp4", "--pixel-format", "yuv420p", "--json")

    assert (SOURCE_EXIT, "hdr_not_carried") == (ran.exit_code, fault_code(ran))


def test_existing_output_is_kept_without_yes(clip: Path, tmp_path: Path) -> None:
    """An existing file is never overwritten without `-y`, and is replaced with it."""
    output = tmp_path / "out.mp4"
    output.write_text("precious")

    refused = video(clip, output)
    kept = output.read_text()
    allowed = video(clip, output, "-y")

    assert (BAD_REQUEST_EXIT, "precious") == (refused.exit_code, kept)
    assert allowed.exit_code == 0
    assert b"precious" not in output.read_bytes()


def test_output_over_its_own_source_is_refused(clip: Path) -> None:
    """The source is safe from being its own output, `-y` or not."""
    before = clip.read_bytes()

    ran = video(clip, clip, "-y")

    assert ran.exit_code == BAD_REQUEST_EXIT
    assert before == clip.read_bytes()


def test_output_in_a_missing_folder_says_so(clip: Path, tmp_path: Path) -> None:
    """A folder that does not exist is made or named, but never a traceback."""
    ran = video(clip, tmp_path / "nowhere" / "out.mp4")

    assert ran.exit_code in (0, RESOURCE_EXIT)
    assert "Traceback" not in ran.stderr


def test_unwritable_folder_ends_in_one_line(clip: Path, tiny_disk: Path) -> None:
    """A folder that cannot be written to (a read-only disk stops the superuser, too) is a storage error."""
    subprocess.run(["/bin/mount", "-o", "remount,ro", str(tiny_disk)], check=True)

    ran = video(clip, tiny_disk / "out.mp4")

    assert ran.exit_code == RESOURCE_EXIT, ran.stderr
    assert_nothing_but_one_line(ran)


def test_output_under_a_file_ends_in_one_line(clip: Path, tmp_path: Path) -> None:
    """A path that leads through a file can be written by nobody, the superuser included."""
    ran = video(clip, tmp_path / "clip.mp4" / "out.mp4")

    assert ran.exit_code == RESOURCE_EXIT, ran.stderr
    assert_one_line(ran)
    assert {"clip.mp4"} == files_in(tmp_path)


def test_file_size_limit_reads_as_disk_full(clip: Path, tmp_path: Path) -> None:
    """A write that the system cuts off ends as `disk_full`, with no half-written output."""
    (tmp_path / "results").mkdir()
    command = [*COMMAND, "video", str(clip), "-o", str(tmp_path / "results" / "out.mp4"), "--scale", "2", *QUICK]

    done = subprocess.run(
        [*command, "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_SECONDS,
        env={**environment_for(), "PYTHONDONTWRITEBYTECODE": "1"},  # half of a module's would stay for all later runs
        preexec_fn=_allow_few_bytes,
    )

    ran = Ran(done.returncode, done.stdout, done.stderr)
    assert (RESOURCE_EXIT, "disk_full") == (ran.exit_code, fault_code(ran)), ran.stderr
    assert not (tmp_path / "results" / "out.mp4").exists()
    assert [] == [name for name in files_in(tmp_path / "results") if name.endswith((".part", ".part.mp4", ".part.mkv"))]


def _allow_few_bytes() -> None:
    """Limit files to fewer bytes than the output needs; Python ignores SIGXFSZ, so writes fail with EFBIG."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (FEW_BYTES, FEW_BYTES))


def test_full_disk_is_named(tiny_disk: Path, tmp_path: Path) -> None:
    """A disk that fills up ends as `disk_full` in one line, with no half-written output."""
    source = write_clip(
        Clip(suffix=".mkv", sounds=(Sound(),), attachments=(Attachment(content=bytes(90_000)),)), tmp_path / "big.mkv"
    )

    ran = video(source, tiny_disk / "out.mkv")

    assert ran.exit_code == RESOURCE_EXIT, ran.stderr
    assert "space" in ran.stderr
    assert_one_line(ran)
    assert not (tiny_disk / "out.mkv").exists()


def _no_protobuf(path: Path) -> None:
    path.write_bytes(b"this is no protobuf" * 20)


@pytest.mark.parametrize(
    "write", [_no_protobuf, tiny_models.classifier, tiny_models.same_size, tiny_models.two_inputs, tiny_models.inverted]
)
def test_file_that_is_no_super_resolution_model_is_refused(
    write: Callable[[Path], object], clip: Path, tmp_path: Path
) -> None:
    """No ONNX at all, and networks that do something else, have the model's code and leave nothing."""
    model = tmp_path / "model.onnx"
    write(model)

    ran = video(clip, tmp_path / "out.mp4", "--model", str(model), "--json")

    assert (RESOURCE_EXIT, "model_invalid") == (ran.exit_code, fault_code(ran)), ran.stderr
    assert_one_line(ran)
    assert {"clip.mp4", "model.onnx"} == files_in(tmp_path)


def test_batch_goes_on_after_a_bad_file(clip: Path, tmp_path: Path) -> None:
    """One bad file among several fails the command, and the good ones are done all the same."""
    letter = tmp_path / "letter.mp4"
    letter.write_text("no video")
    results = tmp_path / "results"
    results.mkdir()

    ran = run_apart("video", letter, clip, "-o", results, "--scale", "2", *QUICK)

    assert ran.exit_code != 0
    assert 1 == len(files_in(results))


def fault_code(ran: Ran) -> str:
    """Return the code of the first fault in the JSON on stdout."""
    stack: list[object] = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")] or [ran.report]
    while stack:
        value = stack.pop(0)
        if isinstance(value, dict):
            if "code" in value and "detail" in value and "retryable" in value:
                return str(value["code"])
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)
    return ""
