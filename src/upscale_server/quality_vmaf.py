"""PSNR-Y, SSIM and VMAF of pairs of luma planes, by libvmaf in the ffmpeg that imageio-ffmpeg brings.

That ffmpeg is given raw samples and never a file: strangers' bytes stay with our own decoder. Nothing here decodes,
pairs or resamples.

The trap: libvmaf crashes on pictures of a few samples, so those are laid out several times and get no VMAF.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, Self

import numpy as np

from upscale_server.errors import MissingExtra, UpscaleError
from upscale_server.media.types import Plane, Size
from upscale_server.quality_child import Child, plain_environment

EXTRA = "quality"
_HINT = f"pip install 'upscale-server[{EXTRA}]'"
_SMALLEST = 32
"""Samples on a side below which a picture is repeated (16 crashed libvmaf 3, 18 did not) and VMAF means nothing."""
_FEATURES = r"name=psnr\:reduced_hbd_peak=true|name=float_ssim\:scale=1"
"""The peak of 10 bits is that of 8 bits times four, so that depths compare; SSIM is taken at the full size, with the
11x11 Gaussian window of Wang et al. 2004, as the literature on super-resolution does (equal to `training.metrics`)."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Means over frames; `vmaf_harmonic` is VMAF's harmonic mean. PSNR of equal frames counts as 60 dB (10 bits: 72).

    VMAF is v0.6.1, made for 1080p seen from three heights: it reads high on small pictures, and below 100 for equal
    ones that stand still. None where the picture is too small for it.
    """

    psnr_y: float
    ssim: float
    vmaf: float | None
    vmaf_harmonic: float | None


@lru_cache(maxsize=1)
def require_quality() -> str:
    """Return the path of an ffmpeg that computes VMAF.

    Raises:
        MissingExtra: there is none; the hint says how to get it.
    """
    if find_spec("imageio_ffmpeg") is None:
        raise MissingExtra(f"quality numbers need the extra [{EXTRA}], which is not installed", hint=_HINT)
    import imageio_ffmpeg  # noqa: PLC0415 - an extra, imported on use

    try:
        path = str(imageio_ffmpeg.get_ffmpeg_exe())
        command = [path, "-hide_banner", "-h", "filter=libvmaf"]
        told = subprocess.run(  # noqa: S603 - a fixed command
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False, env=plain_environment()
        )
    except (OSError, RuntimeError, subprocess.SubprocessError) as err:
        raise MissingExtra(f"the ffmpeg of the extra [{EXTRA}] does not run: {err}", hint=_HINT) from err
    if b"n_subsample" not in told.stdout:
        raise MissingExtra(
            f"{path} has no libvmaf, so there are no quality numbers",
            hint=f"{_HINT}, or set IMAGEIO_FFMPEG_EXE to an ffmpeg with libvmaf",
        )
    return path


class Scorer:
    """Scores pairs of pictures one after the other; a context manager. Nothing is kept but what a pipe holds."""

    def __init__(self, size: Size, bits: int, threads: int = 1, beat: Callable[[], object] = lambda: None) -> None:
        """Start the program.

        Args:
            size: of every picture.
            bits: significant bits of a sample, 8 or 10.
            threads: that libvmaf may use; the numbers do not depend on it.
            beat: called again and again while the program is waited for; what it raises ends the wait.

        Raises:
            MissingExtra: the extra [quality] is not installed.
            UpscaleError: the program cannot be started.
        """
        self._copies = (-(-_SMALLEST // size.height), -(-_SMALLEST // size.width))
        self._size = Size(size.width * self._copies[1], size.height * self._copies[0])
        height, width = self._size.height + self._size.height % 2, self._size.width + self._size.width % 2
        # One above the other in one stream: two streams can block each other. Gray chroma lies behind, unread.
        self._canvas = np.full((3 * height, width), 1 << (bits - 1), np.uint8 if bits == 8 else np.uint16)
        self._child = Child([require_quality(), *self._told(bits, threads)], beat)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, reference: Plane, distorted: Plane) -> None:
        """Score one pair of `(H, W)` luma planes.

        Raises:
            UpscaleError: the program ended, or hangs.
        """
        height = self._canvas.shape[0] // 3
        for top, plane in ((0, reference), (height, distorted)):
            self._canvas[top : top + self._size.height, : self._size.width] = np.tile(plane, self._copies)
        self._child.feed(self._canvas.data)

    def scores(self) -> Scores:
        """Return the means over all pairs, of which there is at least one; nothing can be added behind it.

        Raises:
            UpscaleError: the program failed, hangs, or answered with something else.
        """
        told, tells = self._child.answer(), self._copies == (1, 1)
        try:
            pooled = json.loads(told)["pooled_metrics"]
            return Scores(
                psnr_y=_mean(pooled, "psnr_y"),
                ssim=_mean(pooled, "float_ssim"),
                vmaf=_mean(pooled, "vmaf") if tells else None,
                vmaf_harmonic=float(pooled["vmaf"]["harmonic_mean"]) if tells else None,
            )
        except (ValueError, LookupError, TypeError, AttributeError, StopIteration) as err:
            raise UpscaleError(f"the ffmpeg that measures quality gave no figures: {told[:100]!r}") from err

    def close(self) -> None:
        """End the program and remove what it wrote; safe twice."""
        self._child.close()

    def _told(self, bits: int, threads: int) -> list[str]:
        """Return what ffmpeg is told to do; numbers of ours are all that is put in."""
        height, width = self._canvas.shape[0] // 3, self._canvas.shape[1]
        inside = f"{self._size.width}:{self._size.height}:0"
        graph = (
            f"split[a][b];[a]crop={inside}:0:exact=1[r];[b]crop={inside}:{height}:exact=1[d];"
            f"[d][r]libvmaf=model=version=vmaf_v0.6.1:feature='{_FEATURES}'"
            f":log_fmt=json:log_path=/dev/stdout:n_threads={threads}"
        )
        pixel_format = "yuv420p" if bits == 8 else f"yuv420p{bits}le"
        source = ["-f", "rawvideo", "-pix_fmt", pixel_format, "-s", f"{width}x{2 * height}", "-r", "25", "-i", "pipe:0"]
        return ["-v", "error", *source, "-lavfi", graph, "-f", "null", "-"]


def _mean(pooled: dict[str, Any], name: str) -> float:  # libvmaf's own JSON
    """Return the mean of a feature; some versions put its options behind its name."""
    return float(next(figures["mean"] for found, figures in pooled.items() if found.startswith(name)))
