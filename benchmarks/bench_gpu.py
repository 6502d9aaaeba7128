"""Asks how fast a GPU is: the network alone, decoding to nothing, file to file, and the four documented tasks.

    python -m benchmarks.bench_gpu [--engine NAME] [--frames N] [--rounds N] [--size WxH]

The network is a luma ×2 of 64 channels and 16 layers with random weights: only its shape counts. The tasks run the
built-in `fast`. Bounds: 1000 output MP/s from 1920x1080 to 3840x2160 decoded to nothing, and the documented frames a
second of every task, file to file. The best of the rounds counts; each round runs every part once. Lanes and batch are
those that a plan measures here.

On stdout one JSON object: `engine`, `lanes` and `batch`; `frames_per_second` and `output_megapixels_per_second` of
`model_only`, `decode_to_null` and `file_to_file`; `tasks`, each with its `frames_per_second` and the `documented` ones;
`model_only_by_engine`, the frames a second by which the engine was chosen. On a GPU it is kept in
`benchmarks/results/gpu.json`, and the exit code is 1 where a bound does not hold.
Without a GPU nothing is measured. `--engine onnxruntime --size 96x54` shows on any machine that the script runs.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import save
from benchmarks.material import clip_of
from upscale_server.errors import UpscaleError
from upscale_server.events import ignore
from upscale_server.media.decode import decode_segment
from upscale_server.media.encoders import encoder_opens
from upscale_server.media.types import Size, Tally
from upscale_server.models.base import EngineOptions, Upscaler
from upscale_server.models.card import ModelCard
from upscale_server.models.catalogue import card_of_file, find
from upscale_server.models.choices import Choices, builds_beside
from upscale_server.models.load import NETWORK_ENGINES, load_with
from upscale_server.models.luma import FrameUpscaler
from upscale_server.models.select import precision_named
from upscale_server.ordered import batched, map_in_order, prefetch
from upscale_server.pipeline import upscale_video
from upscale_server.plan import Pass, Plan, make_plan
from upscale_server.wish import Wish
from upscale_server.workers.in_process import InProcess

GPU_ENGINES = ("torch-cuda", "cuda", "tensorrt")
"""Those that load are tried on the network alone, and the fastest is measured in full."""
CHANNELS, LAYERS = 64, 16
LEAST_MEGAPIXELS = 1000.0
TASKS = {"SD2HD": 43.09, "SD24K": 12.54, "HD24K": 11.45, "4K28K": 2.37}
"""The documented frames a second."""
SOURCES = {"SD2HD": Size(854, 480), "SD24K": Size(854, 480), "HD24K": Size(1920, 1080), "4K28K": Size(3840, 2160)}
LANES = 2
"""With which engines are compared with each other; what is measured then has the lanes that its plan found."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What all parts share."""

    engine: str
    card: ModelCard
    folder: Path
    frames: int
    rounds: int
    size: Size

    @property
    def engines(self) -> str:
        """Return where engines are kept that take minutes to build."""
        return str(builds_beside(self.folder / "choices.json").folder)

    @property
    def is_gpu(self) -> bool:
        """Tell whether the bounds apply."""
        return self.engine in GPU_ENGINES


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and save; the exit code says whether the bounds held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default=None, choices=NETWORK_ENGINES)
    parser.add_argument("--frames", type=int, default=240)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=Size.parse, default=Size(1920, 1080))
    options = parser.parse_args(arguments)
    engines, why = ([options.engine], "") if options.engine else gpu_engines()
    if not engines:
        print(f"no GPU here: nothing measured ({why})", file=sys.stderr)
        return 0
    if find_spec("onnx") is None:
        print("not measured: onnx (extra [test]) is not installed", file=sys.stderr)
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        card = _network(folder / "shape.onnx")
        setups = [Setup(one, card, folder, options.frames, options.rounds, options.size) for one in engines]
        paces = {one.engine: round(_pace(one), 2) for one in setups}
        setup = max(setups, key=lambda one: paces[one.engine])
        result = measure(setup) | {"model_only_by_engine": paces}
    print(json.dumps(result, indent=2))
    if not setup.is_gpu:
        print("not a GPU: no bound applies and nothing is kept", file=sys.stderr)
        return 0
    print(f"written to {save('gpu', result)}", file=sys.stderr)
    return 0 if _holds(result) else 1


def gpu_engines() -> tuple[list[str], str]:
    """Return the engines that really run the built-in network on a GPU, and why others do not."""
    found, reasons = [], []
    for engine in (name for name in GPU_ENGINES if name in NETWORK_ENGINES):
        try:
            load_with(find("fast", 2), engine, EngineOptions()).close()
        except UpscaleError as err:
            reasons.append(f"{engine}: {err.detail}")
        else:
            found.append(engine)
    return found, "; ".join(reasons)


def _pace(setup: Setup) -> float:
    """Return frames a second of the network alone on an engine."""
    size = (setup.size.height, setup.size.width)
    options = EngineOptions(lanes=LANES, frame_size=size, engines=setup.engines)
    with closing(load_with(setup.card, setup.engine, options)) as upscaler:
        return _model_only(setup, upscaler, LANES)


def measure(setup: Setup) -> dict[str, Any]:
    """Return the best of the rounds for each part."""
    clip = clip_of(setup.folder / "clip.mp4", setup.size, setup.frames)
    plan = _plan(setup, clip, Wish(scale=2, model=setup.card.path))
    work: dict[str, Callable[[], float]] = {}
    with closing(_loaded(setup, plan, plan.passes[0])) as upscaler:
        work["model_only"] = partial(_model_only, setup, upscaler, plan.lanes)
        work["decode_to_null"] = partial(_to_null, plan, upscaler)
        rates = {name: max(do() for _ in range(setup.rounds)) for name, do in work.items()}
    rates["file_to_file"] = max(_file_to_file(setup, plan) for _ in range(setup.rounds))
    megapixels = plan.target.pixels / 1e6
    return {
        "engine": f"{plan.engine} {plan.precision}",
        "lanes": plan.lanes,
        "batch": plan.batch,
        "network": f"luma x2, {CHANNELS} channels, {LAYERS} layers",
        "size": f"{setup.size} to {plan.target}",
        "decoder": plan.decoder,
        "encoder": f"{plan.encoder.codec} {plan.encoder.preset}",
        "frames_per_second": {name: round(rate, 2) for name, rate in rates.items()},
        "output_megapixels_per_second": {name: round(rate * megapixels, 1) for name, rate in rates.items()},
        "asked_to_null": LEAST_MEGAPIXELS,
        "tasks": {task: _task(setup, task) for task in TASKS},
    }


def _task(setup: Setup, task: str) -> dict[str, float]:
    """Run a documented task with the built-in network, file to file."""
    size = SOURCES[task] if setup.is_gpu else Size(setup.size.width // 2 * 2, setup.size.height // 2 * 2)
    clip = clip_of(setup.folder / f"{task}.mp4", size, setup.frames)
    wish = Wish(task=task, model="fast") if setup.is_gpu else Wish(scale=2, model="fast")
    plan = _plan(setup, clip, wish)
    rate = max(_file_to_file(setup, plan) for _ in range(setup.rounds))
    return {"frames_per_second": round(rate, 2), "documented": TASKS[task]}


def _plan(setup: Setup, clip: Path, wish: Wish) -> Plan:
    codec = "h264_nvenc" if encoder_opens("h264_nvenc") else "libx264"
    preset = None if codec == "h264_nvenc" else "ultrafast"
    if (wish.task or "").endswith("8K"):  # H.264 ends at 4096 across on NVENC
        codec = "hevc_nvenc" if codec == "h264_nvenc" else codec
    wish = replace(wish, engine=setup.engine, codec=codec, preset=preset, decoder="cuda")
    path = setup.folder / "choices.json"
    return make_plan(clip, wish, None, Choices(path, builds_beside(path)))


def _loaded(setup: Setup, plan: Plan, one: Pass) -> Upscaler:
    size = (one.size_in.height, one.size_in.width)
    options = EngineOptions(precision_named(plan.precision), plan.lanes, frame_size=size, engines=setup.engines)
    return load_with(one.card, plan.engine, options)


def _model_only(setup: Setup, upscaler: Upscaler, lanes: int) -> float:
    """Return frames a second of the network: pixels in and pixels out, as many calls at once as lanes."""
    frame = np.random.default_rng(0).integers(16, 236, (1, setup.size.height, setup.size.width), np.uint8)
    upscaler.upscale(frame)
    with ThreadPoolExecutor(lanes) as pool:
        started = time.perf_counter()
        deque(pool.map(lambda _: upscaler.upscale(frame), range(setup.frames)), maxlen=0)
        return setup.frames / (time.perf_counter() - started)


def _to_null(plan: Plan, upscaler: Upscaler) -> float:
    """Return frames a second of decoding and upscaling, chroma included, with the result dropped."""
    upscale = FrameUpscaler((upscaler,), plan.picture, plan.target, plan.spec.colour)
    started, made = time.perf_counter(), 0
    for segment in plan.segments:
        frames = decode_segment(plan.source, segment, Tally(), device=plan.decoder)
        batches = prefetch(batched(frames, plan.batch), ahead=plan.lanes)
        done = map_in_order(upscale, batches, workers=plan.lanes, ahead=2 * plan.lanes)
        made += sum(len(larger) for larger, _ in done)
    return made / (time.perf_counter() - started)


def _file_to_file(setup: Setup, plan: Plan) -> float:
    """Return frames a second of a whole job with the network loaded: the audit is part of it."""
    with tempfile.TemporaryDirectory(dir=setup.folder) as work, InProcess(partial(_loaded, setup)) as executor:
        upscale_video(plan, executor, Path(work) / "warm", ignore)
        started = time.perf_counter()
        result = upscale_video(plan, executor, Path(work) / "timed", ignore)
        return result.frame_count / (time.perf_counter() - started)


def _network(path: Path) -> ModelCard:
    """Write a network of the shape that counts, with random weights, and return its card."""
    from tests.support.tiny_models import Form, convolutional  # noqa: PLC0415 - needs onnx, which `main` looked for

    return card_of_file(convolutional(path, Form(), channels=CHANNELS, body=LAYERS - 2))


def _holds(result: dict[str, Any]) -> bool:
    reached = result["output_megapixels_per_second"]["decode_to_null"] >= LEAST_MEGAPIXELS
    return reached and all(one["frames_per_second"] >= one["documented"] for one in result["tasks"].values())


if __name__ == "__main__":
    sys.exit(main())
