"""`upscale bench`: rows through the real path, each in a process of its own, and a table that hides no noise."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from tests.support import killing, tiny_models
from tests.support.tiny_models import Form
from upscale_server.cli import bench, bench_rows
from upscale_server.cli.bench_rows import ENCODER, Outcome, Row, measured
from upscale_server.cli.main import run
from upscale_server.errors import Interrupted, ModelInvalid
from upscale_server.models.catalogue import available
from upscale_server.models.choices import Candidate

Captured = pytest.CaptureFixture[str]
FAST = Outcome((30.0, 40.0, 50.0), 30, 2**28, "openvino", "bf16", "480x270", "960x540", "libx265 fast crf 20")
SLOW = Outcome((10.0,), 10, 2**29, "onnxruntime", "f32", "480x270", "960x540", "libx265 fast crf 20")


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Give a quiet machine and a state folder of its own."""
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    monkeypatch.setenv("UPSCALE_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> list[Row]:
    """Give the rows that are asked for, in place of measuring them: the encoder and kernels are fast, networks slow."""
    asked: list[Row] = []

    def answered(row: Row) -> Outcome:
        asked.append(row)
        return FAST if row.model in {ENCODER, "lanczos", "bicubic"} else SLOW

    monkeypatch.setattr(bench, "measured", answered)
    monkeypatch.setattr("upscale_server.models.select.choose", lambda *_: Candidate("openvino", "f32"))
    return asked


@pytest.mark.slow
@pytest.mark.parametrize("row", [Row("bicubic", 2), Row(ENCODER, 2, "", "")], ids=["kernel", "encoder"])
def test_row_is_measured_through_the_real_path(row: Row) -> None:
    """The bundled clip is decoded, enlarged and encoded, in runs that are told one by one, with a peak of memory."""
    outcome = measured(row)

    assert "" == outcome.fault
    assert ("480x270", "960x540", "libx265 fast crf 20") == (outcome.source, outcome.target, outcome.encoder)
    assert 1 <= len(outcome.rates) <= 5
    assert min(outcome.rates) <= outcome.rate <= max(outcome.rates)
    assert bench_rows.LEAST_FRAMES <= outcome.frames <= bench_rows.MOST_FRAMES
    assert outcome.memory_bytes > 20 * 2**20, "an interpreter with NumPy and FFmpeg in it has more"


@pytest.mark.slow
def test_row_that_cannot_run_says_why() -> None:
    """A fault in its process is an outcome, not the end of the table."""
    assert measured(Row("nothing", 2)).fault.startswith("there is no model 'nothing'")


@pytest.mark.slow
def test_row_that_takes_too_long_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process is ended in the middle of its work, the next row goes on, and what it had written is removed."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def until_it_writes(_pipe: Connection, _limit: float) -> bool:
        killing.wait_until(lambda: any(tmp_path.rglob("*.mkv")))
        return False  # the limit is over at this very moment

    monkeypatch.setattr(Connection, "poll", until_it_writes)

    outcome = measured(Row(ENCODER, 2), limit_seconds=0.5)

    assert "gave no figure within 0.5 s" == outcome.fault
    assert [] == list(tmp_path.iterdir())


@pytest.mark.slow
def test_interrupted_comparison_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of a row ends its process and removes what it had written."""
    temp = tmp_path / "temp"
    temp.mkdir()
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(temp))

    status = killing.kill_when(["bench", "--compare"], lambda: any(temp.rglob("*.mkv")), signal.SIGINT)

    assert Interrupted.exit_code == status
    assert [] == list(temp.iterdir())


def test_alone_it_measures_what_a_job_would_take(rows: list[Row], capfd: Captured) -> None:
    """One row: the default model on the engine that auto takes."""
    code = run(["bench"])

    assert 0 == code
    assert [("fast", 2, "openvino", "f32")] == [(row.model, row.scale, row.engine, row.precision) for row in rows]
    assert "480x270 to 960x540, libx265 fast crf 20" in capfd.readouterr().out


@pytest.mark.slow
def test_comparison_has_every_model_on_every_engine_and_the_floor(
    rows: list[Row], capfd: Captured, tmp_path: Path
) -> None:
    """The encoder alone and the kernels are rows, so are models that were added; one engine of each is marked."""
    network = tiny_models.nearest(tmp_path / "mine.onnx", Form(scale=2))
    assert 0 == run(["models", "add", str(network)])
    capfd.readouterr()

    code = run(["bench", "--compare", "--json"])

    told = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    ours = {card.name for card in available() if card.scale == 2 and card.path}
    added = str(tmp_path / "state" / "models" / "mine.onnx")
    assert 0 == code
    assert {ENCODER, "lanczos", "bicubic", added} | ours == {row.model for row in rows}
    assert {"openvino"} <= {row.engine for row in rows if row.model == "fast"}
    marked = [one["model"] for one in told if one["chosen"]]
    assert sorted([*ours, added]) == sorted(marked)
    assert [1.0, 0.25] == sorted({one["of_fastest"] for one in told}, reverse=True)


@pytest.mark.slow
def test_figures_are_told_with_their_spread(rows: list[Row], capfd: Captured) -> None:
    """Medians, how far the runs lie apart, and a minute of 1080p by its pixels; a single run has no spread."""
    del rows
    run(["bench", "--compare", "--json"])

    told = {one["model"]: one for one in map(json.loads, capfd.readouterr().out.splitlines())}

    fast, slow = told["lanczos"], told["fast"]
    assert (40.0, 0.5, 3) == (fast["frames_per_second"], fast["spread"], fast["runs"])
    assert (10.0, None, 1) == (slow["frames_per_second"], slow["spread"], slow["runs"])
    assert [1800 / 40 * 16, 1800 / 10 * 16] == [fast["minute_of_1080p_seconds"], slow["minute_of_1080p_seconds"]]


def test_engine_that_fails_is_a_row_with_its_reason(capfd: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table has no figure for it, and a line says why."""
    monkeypatch.setattr(bench, "measured", lambda _row: Outcome(fault="the device is gone"))
    monkeypatch.setattr("upscale_server.models.select.choose", lambda *_: Candidate("openvino", "f32"))

    code = run(["bench"])

    said = capfd.readouterr()
    assert 0 == code
    assert "none" in said.out
    assert "fast openvino f32: the device is gone" in said.err.splitlines()


@pytest.mark.slow
def test_damaged_model_is_left_out_with_a_warning(rows: list[Row], capfd: Captured, tmp_path: Path) -> None:
    """One that was added and is damaged since does not keep the others from being measured."""
    network = tiny_models.nearest(tmp_path / "mine.onnx", Form(scale=2))
    assert 0 == run(["models", "add", str(network)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("upscale_server.models.select.choose", _fails_for_mine)
        capfd.readouterr()
        code = run(["bench", "--compare"])

    assert 0 == code
    assert any("mine: the file was changed" in line for line in capfd.readouterr().err.splitlines())
    assert "fast" in {row.model for row in rows}


def _fails_for_mine(card: object, *_: object) -> Candidate:
    if getattr(card, "name", "") == "mine":
        raise ModelInvalid("the file was changed")
    return Candidate("openvino", "f32")


def test_scale_that_the_default_model_lacks_is_refused(rows: list[Row], capfd: Captured) -> None:
    """One line with those it has; nothing is measured."""
    code = run(["bench", "--scale", "3"])

    assert (2, []) == (code, rows)
    assert "scale is 3; the default model has 2, 4" in capfd.readouterr().err


def test_busy_machine_is_told_of(rows: list[Row], capfd: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table made beside other programs is about them as well."""
    del rows
    monkeypatch.setattr(os, "getloadavg", lambda: (64.0, 0.0, 0.0))

    run(["bench"])

    assert "upscale: warning: busy: other programs kept 64.0 of" in capfd.readouterr().err
