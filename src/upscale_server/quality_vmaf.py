"""PSNR-Y, SSIM and VMAF of pairs of luma planes, by libvmaf in the ffmpeg that imageio-ffmpeg brings.

That ffmpeg is given raw samples and never a file: strangers' bytes stay with our own decoder. Nothing here decodes,
pairs or resamples.

The trap: libvmaf crashes on pictures of a few samples, so those are laid out several times and get no VMAF.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, Self

import numpy as np

from upscale_server.errors import MissingExtra, UpscaleError
from upscale_server.media.types import Plane, Size

EXTRA = "quality"
_HINT = f"pip install 'upscale-server[{EXTRA}]'"
_SMALLEST = 32
"""Samples on a side below which a picture is repeated (16 crashed libvmaf 3, 18 did not) and VMAF means nothing."""
_MOST_SECONDS = 3600.0
_FEATURES = r"name=psnr\:reduced_hbd_peak=true|name=float_ssim\:scale=1"
"""The peak of 10 bits is that of 8 bits times four, so that depths compare; SSIM is taken at the full size, with the
11x11 Gaussian window of Wang et al. 2004, as the literature on super-resolution does (equal to `training.metrics`)."""
_TOLD = 400
"""Characters of ffmpeg's complaint that are told."""


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
        told = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)  # noqa: S603 - a fixed command
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

    def __init__(self, size: Size, bits: int, threads: int = 1) -> None:
        """Start the program.

        Args:
            size: of every picture.
            bits: significant bits of a sample, 8 or 10.
            threads: that libvmaf may use; the numbers do not depend on it.

        Raises:
            MissingExtra: the extra [quality] is not installed.
        """
        self._copies = (-(-_SMALLEST // size.height), -(-_SMALLEST // size.width))
        self._size = Size(size.width * self._copies[1], size.height * self._copies[0])
        height, width = self._size.height + self._size.height % 2, self._size.width + self._size.width % 2
        # One above the other in one stream: two streams can block each other. Gray chroma lies behind, unread.
        self._canvas = np.full((3 * height, width), 1 << (bits - 1), np.uint8 if bits == 8 else np.uint16)
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the program that writes it
        self._late = False
        self._process = self._started(require_quality(), bits, threads)
        self._limit = threading.Timer(_MOST_SECONDS, self._give_up)
        self._limit.daemon = True
        self._limit.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, reference: Plane, distorted: Plane) -> None:
        """Score one pair of `(H, W)` luma planes.

        Raises:
            UpscaleError: the program ended.
        """
        height = self._canvas.shape[0] // 3
        for top, plane in ((0, reference), (height, distorted)):
            self._canvas[top : top + self._size.height, : self._size.width] = np.tile(plane, self._copies)
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        try:
            self._process.stdin.write(self._canvas.data)
        except OSError as err:
            raise self._failed() from err

    def scores(self) -> Scores:
        """Return the means over all pairs, of which there is at least one; nothing can be added behind it.

        Raises:
            UpscaleError: the program failed.
        """
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        assert self._process.stdout is not None  # noqa: S101 - as well
        with suppress(OSError):  # its end is told by its exit status
            self._process.stdin.close()
        told = self._process.stdout.read()  # until it ends; the timer bounds that
        if self._process.wait() != 0:
            raise self._failed()
        pooled = json.loads(told)["pooled_metrics"]
        tells = self._copies == (1, 1)
        return Scores(
            psnr_y=_mean(pooled, "psnr_y"),
            ssim=_mean(pooled, "float_ssim"),
            vmaf=_mean(pooled, "vmaf") if tells else None,
            vmaf_harmonic=float(pooled["vmaf"]["harmonic_mean"]) if tells else None,
        )

    def close(self) -> None:
        """End the program and remove what it wrote; safe twice."""
        self._limit.cancel()
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        self._said.close()

    def _started(self, program: str, bits: int, threads: int) -> subprocess.Popen[bytes]:
        height, width = self._canvas.shape[0] // 3, self._canvas.shape[1]
        inside = f"{self._size.width}:{self._size.height}:0"
        graph = (
            f"split[a][b];[a]crop={inside}:0:exact=1[r];[b]crop={inside}:{height}:exact=1[d];"
            f"[d][r]libvmaf=model=version=vmaf_v0.6.1:feature='{_FEATURES}'"
            f":log_fmt=json:log_path=/dev/stdout:n_threads={threads}"
        )
        pixel_format = "yuv420p" if bits == 8 else f"yuv420p{bits}le"
        source = ["-f", "rawvideo", "-pix_fmt", pixel_format, "-s", f"{width}x{2 * height}", "-r", "25", "-i", "pipe:0"]
        command = [program, "-v", "error", *source, "-lavfi", graph, "-f", "null", "-"]
        # In a group of its own: an interrupt at the terminal is ours to answer. It ends when its input does.
        return subprocess.Popen(  # noqa: S603 - numbers of ours are all that is put in
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, process_group=0
        )

    def _give_up(self) -> None:
        self._late = True
        self._process.kill()

    def _failed(self) -> UpscaleError:
        status = self._process.wait()
        self._said.seek(0)
        said = self._said.read().decode(errors="replace").strip()
        if self._late:
            return UpscaleError(f"measuring the quality took longer than {_MOST_SECONDS:.0f} s and was ended")
        return UpscaleError(f"the ffmpeg that measures quality ended with status {status}: {said[-_TOLD:] or 'silent'}")


def _mean(pooled: dict[str, Any], name: str) -> float:  # libvmaf's own JSON
    """Return the mean of a feature; some versions put its options behind its name."""
    return float(next(figures["mean"] for found, figures in pooled.items() if found.startswith(name)))
