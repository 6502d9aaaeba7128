"""The child's end of the pipe: a slow frame is no silence, and a stop is obeyed between two of its tiles."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import cast

import pytest

from tests.support import substitute_engines, tiny_models
from tests.support.clip_spec import Clip, Picture
from tests.support.clip_writer import write_clip
from tests.support.killing import wait_until
from tests.support.tiny_models import Form
from upscale_server.cage import Cage
from upscale_server.checkpoint import Done
from upscale_server.errors import Canceled
from upscale_server.events import Event, FramesDone
from upscale_server.models import load
from upscale_server.models.base import EngineOptions
from upscale_server.models.load import load_with
from upscale_server.pipeline import upscale_video
from upscale_server.plan import make_plan
from upscale_server.wish import Wish
from upscale_server.workers import held_pipe
from upscale_server.workers.held_pipe import HeldPipe
from upscale_server.workers.in_process import InProcess
from upscale_server.workers.messages import Greet, Heard, Hello, Numbered, RunSegment, Stop
from upscale_server.workers.worker import Bench

# The listening thread ends with the `SystemExit` that stands for the end of its process.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Connection, HeldPipe]]:
    """Give the server's end and the child's, whose end would end this process."""
    ended: list[int] = []

    def end(code: int) -> None:
        ended.append(code)
        raise SystemExit

    monkeypatch.setattr(os, "_exit", end)
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    held = HeldPipe(theirs)
    listening = [one for one in threading.enumerate() if one.name == "held-pipe"]
    assert isinstance(ours.recv(), Hello)
    ours.send(Numbered(1, Greet()))
    next(held.orders())
    yield ours, held
    ours.close()
    wait_until(lambda: bool(ended))
    for one in listening:  # else its end may come while the next test runs, which does not expect it
        one.join()
    theirs.close()


def test_tiles_are_a_sign_of_life(pipe: tuple[Connection, HeldPipe], monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame of 8K on a slow machine ends after minutes; its tiles say before that the lane is not hung."""
    ours, held = pipe
    held.check()
    assert not ours.poll(0), "not at every tile"

    monkeypatch.setattr(held_pipe, "MOST_SILENT_SECONDS", 0.0)
    held.check()

    assert Heard(()) == ours.recv()


@pytest.mark.slow
def test_a_lane_builds_the_engine_that_it_needs_and_does_not_find(
    pipe: tuple[Connection, HeldPipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second pass's engine, or one that was damaged, is built when the segment comes; CPU stands for the GPU."""
    pytest.importorskip("onnxruntime", reason="the extra [onnxruntime] is not installed")
    from upscale_server.models.engines.onnxruntime import tensorrt  # noqa: PLC0415 - an extra

    opens, in_a_process = substitute_engines.open_on_cpu, tensorrt.in_a_process
    monkeypatch.setattr(tensorrt, "refuse_missing", lambda _: None)
    monkeypatch.setattr(tensorrt, "open_in", opens)
    monkeypatch.setattr(tensorrt, "in_a_process", lambda card, options: in_a_process(card, options, opens))
    monkeypatch.setattr(load, "require", lambda *_: None)
    source = write_clip(Clip(pictures=(Picture(frame_count=4),)), tmp_path / "clip.mp4")
    network = tiny_models.convolutional(tmp_path / "conv.onnx", Form())
    made = make_plan(source, Wish(model=str(network), scale=2, engine="openvino", precision="f32", codec="h264"))
    plan = replace(made, engine="tensorrt")

    with closing(Cage()) as cage:
        lane = Bench(pipe[1], 1, tmp_path / "state" / "choices.json", cage)
        done = lane.do(RunSegment(plan, plan.segments[0], tmp_path / "work"), lambda _: None)

    assert 4 == len(cast("Done", done).times)
    assert lane._builds is not None
    assert [True] == [path.name == "network.engine" for path in lane._builds.folder.glob("*/*.engine")]


@pytest.mark.slow
def test_cancel_between_two_tiles_ends_the_job_within_the_frame(
    pipe: tuple[Connection, HeldPipe], tmp_path: Path
) -> None:
    """No other tile is begun and no frame is finished once the stop was heard."""
    ours, held = pipe
    tiles: list[int] = []
    events: list[Event] = []

    def between() -> None:
        tiles.append(len(tiles))
        if len(tiles) == 3:
            ours.send(Stop(1))
            wait_until(lambda: held._newest_stop == 1)
        held.check()

    def loaded(_plan: object, one: object) -> object:
        options = EngineOptions(max_tile_pixels=48 * 48, between_tiles=between)
        upscaler = load_with(one.card, "auto", options)  # type: ignore[attr-defined]
        tiles.clear()  # the self-test's
        return upscaler

    source = write_clip(Clip(pictures=(Picture(width=320, height=240, frame_count=2),)), tmp_path / "clip.mp4")
    plan = make_plan(source, Wish(scale=2, model="fast", preset="ultrafast"))
    with pytest.raises(Canceled):
        upscale_video(plan, InProcess(loaded), tmp_path / "work", events.append)  # type: ignore[arg-type]

    assert [0, 1, 2] == tiles
    assert not any(isinstance(event, FramesDone) for event in events)
