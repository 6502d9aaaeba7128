"""The `Upscaler` on ONNX Runtime: f32, the network as the file has it, pixels converted before and after.

Which provider runs is proved in `session`, tiles are planned in `models.tiling`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from upscale_server.errors import ModelInvalid, ModelMissing, UpscaleError
from upscale_server.models.base import EngineOptions, Pixels, Upscaled, Working
from upscale_server.models.card import ModelCard
from upscale_server.models.device import cpu_name
from upscale_server.models.engines.onnxruntime.session import Session
from upscale_server.models.engines.self_test import LOWEST_SELF_TEST_PSNR, WHITE, plain_result, trial_batch
from upscale_server.models.engines.tiled import RunWindow, TiledFrames
from upscale_server.models.trial import Picture, psnr


class OnnxRuntimeUpscaler:
    """An `Upscaler` that runs an ONNX network with ONNX Runtime; safe for any number of threads."""

    def __init__(
        self,
        card: ModelCard,
        options: EngineOptions,
        engine: str = "onnxruntime",
        provider_options: Mapping[str, str] | None = None,
    ) -> None:
        """Load, self-test, and prove that the device asked for did the work.

        Args:
            card: the model.
            options: see there.
            engine: one of `session.PROVIDERS`.
            provider_options: what the provider is told besides.

        Raises:
            ModelMissing: the file is not there.
            ModelInvalid: it is no model, its self-test fails, or a precision other than f32 is asked for.
            MissingExtra: the installed ONNX Runtime has no such provider.
            DeviceUnused: the device asked for did not do the work.
        """
        if options.precision not in {"auto", "f32"}:
            raise ModelInvalid(f"engine {engine} does not compute in {options.precision}; it has f32")
        if not Path(card.path).is_file():
            raise ModelMissing(f"there is no model file {card.path}")
        self._card = card
        self._frames = TiledFrames(card, options)
        self._session = Session(card.path, engine, options, provider_options)
        self._closed = False
        try:
            self._working = Working(engine, _device_of(engine), "f32", self._self_test())
            self._session.prove()
        except BaseException:
            self.close()
            raise

    @property
    def card(self) -> ModelCard:
        """Return the card this was made from."""
        return self._card

    @property
    def working(self) -> Working:
        """Return engine, device and precision as proved, and the self-test's result."""
        return self._working

    def upscale(self, lr: Pixels, *, bits: int = 8, exact: bool = False) -> Upscaled:  # noqa: ARG002 - always f32
        """Upscale a batch; see `Upscaler`."""
        if self._closed:
            raise UpscaleError("the upscaler is closed")
        white = (1 << bits) - 1
        return self._frames.upscale(lr, lambda _: self._window(white))

    def close(self) -> None:
        """Release the network; safe to call twice."""
        self._closed = True
        self._session.close()

    def _window(self, white: int) -> RunWindow:
        """Return the function that runs one window of pixels; the sum tells whether every value was finite."""
        value_range = self._card.value_range

        def run(window: NDArray[np.generic]) -> tuple[NDArray[np.generic], bool]:
            values = window.astype(np.float32)
            values *= np.float32(value_range / white)
            result = self._values(values.reshape(*window.shape[:2], -1))
            # No warning about what is asked: whether it is finite.
            with np.errstate(invalid="ignore", over="ignore"):
                finite = math.isfinite(float(result.sum()))
                result = result * np.float32(white / value_range)
                np.clip(result, 0.0, white, out=result)
                pixels = np.rint(result, out=result).astype(window.dtype)
            return pixels.reshape(*pixels.shape[:2], *window.shape[2:]), finite

        return run

    def _values(self, picture: Picture) -> Picture:
        """Run `(H, W, C)` float32 values through the network, in its own layout and element type."""
        if np.issubdtype(self._session.element, np.integer):
            picture = np.rint(picture)
        channels_first = self._card.layout == "NCHW"
        planes = picture.transpose(2, 0, 1) if channels_first else picture
        result = self._session.run(np.ascontiguousarray(planes[None], self._session.element))
        if result.ndim != 4:
            raise ModelInvalid(f"{self._card.name} gives an output of shape {result.shape}; expected one picture")
        upscaled: Picture = result[0].astype(np.float32, copy=False)
        return upscaled.transpose(1, 2, 0) if channels_first else upscaled

    def _self_test(self) -> float:
        """Return how near pixels in and out are to the plain network, in dB.

        Raises:
            ModelInvalid: too far, another size than the card says, or values that are not finite.
        """
        batch = trial_batch(self._card)
        expected = plain_result(
            self._card, lambda picture, white: self._values(picture * np.float32(white)) / np.float32(white), batch
        )
        found = psnr(self.upscale(batch, bits=16).pixels[0], expected, WHITE)
        if found < LOWEST_SELF_TEST_PSNR:
            raise ModelInvalid(
                f"{self._card.name} is {found:.1f} dB away from its own f32 result; "
                f"expected at least {LOWEST_SELF_TEST_PSNR:g} dB"
            )
        return found


def _device_of(engine: str) -> str:
    """Name the device that an engine runs on."""
    return f"CPU ({cpu_name()})" if engine == "onnxruntime" else "GPU (CUDA device 0)"
