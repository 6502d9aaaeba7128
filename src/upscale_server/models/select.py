"""Which engine and precision a model runs with here: the fastest that is right, found out by trying all of them.

The plan stores the answer, because the bytes of the output depend on it; nothing is guessed from names of processors.
Measuring happens once per model, size and device (`choices`); without a place to remember, nothing is measured and
`load` takes what it takes.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar, get_args

import numpy as np

from upscale_server.errors import BadRequest, UpscaleError
from upscale_server.media.types import Size
from upscale_server.models.base import EngineOptions, Pixels, Precision, Upscaler, Working
from upscale_server.models.card import ModelCard
from upscale_server.models.catalogue import BUILTIN
from upscale_server.models.choices import Candidate, Choices
from upscale_server.models.device import cpu_computes_bf16, cpu_name, nvidia_gpus, usable_cores
from upscale_server.models.engines.self_test import LOWEST_SELF_TEST_PSNR, WHITE, trial_batch
from upscale_server.models.extras import installed
from upscale_server.models.load import ENGINES, NETWORK_ENGINES, is_checkpoint, load_with
from upscale_server.models.trial import psnr
from upscale_server.models.versions import versions

MEASURED_PIXELS = 32_768
"""LR pixels of a measured picture: a larger frame is cut to this shape, so that measuring `fast` takes a second."""

MEASURED_MACS = 20_000_000_000
"""Multiplications of a measured picture: heavy networks see a smaller one, down to `_LEAST_MEASURED` pixels."""

_LEAST_MEASURED = 4096
_ROUNDS = 3
BUILT = "tensorrt"
"""The engine that is built for one size of frame before it can run."""
_Given = TypeVar("_Given")
_Found = TypeVar("_Found")
_BYTES = {"f32": 4, "bf16": 2, "f16": 2}


@dataclass(frozen=True, slots=True)
class Measured:
    """What one candidate did; `fault` says why it cannot be chosen, and is empty where it can."""

    engine: str
    precision: str
    device: str = ""
    seconds: float = 0.0
    pixels: int = 0
    psnr: float = 0.0
    fault: str = ""


def choose(card: ModelCard, asked: Candidate, size: Size, choices: Choices) -> Candidate:
    """Return the fastest right way to run a model, remembered or measured now; what is asked where there is no choice.

    Raises:
        ModelMissing, ModelInvalid: the file is gone or damaged.
    """
    offered = candidates(card, asked)
    built = _built(card, offered, size, choices) if asked.engine == "auto" else ()
    return _fastest_of(card, (*offered, *built), size, choices) or asked


def choose_built(card: ModelCard, settled: Candidate, size: Size, choices: Choices) -> Candidate:
    """Return TensorRT in the place of CUDA where its engine for these frames is built and faster; else what is settled.

    For whoever settled on an engine by measurement: one that was asked for by name is not replaced.
    """
    return _fastest_of(card, (settled, *_built(card, (settled,), size, choices)), size, choices) or settled


def _fastest_of(card: ModelCard, offered: tuple[Candidate, ...], size: Size, choices: Choices) -> Candidate | None:
    if len(offered) < 2:
        return None
    if (known := choices.recall(_key(card, offered, size))) in offered:
        return known
    folder = "" if choices.builds is None else str(choices.builds.folder)
    with choices.alone():
        if (known := choices.recall(_key(card, offered, size))) in offered:
            return known  # another process measured it while this one waited
        return remember(card, measure(card, offered, size, folder), size, choices)


def remember(card: ModelCard, measured: Sequence[Measured], size: Size, choices: Choices) -> Candidate | None:
    """Keep the fastest right one of a measurement and return it; None where none is right."""
    best = fastest(measured)
    if best is None:
        return None
    chosen = Candidate(best.engine, best.precision)
    offered = tuple(Candidate(one.engine, one.precision) for one in measured)
    facts = {"model": card.name, "scale": card.scale, "device": best.device, "measured": [asdict(m) for m in measured]}
    choices.remember(_key(card, offered, size), chosen, facts)
    return chosen


def fastest(measured: Sequence[Measured]) -> Measured | None:
    """Return the fastest without a fault."""
    return min((one for one in measured if not one.fault), key=lambda one: one.seconds, default=None)


def candidates(card: ModelCard, asked: Candidate) -> tuple[Candidate, ...]:
    """Return the ways in which a network can be run here, as far as engine and precision are left open.

    TensorRT is left out: to build its engine takes minutes. It runs when it is asked for by name or is built already.
    """
    if not card.path or asked.engine not in ENGINES:
        return ()
    everything = [*_torch(card)] if is_checkpoint(card) else [*_openvino(card), *_onnxruntime(), *_torch(card)]
    return tuple(
        one for one in everything if asked.engine in {"auto", one.engine} and asked.precision in {"auto", one.precision}
    )


def measure(card: ModelCard, offered: Sequence[Candidate], size: Size, engines: str = "") -> tuple[Measured, ...]:
    """Load all candidates, hold each against f32, and time them in turns; the best of a few rounds counts.

    An engine that was built for one size, from the folder `engines`, is measured with whole frames, and so are all.
    A candidate that fails on the way, by too little memory for one, is not the end of the others.
    """
    whole = any(one.engine == BUILT for one in offered)
    lr = (trial_batch(card, (size.height, size.width) if whole else measured_window(card, size)) >> 8).astype(np.uint8)
    with ExitStack() as stack:
        options = EngineOptions(frame_size=(size.height, size.width), engines=engines)
        faults: dict[Candidate, str] = {}
        running = _each({one: one for one in offered}, faults, lambda one: _loaded(card, one, options, stack))
        rightness = _rightness(card, running, faults)
        seconds = dict.fromkeys(running, math.inf)
        _each(running, faults, lambda upscaler: _seconds(upscaler, lr))  # compiles the shape
        for _ in range(_ROUNDS):
            for one, found in _each(running, faults, lambda upscaler: _seconds(upscaler, lr)).items():
                seconds[one] = min(seconds[one], found)
        return tuple(
            Measured(one.engine, one.precision, fault=faults[one])
            if one in faults
            else Measured(
                one.engine, one.precision, running[one].working.device, seconds[one], lr[0].size // _colours(card),
                rightness[one], _wrong(rightness[one]),
            )
            for one in offered
        )  # fmt: skip


def lower_precisions(card: ModelCard, working: Working) -> tuple[str, ...]:
    """Return the precisions that need less memory than the working one, on the same engine, best first."""
    if working.engine not in NETWORK_ENGINES:
        return ()
    by_bytes: dict[int, str] = {}
    for one in candidates(card, Candidate(working.engine, "auto")):
        by_bytes.setdefault(_BYTES.get(one.precision, 0), one.precision)  # the better one of two that need as much
    bytes_now = _BYTES.get(working.precision, 0)
    return tuple(by_bytes[bytes_each] for bytes_each in sorted(by_bytes, reverse=True) if 0 < bytes_each < bytes_now)


def precision_named(name: str) -> Precision:
    """Return the precision of that name.

    Raises:
        BadRequest: there is none.
    """
    for known in get_args(Precision):
        if known == name:
            return known  # type: ignore[no-any-return]
    raise BadRequest(f"precision is {name!r}; expected one of {', '.join(get_args(Precision))}")


def _openvino(card: ModelCard) -> Iterator[Candidate]:
    from upscale_server.models.engines.openvino.runner import device_precisions  # noqa: PLC0415 - costs start-up time

    return (Candidate("openvino", name) for name in device_precisions() if name in (*card.precisions, "f32"))


def _onnxruntime() -> Iterator[Candidate]:
    if not installed("onnxruntime"):
        return
    from upscale_server.models.engines.onnxruntime.session import available_engines  # noqa: PLC0415 - an extra

    yield from (Candidate(name, "f32") for name in available_engines() if name != BUILT)


def _built(card: ModelCard, offered: Sequence[Candidate], size: Size, choices: Choices) -> tuple[Candidate, ...]:
    """Return TensorRT where its engine for these frames is built; where CUDA works and it is not, begin to build it."""
    builds = choices.builds
    if builds is None or not any(one.engine == "cuda" for one in offered):
        return ()
    from upscale_server.models.engines.onnxruntime import session, tensorrt  # noqa: PLC0415 - an extra

    options = EngineOptions(frame_size=(size.height, size.width), engines=str(builds.folder))
    if BUILT not in session.available_engines():
        return ()
    here = builds.offer(tensorrt.key_of(card, options), tensorrt.in_a_process(card, options))
    return (Candidate(BUILT, "f32"),) if here else ()


def _torch(card: ModelCard) -> Iterator[Candidate]:
    """Offer torch what it can run: nothing is imported for it, because that takes seconds in each plan."""
    if not installed("torch") or not (is_checkpoint(card) or Path(card.path).parent == BUILTIN):
        return
    named = {*card.precisions, "f32"}
    on_cpu = ("bf16", "f32") if cpu_computes_bf16() else ("f32",)
    yield from (Candidate("torch", name) for name in on_cpu if name in named)
    if nvidia_gpus():
        yield from (Candidate("torch-cuda", name) for name in ("f16", "bf16", "f32") if name in named)


def _each(
    those: Mapping[Candidate, _Given], faults: dict[Candidate, str], use: Callable[[_Given], _Found]
) -> dict[Candidate, _Found]:
    """Use what stands for each candidate without a fault, and return what that gives; who fails now has a fault."""
    found: dict[Candidate, _Found] = {}
    for one, given in those.items():
        if one in faults:
            continue
        try:
            found[one] = use(given)
        except UpscaleError as err:
            faults[one] = err.detail
    return found


def _loaded(card: ModelCard, one: Candidate, options: EngineOptions, stack: ExitStack) -> Upscaler:
    options = replace(options, precision=precision_named(one.precision))
    return stack.enter_context(closing(load_with(card, one.engine, options)))


def _seconds(upscaler: Upscaler, lr: Pixels) -> float:
    started = time.perf_counter()
    upscaler.upscale(lr)
    return time.perf_counter() - started


def _rightness(
    card: ModelCard, running: dict[Candidate, Upscaler], faults: dict[Candidate, str]
) -> dict[Candidate, float]:
    """Return how near each is to the first one in f32, in dB at 16 bits."""
    batch = trial_batch(card)
    results = _each(running, faults, lambda one: one.upscale(batch, bits=16).pixels)
    exact = next((pixels for one, pixels in results.items() if one.precision == "f32"), None)
    if exact is None:  # one precision was asked for: the engine's own f32 is what there is
        exact = _exact({one: running[one] for one in results}, batch, faults)
    if exact is None:
        return {}
    return {one: psnr(pixels, exact, WHITE) for one, pixels in results.items()}


def _exact(running: dict[Candidate, Upscaler], batch: Pixels, faults: dict[Candidate, str]) -> Pixels | None:
    """Return what the first one gives in f32 whose device has the room for that."""
    for one, upscaler in running.items():
        found = _each({one: upscaler}, faults, lambda it: it.upscale(batch, bits=16, exact=True).pixels)
        if one in found:
            return found[one]
    return None


def _wrong(found: float) -> str:
    if found >= LOWEST_SELF_TEST_PSNR:
        return ""
    return f"{found:.1f} dB from f32; expected at least {LOWEST_SELF_TEST_PSNR:g}"


def measured_window(card: ModelCard, size: Size) -> tuple[int, int]:
    """Return (height, width) of what is measured: the frame, or its shape with as many pixels as are measured."""
    affordable = max(_LEAST_MEASURED, MEASURED_MACS // max(1, card.macs_per_pixel))
    shrink = min(1.0, math.sqrt(min(MEASURED_PIXELS, affordable) / size.pixels))
    return max(1, round(size.height * shrink)), max(1, round(size.width * shrink))


def _colours(card: ModelCard) -> int:
    return 1 if card.domain == "luma" else 3


def _key(card: ModelCard, offered: Sequence[Candidate], size: Size) -> str:
    """Name what a choice is true for: model, size, device, and the candidates with their versions."""
    facts = [
        card.sha256,
        str(size),
        cpu_name(),
        usable_cores(),
        nvidia_gpus(),
        *versions(),
        *(asdict(one) for one in offered),
    ]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:24]
