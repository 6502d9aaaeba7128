"""The `Upscaler` on OpenVINO: chooses the precision by a self-test, keeps compiled shapes, runs tiles.

Graphs are built in `graph`, tiles planned in `models.tiling`.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections import OrderedDict
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from upscale_server.errors import ModelInvalid, UpscaleError
from upscale_server.models.base import EngineOptions, Pixels, Upscaled, Working
from upscale_server.models.card import ModelCard
from upscale_server.models.engines.openvino import graph
from upscale_server.models.engines.openvino.inspection import run_plainly
from upscale_server.models.engines.openvino.runner import Runner, device_name, device_precisions
from upscale_server.models.engines.self_test import LOWEST_SELF_TEST_PSNR, WHITE, plain_result, trial_batch
from upscale_server.models.engines.tiled import RunWindow, TiledFrames
from upscale_server.models.trial import psnr

# One shape in a precision for each of two sources at a time, and their f32 twins; each holds its activations.
_MOST_RUNNERS = 4


@dataclass(frozen=True, slots=True)
class _Key:
    """What one compiled network is for."""

    pixels: graph.Pixels
    precision: str


class OpenVinoUpscaler:
    """An `Upscaler` that runs an ONNX network on the CPU; safe for as many threads as there are lanes, and more."""

    def __init__(self, card: ModelCard, options: EngineOptions) -> None:
        """Load and self-test.

        Raises:
            ModelMissing: the file is not there.
            ModelInvalid: it is no model, or its self-test fails in the precision asked for.
        """
        self._card = card
        self._options = options
        self._model = graph.read(card.path)
        self._lock = threading.Lock()
        self._runners: OrderedDict[_Key, Runner] = OrderedDict()
        self._closed = False
        self._frames = TiledFrames(card, options)
        self._own_tail = True
        self._precision = "f32"
        self._working = self._choose_precision()

    @property
    def card(self) -> ModelCard:
        """Return the card this was made from."""
        return self._card

    @property
    def working(self) -> Working:
        """Return engine, device and precision as read back, and the self-test's result."""
        return self._working

    def upscale(self, lr: Pixels, *, bits: int = 8, exact: bool = False) -> Upscaled:
        """Upscale a batch; see `Upscaler`."""
        precision = "f32" if exact else self._precision
        return self._frames.upscale(
            lr, lambda window: _window_of(self._runner(_Key(graph.Pixels(*window, bits), precision)))
        )

    def close(self) -> None:
        """Release the compiled networks; safe to call twice."""
        with self._lock:
            self._closed = True
            self._runners.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _runner(self, key: _Key) -> Runner:
        """Return the compiled network for a key; the least recently used one makes room."""
        with self._lock:
            if self._closed:
                raise UpscaleError("the upscaler is closed")
            if key not in self._runners:
                self._runners[key] = self._compile(key)
            self._runners.move_to_end(key)
            while len(self._runners) > _MOST_RUNNERS:
                self._runners.popitem(last=False)
            return self._runners[key]

    def _compile(self, key: _Key) -> Runner:
        """Compile the network for one window size, depth and precision."""
        model = graph.with_pixels(self._model, self._card, key.pixels, own_tail=self._own_tail)
        return Runner(model, key.precision, self._options)

    def _choose_precision(self) -> Working:
        """Return the first way of running that passes the self-test.

        With `auto` that may be f32 where bf16 fails; `working` says so. An explicit precision passes or fails.
        """
        lr = trial_batch(self._card)
        run = run_plainly(self._model, self._card, *lr.shape[1:3])
        expected = plain_result(self._card, run, lr)
        tried: list[str] = []
        for own_tail, precision in itertools.product((True, False), self._candidates()):
            self._own_tail, self._precision = own_tail, precision
            working = self._self_test(lr, expected)
            if working.self_test_psnr >= LOWEST_SELF_TEST_PSNR:
                return working
            tried.append(f"{working.self_test_psnr:.1f} dB in {self._precision}")
            self._runners.clear()
        raise ModelInvalid(
            f"{self._card.name} is {', '.join(tried)} away from its own f32 result; "
            f"expected at least {LOWEST_SELF_TEST_PSNR:g} dB",
            hint="ask for precision f32" if self._options.precision == "bf16" else None,
        )

    def _candidates(self) -> list[str]:
        """Return the precisions to try, best first."""
        asked, offered = self._options.precision, device_precisions()
        if asked == "auto":
            return [name for name in offered if name in (*self._card.precisions, "f32")]
        if asked not in offered:
            raise ModelInvalid(f"this processor does not compute in {asked}; it has {', '.join(offered)}")
        return [asked]

    def _self_test(self, lr: Pixels, expected: NDArray[np.float32]) -> Working:
        """Compare what `upscale` gives with the plain result, at 16 bits."""
        found = self.upscale(lr, bits=16).pixels[0]
        used = next(iter(self._runners.values())).precision
        return Working("openvino", f"CPU ({device_name()})", used, psnr(found, expected, WHITE))


def _window_of(runner: Runner) -> RunWindow:
    """Return the function that runs one window; the sum tells whether every value was finite."""

    def run(window: NDArray[np.generic]) -> tuple[NDArray[np.generic], bool]:
        pixels, total = runner.run(window[None])
        return pixels[0], math.isfinite(float(total))

    return run
