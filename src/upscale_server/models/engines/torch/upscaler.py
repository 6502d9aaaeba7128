"""The `Upscaler` on PyTorch: chooses the precision by a self-test, hands windows to free lanes, runs tiles.

Networks are read in `network`, windows run in `lanes`, tiles planned in `models.tiling`.
"""

from __future__ import annotations

import queue
import time
from dataclasses import replace
from types import TracebackType
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from upscale_server.errors import ModelInvalid, UpscaleError
from upscale_server.models.base import EngineOptions, Pixels, Upscaled, Working
from upscale_server.models.card import ModelCard
from upscale_server.models.device import usable_cores
from upscale_server.models.engines.self_test import LOWEST_SELF_TEST_PSNR, WHITE, plain_result, trial_batch
from upscale_server.models.engines.tiled import RunWindow, TiledFrames
from upscale_server.models.engines.torch import devices
from upscale_server.models.engines.torch.costs import window_pixels
from upscale_server.models.engines.torch.inspection import plain_run
from upscale_server.models.engines.torch.lanes import Lane, lane_on
from upscale_server.models.engines.torch.network import network_of
from upscale_server.models.engines.torch.pixels import Work
from upscale_server.models.trial import psnr


class TorchUpscaler:
    """An `Upscaler` that runs checkpoints and our own family with torch; safe for any number of threads."""

    def __init__(self, card: ModelCard, options: EngineOptions, engine: str = "auto") -> None:
        """Load, self-test, and prove that the weights and results are on the device asked for.

        Args:
            card: of a checkpoint or of our own family.
            options: see there.
            engine: `torch` is the CPU, `torch-cuda` the GPU, `auto` the GPU where torch can use one.

        Raises:
            ModelMissing: the file is not there.
            ModelInvalid: it is no model, or its self-test fails in the precision asked for.
            DeviceUnused: a GPU was asked for and is not used.
        """
        self._card = card
        self._engine = devices.engines_here()[0] if engine == "auto" else engine
        self._device = devices.device_of(self._engine)
        devices.make_ready(self._device, options.threads or usable_cores())
        network = network_of(card)
        self._lanes = [lane_on(network, self._device) for _ in range(options.lanes)]
        self._free: queue.LifoQueue[Lane] = queue.LifoQueue()
        for lane in self._lanes:
            self._free.put(lane)
        self._closed = False
        largest = self._window_pixels(options.max_tile_pixels)
        self._frames = TiledFrames(card, replace(options, max_tile_pixels=largest))
        self._precision = "f32"
        self._working = self._choose_precision(options.precision)

    @property
    def card(self) -> ModelCard:
        """Return the card this was made from."""
        return self._card

    @property
    def working(self) -> Working:
        """Return engine, device and precision as read back, and the self-test's result."""
        notes = [lane.note for lane in self._lanes if lane.note]
        return replace(self._working, device=", ".join([self._working.device, *notes[:1]]))

    def upscale(self, lr: Pixels, *, bits: int = 8, exact: bool = False) -> Upscaled:
        """Upscale a batch; see `Upscaler`."""
        if self._closed:
            raise UpscaleError("the upscaler is closed")
        precision = "f32" if exact else self._precision
        work = Work(precision, (1 << bits) - 1, self._card.value_range)
        return self._frames.upscale(lr, lambda _: self._window(work))

    def close(self) -> None:
        """Release the copies of the network; safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self._lanes.clear()
        self._free = queue.LifoQueue()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _window_pixels(self, most: int) -> int:
        channels = 1 if self._card.domain == "luma" else 3
        with devices.faults_are_named():
            return window_pixels(self._lanes[0].copy("f32"), channels, self._card.size_multiple, most)

    def _window(self, work: Work) -> RunWindow:
        """Return the function that runs one window on a free lane."""

        def run(window: NDArray[np.generic]) -> tuple[NDArray[np.generic], bool]:
            lane = self._free.get()
            try:
                return lane.run(window, work)
            finally:
                self._free.put(lane)

        return run

    def _choose_precision(self, asked: str) -> Working:
        """Return the first way of running that passes the self-test; on the CPU, the faster one of those that pass.

        With `auto` that may be f32 where others fail; `working` says so. An explicit precision passes or fails.
        """
        batch = trial_batch(self._card)
        with devices.faults_are_named():
            expected = plain_result(self._card, plain_run(self._lanes[0].copy("f32")), batch)
        tried: dict[str, float] = {}
        for precision in self._candidates(asked):
            self._precision = precision
            tried[precision] = psnr(self.upscale(batch, bits=16).pixels[0], expected, WHITE)
            if tried[precision] >= LOWEST_SELF_TEST_PSNR and (asked != "auto" or self._is_worth_it(batch)):
                return self._as_working(tried[precision])
        found = ", ".join(f"{value:.1f} dB in {name}" for name, value in tried.items())
        raise ModelInvalid(
            f"{self._card.name} is {found} away from its own f32 result; "
            f"expected at least {LOWEST_SELF_TEST_PSNR:g} dB",
            hint="ask for precision f32" if asked not in {"auto", "f32"} else None,
        )

    def _candidates(self, asked: str) -> list[str]:
        """Return the precisions to try, best first."""
        offered = devices.precisions_of(self._device)
        if asked == "auto":
            return [name for name in offered if name in (*self._card.precisions, "f32")]
        if asked not in offered:
            raise ModelInvalid(
                f"engine {self._engine} does not compute in {asked} on {devices.device_name(self._device)}; "
                f"it has {', '.join(offered)}"
            )
        return [asked]

    def _is_worth_it(self, batch: Pixels) -> bool:
        """Tell whether the precision is faster than f32; on a GPU it is, on a CPU not for every kind of layer."""
        if self._precision == "f32" or self._device.type != "cpu":
            return True
        self.upscale(batch[:, :1], bits=16, exact=True)  # chooses kernels, as the self-test did for the other
        return self._seconds(batch, exact=False) < self._seconds(batch, exact=True)

    def _seconds(self, batch: Pixels, *, exact: bool) -> float:
        started = time.perf_counter()
        self.upscale(batch, bits=16, exact=exact)
        return time.perf_counter() - started

    def _as_working(self, found: float) -> Working:
        """Say how it works, with the device and precision that the weights really have."""
        module = self._lanes[0].copy(self._precision).module
        weights = next(module.parameters())
        devices.refuse_elsewhere(weights.device, self._device)
        return Working(self._engine, devices.device_name(weights.device), devices.precision_named(weights.dtype), found)
