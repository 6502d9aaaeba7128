"""Asks how fast each shipped network is at the usual input sizes, and whether large frames keep the pace of small ones.

    python -m benchmarks.bench_models [--rounds N]

Every round runs every network at every size once, so that all figures of a round met the same other load. The bound:
a network at 1080p does at least 0.8 of its multiply-accumulates a second at 480p; falling out of cache costs half.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from typing import Any

import numpy as np

from benchmarks.machine import save
from upscale_server.models.base import Upscaler
from upscale_server.models.card import ModelCard
from upscale_server.models.catalogue import available
from upscale_server.models.load import load

SIZES = {"480p": (480, 854), "720p": (720, 1280), "1080p": (1080, 1920)}
LEAST = 0.8
ROUNDS = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and save; the exit code says whether the bound held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    result = measure([card for card in available() if card.path], parser.parse_args(arguments).rounds)
    path = save("models", result)
    print(json.dumps(result, indent=2))
    print(f"written to {path}", file=sys.stderr)
    return 0 if all(one["pace_1080p_to_480p"] >= LEAST for one in result["models"].values()) else 1


def measure(cards: Sequence[ModelCard], rounds: int) -> dict[str, Any]:
    """Return medians over the rounds, by model and size."""
    with ExitStack() as stack:
        upscalers = [stack.enter_context(closing(load(card))) for card in cards]
        frames = {name: _textured(*shape) for name, shape in SIZES.items()}
        for upscaler in upscalers:  # compile every shape before anything is timed
            for frame in frames.values():
                upscaler.upscale(frame)
        spent: dict[str, dict[str, list[float]]] = {_name(card): {size: [] for size in SIZES} for card in cards}
        for _ in range(rounds):
            for upscaler in upscalers:
                for size, frame in frames.items():
                    spent[_name(upscaler.card)][size].append(_seconds(upscaler, frame))
        facts = {_name(one.card): one for one in upscalers}
    return {"allowed_pace": LEAST, "models": {name: _judged(facts[name], of) for name, of in spent.items()}}


def _judged(upscaler: Upscaler, spent: dict[str, list[float]]) -> dict[str, Any]:
    card = upscaler.card
    pixels = {size: height * width for size, (height, width) in SIZES.items()}
    pace = [
        pixels["1080p"] / large / (pixels["480p"] / small)
        for small, large in zip(spent["480p"], spent["1080p"], strict=True)
    ]
    median = {size: statistics.median(of) for size, of in spent.items()}
    return {
        "engine": f"{upscaler.working.engine} {upscaler.working.precision}",
        "macs_per_pixel": card.macs_per_pixel,
        "frames_per_second": {size: round(1 / seconds, 2) for size, seconds in median.items()},
        "gmacs_per_second": {
            size: round(card.macs_per_pixel * pixels[size] / seconds / 1e9, 1) for size, seconds in median.items()
        },
        "pace_1080p_to_480p": round(statistics.median(pace), 3),
    }


def _seconds(upscaler: Upscaler, frame: np.ndarray) -> float:
    started = time.perf_counter()
    upscaler.upscale(frame)
    return time.perf_counter() - started


def _textured(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(16, 236, (1, height, width), np.uint8)


def _name(card: ModelCard) -> str:
    return f"{card.name}-x{card.scale}"


if __name__ == "__main__":
    sys.exit(main())
