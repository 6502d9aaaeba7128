"""Asks whether OpenVINO, our engine by default, is ever slower than ONNX Runtime on the same network and machine.

    python -m benchmarks.bench_engines [--model NAME] [--size WxH] [--rounds N]

Every round runs each engine and precision once, in turns, on the same frame, pixels in and pixels out; the ratio is
taken within each round and its median counts, so that other programs meet all engines alike. ONNX Runtime is also run
plainly: a session with its own defaults, threads that spin included, floats in and floats out and no conversion at all.
The bound: OpenVINO's best precision at 45 dB or more takes no longer than the faster of the two; with AMX, a quarter.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from importlib.metadata import version
from typing import Any

import numpy as np

from benchmarks.machine import busy_seconds, describe, save
from upscale_server.media.types import Size
from upscale_server.models.base import Pixels
from upscale_server.models.card import ModelCard
from upscale_server.models.catalogue import family
from upscale_server.models.choices import Candidate
from upscale_server.models.engines.self_test import WHITE, trial_batch
from upscale_server.models.extras import installed
from upscale_server.models.load import load
from upscale_server.models.select import candidates
from upscale_server.models.trial import psnr

PLAIN = "plain onnxruntime session, f32"
REFERENCE = "openvino f32"
LOWEST_PSNR = 45.0
ROUNDS = 7


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and save; the exit code says whether the bound held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=None)
    parser.add_argument("--size", type=Size.parse, default=Size(640, 360))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args(arguments)
    if not installed("onnxruntime"):
        print("not measured: the extra [onnxruntime] is not installed", file=sys.stderr)
        return 0
    cards = family(options.model)
    result = measure(cards[min(cards)], options.size, options.rounds)
    path = save(f"engines_{result['model']}", result)
    print(json.dumps(result, indent=2))
    print(f"written to {path}", file=sys.stderr)
    return 0 if result["ratio"] >= result["asked"] else 1


def measure(card: ModelCard, size: Size, rounds: int) -> dict[str, Any]:
    """Return medians over the rounds, and how many times as fast as ONNX Runtime OpenVINO is."""
    lr = (trial_batch(card, (size.height, size.width)) >> 8).astype(np.uint8)
    with ExitStack() as stack:
        offered = [
            one for one in candidates(card, Candidate("auto", "auto")) if one.engine in {"openvino", "onnxruntime"}
        ]
        loaded = {
            f"{one.engine} {one.precision}": stack.enter_context(
                closing(load(card, engine=one.engine, precision=one.precision))  # type: ignore[arg-type]
            )
            for one in offered
        }
        batch = trial_batch(card)
        exact = loaded[REFERENCE].upscale(batch, bits=16).pixels
        distances = {name: psnr(one.upscale(batch, bits=16).pixels, exact, WHITE) for name, one in loaded.items()}
        work: dict[str, Callable[[], object]] = {
            name: lambda upscaler=one: upscaler.upscale(lr)
            for name, one in loaded.items()  # type: ignore[misc]
        }
        work[PLAIN] = _plain(card, lr)
        seconds, others = _timed(work, rounds)
    return _judged(card, size, seconds, distances) | {"others_cores": others}


def _plain(card: ModelCard, lr: Pixels) -> Callable[[], object]:
    """Return a run of the network by ONNX Runtime alone, as its own documentation shows it."""
    import onnxruntime as ort  # noqa: PLC0415 - an extra: without it there is nothing to compare with

    session = ort.InferenceSession(card.path, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    values = np.ascontiguousarray(lr[:, None] if card.domain == "luma" else lr.transpose(0, 3, 1, 2), np.float32)
    values *= np.float32(card.value_range / 255)
    return lambda: session.run(None, {given.name: values})


def _timed(work: dict[str, Callable[[], object]], rounds: int) -> tuple[dict[str, list[float]], float]:
    """Return the seconds of each in every round, and the cores that other programs took meanwhile."""
    for do in work.values():
        do()
    seconds: dict[str, list[float]] = {name: [] for name in work}
    began, busy, own = time.perf_counter(), busy_seconds(), time.process_time()
    for _ in range(rounds):
        for name, do in work.items():
            started = time.perf_counter()
            do()
            seconds[name].append(time.perf_counter() - started)
    wall = time.perf_counter() - began
    return seconds, round(max(0.0, busy_seconds() - busy - (time.process_time() - own)) / wall, 2)


def _judged(
    card: ModelCard, size: Size, seconds: dict[str, list[float]], distances: dict[str, float]
) -> dict[str, Any]:
    medians = {name: statistics.median(one) for name, one in seconds.items()}
    right = [name for name in medians if name.startswith("openvino") and distances[name] >= LOWEST_PSNR]
    ours = min(right, key=lambda name: medians[name])
    theirs = min((name for name in medians if "onnxruntime" in name), key=lambda name: medians[name])
    ratios = [other / mine for mine, other in zip(seconds[ours], seconds[theirs], strict=True)]
    return {
        "model": f"{card.name}-x{card.scale}",
        "size": f"{size} to {size.times(card.scale)}",
        "milliseconds": {name: round(1e3 * value, 1) for name, value in medians.items()},
        "output_megapixels_per_second": {
            name: round(size.pixels * card.scale**2 / value / 1e6, 2) for name, value in medians.items()
        },
        "db_from_f32": {name: round(value, 1) for name, value in distances.items()},
        "compared": [ours, theirs],
        "ratio": round(statistics.median(ratios), 3),
        "ratio_of_each_round": [round(value, 3) for value in ratios],
        "asked": 4.0 if "amx_bf16" in describe()["instructions"] else 1.0,
        "versions": {"onnxruntime": version("onnxruntime")},
    }


if __name__ == "__main__":
    sys.exit(main())
