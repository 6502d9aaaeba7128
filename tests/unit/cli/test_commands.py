"""The commands as a person meets them: exit codes, one clear line, results on stdout and talk on stderr.

Most run in this process, with both streams captured at the file descriptor so that no library writes past us; those
marked as processes prove that the installed command behaves the same.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from tests.support import tiny_models
from tests.support.cramped import Cramped
from tests.support.tiny_models import Form
from upscale_server import __version__, quality_vmaf
from upscale_server.cli.main import run
from upscale_server.models.device import nvidia_gpus
from upscale_server.models.extras import installed
from upscale_server.workers.in_process import InProcess

Captured = pytest.CaptureFixture[str]
SIZE = (40, 24)


def _png(path: Path, size: tuple[int, int] = SIZE) -> Path:
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    Image.fromarray(np.stack([x * 5 % 256, y * 9 % 256, (x + y) % 256], axis=2).astype(np.uint8)).save(path)
    return path


def _upscale(*arguments: object, capfd: Captured) -> tuple[int, list[str], list[str]]:
    """Run the command and return its exit code and the lines on stdout and stderr."""
    capfd.readouterr()
    code = run([str(argument) for argument in arguments])
    captured = capfd.readouterr()
    return code, captured.out.splitlines(), captured.err.splitlines()


def _process(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "upscale_server.cli.main", *map(str, arguments)]
    source = Path(__file__).parents[3] / "src"
    environment = {**os.environ, "PYTHONPATH": str(source)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, **options)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


# --- the whole command ---


def test_version_is_a_result(capfd: Captured) -> None:
    """`upscale --version` prints name and version on stdout."""
    assert (0, [f"upscale {__version__}"], []) == _upscale("--version", capfd=capfd)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sharpen"], "no such command 'sharpen'"),
        (["image"], "missing argument"),
        (["image", "--sharpness", "3", "a.png"], "no such option: --sharpness"),
        (["image", "--scale", "two", "a.png"], "'--scale'"),
        (["image", "--scale", "5", "a.png"], "scale is 5; expected one of 2, 3, 4"),
        (["image", "--scale", "2", "--to", "4k", "a.png"], "--to and --scale are given; choose one"),
        (["image", "--task", "SD2UHD", "a.png"], "expected one of SD2HD, SD24K, HD24K, 4K28K"),
        (["image", "--to", "huge", "a.png"], "WIDTHxHEIGHT"),
        (["image", "--to", "4k", "--fit", "stretch", "a.png"], "expected one of contain, exact, scale"),
    ],
)
def test_wrong_usage_is_exit_2_with_one_line_and_a_hint(arguments: list[str], said: str, capfd: Captured) -> None:
    """A request that makes no sense is refused before a file is opened."""
    code, out, err = _upscale(*arguments, capfd=capfd)

    assert (2, []) == (code, out)
    assert said in err[0]
    assert err[0].startswith("upscale: ")
    assert len(err) <= 2


def test_an_unknown_setting_stops_every_command(capfd: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt variable is exit 2 with the nearest name, not silence."""
    monkeypatch.setenv("UPSCALE_LIMITS__MAX_PIXEL", "5")

    code, out, err = _upscale("models", capfd=capfd)

    assert (2, []) == (code, out)
    assert ["upscale: bad_request: setting UPSCALE_LIMITS__MAX_PIXEL does not exist"] == err[:1]
    assert "upscale: hint: did you mean UPSCALE_LIMITS__MAX_PIXELS?" == err[1]


def test_an_unexpected_error_is_named_and_not_a_traceback(capfd: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect of ours is exit 1 and one line that asks for a report."""

    def broken(*_: object, **__: object) -> None:
        message = "a value that cannot be"
        raise ZeroDivisionError(message)

    monkeypatch.setattr("upscale_server.models.catalogue.available", broken)

    code, out, err = _upscale("models", capfd=capfd)

    assert (1, []) == (code, out)
    assert "upscale: internal: ZeroDivisionError: a value that cannot be" == err[0]
    assert "Traceback" not in "\n".join(err)


# --- image ---


@pytest.mark.slow
def test_image_is_upscaled_beside_its_source_by_default(tmp_path: Path, capfd: Captured) -> None:
    """×2 with the built-in network, the result named on stdout, the talk on stderr, no other file."""
    _png(tmp_path / "a.png")

    code, out, err = _upscale("image", tmp_path / "a.png", capfd=capfd)

    assert 0 == code
    assert 1 == len(out)
    assert out[0].startswith(f"{tmp_path / 'a_upscaled.png'}: 80x48, 8 bits")
    assert "40x24 to 80x48" in err[0]
    assert ["a.png", "a_upscaled.png"] == _names(tmp_path)
    with Image.open(tmp_path / "a_upscaled.png") as found:
        assert ((80, 48), "RGB") == (found.size, found.mode)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "size"),
    [
        (["--scale", "3"], (120, 72)),
        (["--scale", "4"], (160, 96)),
        (["--to", "100x100"], (100, 60)),
        (["--to", "100x100", "--fit", "exact"], (100, 100)),
        (["--task", "SD2HD"], (1800, 1080)),
    ],
)
def test_image_ends_at_the_size_asked_for(
    options: list[str], size: tuple[int, int], tmp_path: Path, capfd: Captured
) -> None:
    """Scale, box and task mean for pictures what they mean for videos."""
    _png(tmp_path / "a.png")

    code, out, _ = _upscale("image", tmp_path / "a.png", "-o", tmp_path / "b.png", "--json", *options, capfd=capfd)

    assert 0 == code
    assert f"{size[0]}x{size[1]}" == json.loads(out[0])["size"]
    with Image.open(tmp_path / "b.png") as found:
        assert size == found.size


def test_json_is_one_object_a_result_and_nothing_else_on_stdout(tmp_path: Path, capfd: Captured) -> None:
    """A batch of one good and one bad picture: two objects, the bad one a fault record, exit code of the worst."""
    _png(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("no picture")

    code, out, err = _upscale("image", tmp_path, "-o", tmp_path / "out", "--json", "--engine", "lanczos", capfd=capfd)

    good, bad = (json.loads(line) for line in out)
    assert 3 == code
    assert ("80x48", "lanczos", 8) == (good["size"], good["model"], good["bits"])
    assert (str(tmp_path / "b.png"), "not_media") == (bad["source"], bad["fault"]["code"])
    expected = {"type", "title", "status", "detail", "code", "retryable", "request_id", "hint"}
    assert expected == set(bad["fault"])
    assert any("upscale: not_media: " in line for line in err)
    assert ["a_upscaled.png"] == _names(tmp_path / "out")


@pytest.mark.slow
def test_warnings_say_what_the_output_cannot_hold(tmp_path: Path, capfd: Captured) -> None:
    """Transparency written as JPEG is a named warning on stderr and in the JSON record."""
    Image.new("RGBA", SIZE, (255, 0, 0, 128)).save(tmp_path / "a.png")

    code, out, err = _upscale("image", tmp_path / "a.png", "-o", tmp_path / "b.jpg", "--json", capfd=capfd)

    assert 0 == code
    assert ["alpha_dropped"] == [one["code"] for one in json.loads(out[0])["warnings"]]
    assert any(line.startswith("upscale: warning: alpha_dropped: JPEG holds no transparency") for line in err)


@pytest.mark.slow
def test_nothing_is_overwritten_without_yes(tmp_path: Path, capfd: Captured) -> None:
    """An existing output stays byte for byte; -y replaces it; the source itself is never replaced."""
    source = _png(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"precious")

    refused, _, err = _upscale("image", source, "-o", tmp_path / "b.png", capfd=capfd)
    kept = (tmp_path / "b.png").read_bytes()
    done, _, _ = _upscale("image", source, "-o", tmp_path / "b.png", "-y", capfd=capfd)
    itself, _, _ = _upscale("image", source, "-o", source, "-y", capfd=capfd)

    assert (2, b"precious", 0, 2) == (refused, kept, done, itself)
    assert "give -y to replace it" in err[1]
    assert (tmp_path / "b.png").read_bytes() != b"precious"


@pytest.mark.slow
def test_one_pixel_is_a_picture(tmp_path: Path, capfd: Captured) -> None:
    """1×1 becomes 2×2."""
    _png(tmp_path / "a.png", (1, 1))

    code, out, _ = _upscale("image", tmp_path / "a.png", capfd=capfd)

    assert 0 == code
    assert ": 2x2, " in out[0]


def _identity_model(path: Path) -> Path:
    """Write a valid network that is no super-resolution: output = input."""
    names = ["n", 1, "h", "w"]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "identity",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, names)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, names)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _cut(path: Path) -> Path:
    whole = _png(path, (200, 200)).read_bytes()
    return _written(path, whole[: len(whole) // 2])


BAD_IMAGES: list[tuple[str, Callable[[Path], list[object]], int, str]] = [
    ("missing", lambda d: [d / "none.png"], 3, "source_not_found"),
    ("directory", lambda d: [d], 3, "source_not_found"),
    ("empty", lambda d: [_written(d / "a.png", b"")], 3, "not_media"),
    ("text", lambda d: [_written(d / "a.png", b"hello " * 99)], 3, "not_media"),
    ("playlist", lambda d: [_written(d / "a.m3u8", b"#EXTM3U\nb.ts\n")], 3, "not_media"),
    ("truncated", lambda d: [_cut(d / "a.png")], 3, "source_truncated"),
    ("psd", lambda d: [_written(d / "a.psd", b"8BPS" + bytes(99))], 3, "unsupported_format"),
    ("too wide", lambda d: [_png(d / "a.png", (16_385, 1))], 3, "too_many_pixels"),
    ("output too wide", lambda d: [_png(d / "a.png", (8193, 1))], 3, "too_many_pixels"),
    ("at the target", lambda d: [_png(d / "a.png"), "--to", "40x24"], 3, "nothing_to_upscale"),
    ("absent model", lambda d: [_png(d / "a.png"), "--model", "sharpest"], 4, "model_missing"),
    ("absent model file", lambda d: [_png(d / "a.png"), "--model", d / "x.onnx"], 4, "model_missing"),
    ("broken model", lambda d: [_png(d / "a.png"), "--model", _written(d / "x.onnx", b"onnx?")], 4, "model_invalid"),
    (
        "no super-resolution",
        lambda d: [_png(d / "a.png"), "--model", _identity_model(d / "x.onnx")],
        4,
        "model_invalid",
    ),
    ("unknown engine", lambda d: [_png(d / "a.png"), "--engine", "tpu"], 2, "bad_request"),
    ("unknown precision", lambda d: [_png(d / "a.png"), "--precision", "f8"], 2, "bad_request"),
    ("unknown output", lambda d: [_png(d / "a.png"), "-o", d / "b.xyz"], 3, "unsupported_format"),
    ("no folder", lambda d: [_png(d / "a.png"), "-o", d / "none" / "b.png"], 4, "storage_error"),
    ("quality of PNG", lambda d: [_png(d / "a.png"), "--quality", "80"], 2, "bad_request"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("make", "exit_code", "code"), [c[1:] for c in BAD_IMAGES], ids=[c[0] for c in BAD_IMAGES])
def test_bad_image_ends_with_one_clear_line_its_exit_code_and_no_stray_file(
    make: Callable[[Path], list[object]], exit_code: int, code: str, tmp_path: Path, capfd: Captured
) -> None:
    """Every bad input: the documented exit code, the code at the start of one line, the fault as JSON, no file left."""
    arguments = make(tmp_path)
    before = _names(tmp_path)

    found, out, err = _upscale("image", *arguments, "--json", capfd=capfd)

    faults = [line for line in err if line.startswith("upscale: ") and not line.startswith("upscale: hint: ")]
    assert exit_code == found
    assert 1 == len(faults)
    assert faults[0].startswith(f"upscale: {code}: ")
    assert code == json.loads(out[-1])["fault"]["code"]
    assert before == _names(tmp_path)


@pytest.mark.slow
def test_process_keeps_streams_apart_and_returns_the_code(tmp_path: Path) -> None:
    """As a real process: the result on stdout, talk on stderr, exit codes 0 and 3."""
    _png(tmp_path / "a.png")

    good = _process("image", tmp_path / "a.png", "--engine", "lanczos")
    bad = _process("image", tmp_path / "none.png")

    assert 0 == good.returncode
    assert good.stdout.startswith(str(tmp_path / "a_upscaled.png"))
    assert 1 == good.stdout.count("\n")
    assert "40x24 to 80x48" in good.stderr
    assert (3, "") == (bad.returncode, bad.stdout)
    assert f"upscale: source_not_found: source {tmp_path / 'none.png'} does not exist\n" == bad.stderr


@pytest.mark.slow
def test_process_names_a_full_disk_and_leaves_no_part(tmp_path: Path) -> None:
    """With no room for the result (a file size limit, which the system reports like a full disk): exit 4, no file."""
    _png(tmp_path / "a.png", (300, 300))
    limited = "import resource, runpy, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    limited += "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)); "
    limited += "runpy.run_module('upscale_server.cli.main', run_name='__main__')"
    command = [sys.executable, "-B", "-c", limited, "image", str(tmp_path / "a.png"), "--engine", "lanczos"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "src")}

    found = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    assert 4 == found.returncode, found.stderr
    assert f"no space left for {tmp_path / 'a_upscaled.png'}" in found.stderr
    assert ["a.png"] == _names(tmp_path)


# --- video ---

QUICK = ["--engine", "lanczos", "--codec", "h264", "--preset", "ultrafast", "--duration", "0.2"]


@pytest.mark.slow
def test_video_is_upscaled_audited_and_its_work_folder_removed(
    bundled_clip: Path, tmp_path: Path, capfd: Captured
) -> None:
    """One JSON object with sizes, frames and the audit; beside the output nothing is left."""
    output = tmp_path / "b.mp4"

    code, out, err = _upscale("video", bundled_clip, "-o", output, "--json", *QUICK, capfd=capfd)

    found = json.loads(out[0])
    assert 0 == code
    assert ("960x540", 6, 0) == (found["size"], found["frames"], found["segments_reused"])
    assert found["audit"]["ok"]
    assert all(rule["ok"] for rule in found["audit"]["rules"] if rule["hard"])
    assert ["b.mp4"] == _names(tmp_path)
    assert "480x270 to 960x540, 6 frames in 1 segments, lanczos ×2" in err[0]
    assert any("nasa.mp4: upscale 0/6 frames" in line for line in err[1:])


@pytest.mark.slow
def test_video_is_measured_against_its_source(bundled_clip: Path, tmp_path: Path, capfd: Captured) -> None:
    """`--quality` adds the numbers to the JSON object, and one line where people read."""
    output, flags = tmp_path / "b.mp4", ["--quality", *QUICK]

    _, out, err = _upscale("video", bundled_clip, "-o", output, "--json", *flags, capfd=capfd)
    _, said, _ = _upscale("video", bundled_clip, "-o", output, "-y", *flags, capfd=capfd)

    found = json.loads(out[0])["quality"]
    assert ("source at its own size", 6, 6) == (found["against"], found["frames"], found["frames_total"])
    assert found["psnr_y"] > 28  # what an honest output has at least, see `audit`
    assert any("quality 0/6 frames" in line for line in err)
    assert f"quality against the source at its own size: PSNR-Y {found['psnr_y']:.2f} dB" in said[1]


@pytest.mark.slow
def test_video_is_told_of_when_measuring_it_breaks(
    bundled_clip: Path, tmp_path: Path, capfd: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever breaks, and foreseen or not: the file is there, and its record, and nothing else is left."""
    monkeypatch.setattr(InProcess, "measure", lambda *_: {}["pooled_metrics"])

    code, out, _ = _upscale("video", bundled_clip, "-o", tmp_path / "b.mp4", "--quality", "--json", *QUICK, capfd=capfd)

    found = json.loads(out[0])
    assert (0, 6) == (code, found["frames"])
    assert ["quality_not_measured"] == [one["code"] for one in found["warnings"]]
    assert ["b.mp4"] == _names(tmp_path)


@pytest.mark.slow
def test_video_is_told_of_when_measuring_it_is_stopped(
    bundled_clip: Path, tmp_path: Path, capfd: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupt then costs the numbers alone: the record is there, and the hint says that the file is."""
    monkeypatch.setattr(InProcess, "measure", lambda *_: os.kill(os.getpid(), signal.SIGINT))

    code, out, err = _upscale(
        "video", bundled_clip, "-o", tmp_path / "b.mp4", "--quality", "--json", *QUICK, capfd=capfd
    )

    found = json.loads(out[0])
    assert (130, 6, str(tmp_path / "b.mp4")) == (code, found["frames"], found["output"])
    assert "quality" not in found
    assert "upscale: interrupted: stopped while the quality was measured" in err
    assert f"upscale: hint: {tmp_path / 'b.mp4'} is whole" in err
    assert ["b.mp4"] == _names(tmp_path)


def test_video_without_the_extra_is_refused_before_any_work(
    bundled_clip: Path, tmp_path: Path, capfd: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 2 and the command that helps, and no output that would have to be thrown away."""
    quality_vmaf.require_quality.cache_clear()
    monkeypatch.setattr(quality_vmaf, "find_spec", lambda _: None)

    code, _, err = _upscale("video", bundled_clip, "-o", tmp_path / "b.mp4", "--quality", *QUICK, capfd=capfd)

    assert 2 == code
    assert "upscale-server[quality]" in "".join(err)
    assert [] == _names(tmp_path)


@pytest.mark.slow
def test_video_batch_goes_on_after_a_failure(bundled_clip: Path, tmp_path: Path, capfd: Captured) -> None:
    """The bad file is named, the good one is done, the exit code is that of the worst."""
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video")

    code, out, err = _upscale("video", bad, bundled_clip, "-o", tmp_path / "out", *QUICK, capfd=capfd)

    assert 3 == code
    assert ["nasa_upscaled.mp4"] == _names(tmp_path / "out")
    assert 1 == len(out)
    assert "audit ok" in out[0]
    assert any(line.startswith("upscale: not_media: ") and "bad.mp4" in line for line in err)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "exit_code", "code"),
    [
        (["-o", "b.avi"], 3, "unsupported_format"),
        (["--codec", "theora"], 2, "bad_request"),
        (["--to", "480x270"], 3, "nothing_to_upscale"),
        (["--model", "sharpest"], 4, "model_missing"),
        (["--start", "900"], 2, "bad_request"),
        (["-o", "none/b.mp4"], 4, "storage_error"),
    ],
)
def test_bad_video_request_leaves_no_file(  # noqa: PLR0913 - fixtures and a table of three
    options: list[str], exit_code: int, code: str, *, bundled_clip: Path, tmp_path: Path, capfd: Captured
) -> None:
    """A plan that cannot be made ends before any work folder exists."""
    output = [] if "-o" in options else ["-o", tmp_path / "b.mp4"]
    options = [str(tmp_path / text) if text.endswith((".avi", "b.mp4")) else text for text in options]

    found, out, err = _upscale("video", bundled_clip, *output, *options, capfd=capfd)

    assert (exit_code, []) == (found, out)
    assert err[0].startswith(f"upscale: {code}: ")
    assert [] == _names(tmp_path)


@pytest.mark.slow
def test_plan_probe_and_models_are_results(bundled_clip: Path, capfd: Captured) -> None:
    """What they find is on stdout, as lines and as JSON."""
    for command in (["plan", bundled_clip], ["probe", bundled_clip], ["models"]):
        code, out, err = _upscale(*command, capfd=capfd)
        assert (0, []) == (code, err)
        assert len(out) > 2

        code, out, _ = _upscale(*command, "--json", capfd=capfd)
        assert 0 == code
        assert all(isinstance(json.loads(line), dict) for line in out)


def test_probe_names_colours(bundled_clip: Path, capfd: Captured) -> None:
    """Nobody has to look up what code 2 is."""
    _, out, _ = _upscale("probe", bundled_clip, capfd=capfd)

    (colour,) = [line for line in out if line.startswith("colour")]
    assert re.search(r"primaries \D.*, transfer \D.*, matrix \D", colour)


@pytest.mark.slow
def test_plan_says_what_a_job_will_take_and_measures_when_asked(
    bundled_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Captured
) -> None:
    """Without measuring the size is rough; measured once, also the next plain plan of the same bytes knows it."""
    monkeypatch.setenv("UPSCALE_STATE_DIR", str(tmp_path / "state"))
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(bundled_clip.read_bytes())
    quick = ("--model", "lanczos", "--preset", "ultrafast", "--json")

    before, *_ = _upscale("plan", bundled_clip, *quick, capfd=capfd)[1]
    measured, *_ = _upscale("plan", bundled_clip, *quick, "--measure", capfd=capfd)[1]
    after, *_ = _upscale("plan", copy, *quick, capfd=capfd)[1]

    bases = [json.loads(line)["estimate"]["basis"] for line in (before, measured, after)]
    assert ["rough", "measured", "measured"] == [one["byte_count"] for one in bases]
    assert ["rough", "measured", "measured"] == [one["seconds"] for one in bases]
    assert ["copy.mp4"] == [one.name for one in tmp_path.iterdir() if one.is_file()]


def test_plan_shows_an_estimate_with_its_error_and_where_it_is_from(
    bundled_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Captured
) -> None:
    """A line each for time, bytes, memory and disk."""
    monkeypatch.setenv("UPSCALE_STATE_DIR", str(tmp_path / "state"))

    _, out, _ = _upscale("plan", bundled_clip, "--model", "lanczos", capfd=capfd)

    facts = dict(re.split(r"  +", line, maxsplit=1) for line in out)
    assert re.fullmatch(r"[\d.]+ s ± 50% \(rough\)", facts["time"])
    assert re.fullmatch(r"[\d.]+ MiB ± 50% \(rough\)", facts["bytes"])
    assert {"memory", "disk while it runs"} <= set(facts)


@pytest.mark.slow
def test_a_finished_job_is_held_against_what_was_said_of_it_and_doctor_tells(
    bundled_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Captured
) -> None:
    """The JSON has both; the first job's rough prediction is not judged, the second's, which the first taught, is."""
    monkeypatch.setenv("UPSCALE_STATE_DIR", str(tmp_path / "state"))

    first, second = (
        json.loads(_upscale("video", bundled_clip, "-o", tmp_path / name, *QUICK, "--json", capfd=capfd)[1][0])
        for name in ("a.mp4", "b.mp4")
    )
    checks = json.loads(_upscale("doctor", "--json", capfd=capfd)[1][0])["checks"]

    assert ["rough", "calibrated"] == [one["predicted"]["basis"]["seconds"] for one in (first, second)]
    assert first["bytes"] == first["actual"]["byte_count"]
    (found,) = [one["found"] for one in checks if one["name"] == "estimates"]
    assert re.fullmatch(r"time off by \d+% \(median of 1\), size not judged yet", found)


@pytest.mark.slow
def test_doctor_says_when_no_estimate_can_be_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Captured
) -> None:
    """No error is not an error of zero."""
    monkeypatch.setenv("UPSCALE_STATE_DIR", str(tmp_path / "state"))

    checks = json.loads(_upscale("doctor", "--json", capfd=capfd)[1][0])["checks"]

    (found,) = [one["found"] for one in checks if one["name"] == "estimates"]
    assert "no finished job yet had a measured or calibrated prediction" == found


@pytest.mark.slow
def test_verify_finds_agreement_and_its_lack(bundled_clip: Path, tmp_path: Path, capfd: Captured) -> None:
    """A file agrees with itself; a shortened copy breaks rules and is exit 5."""
    _upscale("video", bundled_clip, "-o", tmp_path / "b.mp4", *QUICK, capfd=capfd)

    same, out, err = _upscale("verify", bundled_clip, bundled_clip, capfd=capfd)
    other, report, fault = _upscale("verify", bundled_clip, tmp_path / "b.mp4", "--json", capfd=capfd)

    assert (0, "the files agree") == (same, out[-1])
    assert any("4:2:0" in line for line in out)
    assert not [line for line in err if line.startswith("upscale: ")]
    assert 5 == other
    assert not json.loads(report[0])["ok"]
    assert any(line.startswith("upscale: audit_failed: ") for line in fault)


@pytest.mark.slow
def test_doctor_tries_the_default_model_and_the_encoders(
    tmp_path: Path, capfd: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sound machine has no broken check; the precision is the one a real load ended with."""
    monkeypatch.setenv("UPSCALE_STATE_DIR", str(tmp_path / "state"))

    code, out, _ = _upscale("doctor", "--json", capfd=capfd)

    checks = {check["name"]: check for check in json.loads(out[0])["checks"]}
    assert 0 == code
    assert "self-test" in checks["default model"]["found"]
    assert "libx264" in checks["encoders"]["found"]
    assert "ok" == checks["state folder"]["verdict"]
    assert "; CPU: " in checks["OpenVINO and device"]["found"]
    assert "f32" in checks["OpenVINO and device"]["found"]
    for name, engine, word in (
        ("ONNX Runtime", "onnxruntime", "engines onnxruntime"),
        ("torch", "torch", "engines torch"),
    ):
        assert (word if installed(engine) else "not installed") in checks[name]["found"]


@pytest.mark.parametrize("engine", ["cuda", "tensorrt", "torch-cuda"])
def test_a_gpu_that_is_asked_for_and_not_here_fails_the_plan(engine: str, bundled_clip: Path, capfd: Captured) -> None:
    """One line that says what is missing; no plan on another engine, and nothing on stdout."""
    if nvidia_gpus():
        pytest.skip("there is a GPU here")

    code, out, err = _upscale("plan", bundled_clip, "--engine", engine, capfd=capfd)

    assert code not in {0, 70}
    assert [] == out
    assert err[0].startswith(("upscale: missing_extra: ", "upscale: device_unused: "))
    assert engine in err[0]


@pytest.mark.slow
def test_doctor_says_when_the_state_folder_cannot_be_used(
    tmp_path: Path, capfd: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A state folder under a file is broken, exit 4, with the setting to change."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("UPSCALE_STATE_DIR", str(tmp_path / "file" / "state"))

    code, out, err = _upscale("doctor", capfd=capfd)

    assert 4 == code
    assert any(line.split()[:3] == ["broken", "state", "folder"] for line in out)
    assert any("set UPSCALE_STATE_DIR" in line for line in err)


@pytest.mark.slow
def test_a_second_run_on_the_same_output_is_refused(bundled_clip: Path, tmp_path: Path, capfd: Captured) -> None:
    """Two processes never write the same segments: while one holds the work folder, the other is told."""
    arguments = ["-o", str(tmp_path / "b.mp4"), *QUICK]
    _, out, _ = _upscale("plan", bundled_clip, *arguments, "--json", capfd=capfd)
    folder = tmp_path / "b.mp4.work" / json.loads(out[0])["digest"]
    folder.mkdir(parents=True)
    (folder / "segment-00000.mkv").write_bytes(b"of the other run")

    with (folder.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, _, err = _upscale("video", bundled_clip, *arguments, capfd=capfd)

    assert 2 == code
    assert any("another run is working on this" in line for line in err)
    assert b"of the other run" == (folder / "segment-00000.mkv").read_bytes()


# --- models ---


@pytest.mark.slow
def test_models_bench_shows_every_engine_and_remembers_the_fastest(
    tmp_path: Path, capfd: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One record an engine and precision, exactly one chosen, and a memory for `--engine auto`."""
    monkeypatch.setenv("UPSCALE_STATE_DIR", str(tmp_path / "state"))

    code, out, _ = _upscale("models", "bench", "fast", "--size", "64x48", "--json", capfd=capfd)

    records = [json.loads(line) for line in out]
    assert 0 == code
    assert "openvino" in {record["engine"] for record in records}
    (chosen,) = (record for record in records if record["chosen"])
    assert {"lanes", "batch"} <= chosen.keys()
    assert (tmp_path / "state" / "choices.json").is_file()
    (pace,) = json.loads((tmp_path / "state" / "paces.json").read_text(encoding="utf-8")).values()
    assert (chosen["engine"], chosen["lanes"], chosen["batch"]) == (pace["engine"], pace["lanes"], pace["batch"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("fast", "--scale", "3"), "scale is 3; fast has 2, 4"),
        (("fast", "--size", "big"), "size is 'big'"),
        (("fastest",), "there is no model 'fastest'"),
    ],
)
def test_models_bench_refuses_what_is_not_there(arguments: tuple[str, ...], said: str, capfd: Captured) -> None:
    """One line that names the value."""
    code, out, err = _upscale("models", "bench", *arguments, capfd=capfd)

    assert code in {2, 4}
    assert [] == out
    assert said in err[0]


@pytest.mark.slow
def test_an_added_model_is_listed_and_planned_with_by_name(
    tmp_path: Path, bundled_clip: Path, capfd: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a file to `--model NAME`."""
    monkeypatch.setenv("UPSCALE_STATE_DIR", str(tmp_path / "state"))
    network = tiny_models.nearest(tmp_path / "mine.onnx", Form())
    code, _, err = _upscale("models", "add", network, "--scale", "2", capfd=capfd)
    assert 0 == code, err

    network.unlink()

    _, listed, _ = _upscale("models", "--json", capfd=capfd)
    code, out, _ = _upscale("plan", bundled_clip, "--model", "mine", "--json", capfd=capfd)

    assert "mine" in {json.loads(line)["name"] for line in listed}
    assert 0 == code
    assert "mine" == json.loads(out[0])["passes"][0]["card"]["name"]


def test_an_empty_argument_is_refused(capfd: Captured) -> None:
    """An unset shell variable must not mean the current folder."""
    code, out, err = _upscale("video", "", capfd=capfd)

    assert 2 == code
    assert not out
    assert any("an argument is empty after 'video'" in line for line in err)


@pytest.mark.slow
def test_a_folder_called_like_the_work_folder_keeps_its_files(
    bundled_clip: Path, tmp_path: Path, capfd: Captured
) -> None:
    """What a user has in OUT.work is not ours to remove."""
    mine = tmp_path / "out.mp4.work" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("mine")

    code, _, _ = _upscale("video", bundled_clip, "-o", tmp_path / "out.mp4", *QUICK, capfd=capfd)

    assert 0 == code
    assert [mine] == list(mine.parent.iterdir())


@pytest.mark.slow
def test_a_picture_takes_the_engine_that_was_measured_and_remembers_it(
    tmp_path: Path, capfd: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--engine auto` measures once for pictures of any size, as `upscale models bench` does at its default size."""
    monkeypatch.setenv("UPSCALE_STATE_DIR", str(tmp_path / "state"))
    records = []
    for size in (SIZE, (64, 48)):
        source = _png(tmp_path / f"{size[0]}.png", size)
        code, out, err = _upscale("image", source, "-o", tmp_path / f"{size[0]}_2x.png", "--json", capfd=capfd)
        assert 0 == code, err
        records.append(json.loads(out[0]))

    chosen = json.loads((tmp_path / "state" / "choices.json").read_text(encoding="utf-8"))

    assert 1 == len(chosen)
    (choice,) = chosen.values()
    assert [(choice["engine"], choice["precision"])] * 2 == [(one["engine"], one["precision"]) for one in records]
    assert [0, 0] == [one["memory_steps"] for one in records]


def test_a_picture_that_does_not_fit_into_memory_is_done_in_tiles(
    tmp_path: Path, capfd: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The picture is finished, the step is a warning and counted, and the next one begins with tiles."""
    monkeypatch.setenv("UPSCALE_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr("upscale_server.models.load.ClassicalUpscaler", lambda _card: Cramped(most_pixels=40_000))
    source = _png(tmp_path / "large.png", (300, 240))
    steps = []
    for name in ("first.png", "second.png"):
        code, out, err = _upscale("image", source, "-o", tmp_path / name, "--model", "lanczos", "--json", capfd=capfd)
        assert 0 == code, err
        record = json.loads(out[0])
        steps.append((record["memory_steps"], [one["code"] for one in record["warnings"]]))

    assert [(1, ["out_of_memory"]), (0, [])] == steps
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()


def test_a_name_that_nothing_has_lists_the_added_models_too(
    tmp_path: Path, capfd: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who mistypes the name of a model of their own sees it."""
    monkeypatch.setenv("UPSCALE_STATE_DIR", str(tmp_path / "state"))
    _upscale("models", "add", tiny_models.nearest(tmp_path / "mine.onnx", Form()), capfd=capfd)

    code, _, err = _upscale("image", _png(tmp_path / "in.png"), "--model", "mime", capfd=capfd)

    assert 4 == code
    assert "there is no model 'mime'" in err[0]
    assert "lanczos, bicubic, mine" in err[0]
