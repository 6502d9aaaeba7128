"""What is particular to TensorRT: its options, and the process in which an engine is built.

It was written without a GPU at hand: the cache, the swap and the repair are tested with other engines in its place.

An engine is built for one window, in a process of its own: the build takes minutes and may end with a crash of the
library, which must cost the build and not the server.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO

import onnxruntime as ort

from upscale_server.errors import DeviceUnused, UpscaleError
from upscale_server.models.base import EngineOptions, Upscaler, go_on
from upscale_server.models.card import ModelCard
from upscale_server.models.engine_builds import Build
from upscale_server.models.engine_cache import EngineCache, EngineKey
from upscale_server.models.engines.onnxruntime.session import refuse_missing
from upscale_server.models.engines.onnxruntime.upscaler import OnnxRuntimeUpscaler
from upscale_server.models.engines.self_test import trial_size
from upscale_server.models.tiling import TileNeeds, plan_tiles

Opens = Callable[[ModelCard, EngineOptions, Path], Upscaler]
"""Loads a model with the engine of a folder, or fills the folder with one."""

_DRIVER = Path("/proc/driver/nvidia")
_FAULT = "fault.txt"
_HEARD_SECONDS = 1.0
"""Between two signs of life while an engine is built, which takes longer than a worker may be silent."""


def window_of(card: ModelCard, options: EngineOptions) -> tuple[int, int]:
    """Return the window (height, width) that frames of the options' size are cut into."""
    height, width = options.frame_size or trial_size(card)
    needs = TileNeeds(card.receptive_field, options.max_tile_pixels, card.size_multiple, card.fixed_size)
    return plan_tiles(height, width, needs).window


def key_of(card: ModelCard, options: EngineOptions) -> EngineKey:
    """Return what an engine for these frames is kept under."""
    library = f"onnxruntime {ort.__version__}"
    return EngineKey(card.sha256, *window_of(card, options), "f32", library, _gpu())


def provider_options(card: ModelCard, options: EngineOptions, folder: Path) -> dict[str, str]:
    """Return ONNX Runtime's options: the folder, and the range of shapes, so that the engine is built at once."""
    kept = {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(folder),
    }
    if card.fixed_size is not None:
        return kept
    name = ort.InferenceSession(card.path, providers=["CPUExecutionProvider"]).get_inputs()[0].name
    window = window_of(card, options)
    pairs = list(zip(window, trial_size(card), strict=True))  # the engine must also take the self-test's frame
    return kept | {
        "trt_profile_min_shapes": _shape(name, card, (min(pairs[0]), min(pairs[1]))),
        "trt_profile_opt_shapes": _shape(name, card, window),
        "trt_profile_max_shapes": _shape(name, card, (max(pairs[0]), max(pairs[1]))),
    }


def opened(card: ModelCard, options: EngineOptions) -> OnnxRuntimeUpscaler:
    """Load a model on TensorRT, with its engine from the folder of the options, built first where it is not there.

    Raises:
        MissingExtra: the installed ONNX Runtime has no TensorRT.
        DeviceUnused: no engine can be built, or it did not do the work.
        Canceled: the options' `between_tiles` raised it during the build.
    """
    refuse_missing("tensorrt")
    if not options.engines or options.frame_size is None:
        return OnnxRuntimeUpscaler(card, options, "tensorrt")
    cache = EngineCache(Path(options.engines))
    return cache.opened(key_of(card, options), in_a_process(card, options), partial(open_in, card, options))


def open_in(card: ModelCard, options: EngineOptions, folder: Path) -> OnnxRuntimeUpscaler:
    """Load a model with the engine of a folder, which TensorRT fills where it is empty."""
    return OnnxRuntimeUpscaler(card, options, "tensorrt", provider_options(card, options, folder))


def in_a_process(card: ModelCard, options: EngineOptions, opens: Opens = open_in) -> Build:
    """Return a build that runs in a process of its own, and raises DeviceUnused where that fails or crashes."""
    return partial(_in_a_process, card, options, opens)


def _in_a_process(card: ModelCard, options: EngineOptions, opens: Opens, folder: Path) -> None:
    # Not by multiprocessing: a server's workers are daemons, which may have no children there.
    command = [sys.executable, "-c", f"import {__name__} as build; build.build_told()"]
    found = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=found) as process:  # noqa: S603 - our own
        try:
            # Who is asked between tiles is asked here: it may be a pipe of this process.
            pickle.dump((card, replace(options, between_tiles=go_on), opens, folder), _given(process))
            _given(process).flush()
        except OSError:
            pass  # it has ended already, and its exit code is told
        # The pipe stays open so long: a child whose parent has gone sees its end.
        code = _waited_for(process, options.between_tiles)
    if not code:
        return
    told = folder / _FAULT
    why = told.read_text(encoding="utf-8") if told.is_file() else f"exit code {code}"
    raise DeviceUnused(f"TensorRT could not build an engine for {card.name}: {why}")


def _waited_for(process: subprocess.Popen[bytes], between_tiles: Callable[[], None]) -> int:
    """Return the exit code of a build; where `between_tiles` raises, the build ends first.

    Raises:
        Canceled: the work that the engine is for was stopped.
    """
    try:
        while True:
            with suppress(subprocess.TimeoutExpired):
                return process.wait(_HEARD_SECONDS)
            between_tiles()
    except BaseException:
        process.kill()  # a library that builds may keep the thread from running that would see our end
        raise


def _given(process: subprocess.Popen[bytes]) -> IO[bytes]:
    assert process.stdin is not None  # noqa: S101 - for the types: it was asked for
    return process.stdin


def build_told() -> None:
    """Build what stands on stdin, in a process of its own; end at once when the parent does."""
    card, options, opens, folder = pickle.load(sys.stdin.buffer)  # noqa: S301 - from our parent
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _build(card, options, opens, folder)


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 1):  # not through the buffer, whose lock would be held when we end by ourselves
        pass
    os._exit(1)


def _build(card: ModelCard, options: EngineOptions, opens: Opens, folder: Path) -> None:
    """Load the model, which passes its self-test, and leave; a fault is left beside it in words."""
    try:
        opens(card, options, folder).close()
    except UpscaleError as err:
        (folder / _FAULT).write_text(err.detail, encoding="utf-8")
        sys.exit(1)


def _gpu() -> str:
    """Return the GPUs and the driver as the driver tells them; an engine is good for no others."""
    facts = [*sorted(_DRIVER.glob("gpus/*/information")), _DRIVER / "version"]
    texts = [path.read_text(encoding="utf-8") for path in facts if path.is_file()]
    lines = [line.strip() for text in texts for line in text.splitlines() if line.startswith(("Model:", "NVRM"))]
    return "; ".join(lines) or "unknown"


def _shape(name: str, card: ModelCard, size: tuple[int, int]) -> str:
    channels = 1 if card.domain == "luma" else 3
    sides = [1, channels, *size] if card.layout == "NCHW" else [1, *size, channels]
    return f"{name}:{'x'.join(map(str, sides))}"
