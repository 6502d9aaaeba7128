"""How near one video is to another in numbers: PSNR-Y, SSIM, VMAF and flicker, over the frames of the same times.

It measures and judges nothing: `audit` decides whether a job failed. The numbers are about luma alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upscale_server.errors import BadRequest, Canceled, UpscaleError
from upscale_server.events import FramesDone, Observer, PhaseStarted, Warned, ignore
from upscale_server.logs import get_logger
from upscale_server.media.admission import MOST_PIXELS
from upscale_server.media.probe import probe_with_index
from upscale_server.media.types import Plane, Size
from upscale_server.plan import Plan
from upscale_server.quality_pairs import RUN, Pair, Side, common_of, pairs_of, runs_of
from upscale_server.quality_vmaf import Scorer, require_quality
from upscale_server.records import record

MOST_FRAMES = 240
MOST_SAMPLES = 1_000_000_000
"""Most that is looked at: a minute or two of libvmaf on two slow cores, which measure 10 million samples a second."""
_MOST_THREADS = 4
AGAINST_SOURCE = "source at its own size"
NOT_MEASURED = "quality_not_measured"
"""The code of the warning that a result has no numbers."""

__all__ = [
    "AGAINST_SOURCE", "MOST_FRAMES", "NOT_MEASURED", "Quality", "fidelity_of", "fidelity_record", "measure",
    "measure_planes", "require_quality", "told",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Quality:
    """How near a video is to its reference, each a mean over the frames looked at.

    `psnr_y` in dB, where equal frames count as 60 (in 10 bits 72); `ssim` up to 1; `vmaf` 0 to 100 (v0.6.1, arithmetic
    mean) and `vmaf_harmonic` its harmonic mean, None for pictures under 32 samples; `flicker` in levels of 8 bits,
    None without two consecutive frames; `frames` that were looked at, of `frames_total`.

    Flicker is the mean of `|(d[t] - d[t-1]) - (r[t] - r[t-1])|` over samples and frames: how much what was added to
    the reference changes from frame to frame. An error that stays in its place is none; boiling texture is all of it.

    Source: X. Fan et al., Flicking Reduction in All Intra Frame Coding, JVT-E070, 2002, take this difference of
    differences for flicker; US 8755613 B2 describes the same comparison.
    """

    psnr_y: float
    ssim: float
    vmaf: float | None
    vmaf_harmonic: float | None
    flicker: float | None
    frames: int
    frames_total: int


def measure(
    reference: Path, distorted: Path, *, most_frames: int = MOST_FRAMES, observer: Observer = ignore
) -> Quality:
    """Compare two videos of one size frame by frame; frames pair by their times.

    Args:
        reference: what the other should look like.
        distorted: what is measured.
        most_frames: frames at most; of more, evenly spread runs of consecutive ones are looked at.
        observer: told of the phase `quality` and of each frame; of none, again and again, while that takes long.

    Raises:
        MissingExtra: the extra [quality] is not installed.
        BadRequest: the sizes differ, or no frame has a partner of its time.
        SourceError and its kinds: one of the files cannot be read.
    """
    require_quality()
    a, b = probe_with_index(reference), probe_with_index(distorted)
    if a.info.size != b.info.size:
        raise BadRequest(f"{distorted} is {b.info.size} and {reference} {a.info.size}; expected one size")
    return _measured(Side(a, a.info.size), Side(b, b.info.size), most_frames, observer)


def fidelity_of(plan: Plan, output: Path, observer: Observer = ignore) -> Quality:
    """Compare a job's output with its source, at the source's size: what was there before, is it there still?

    There is no original of the output's size, so this is fidelity and no praise for what was added. The output's
    picture (without bars) is resampled by Lanczos-3, antialiased.

    Raises:
        MissingExtra: the extra [quality] is not installed.
        SourceError and its kinds: one of the files cannot be read.
    """
    require_quality()
    a = probe_with_index(Path(plan.source.path), plan.source.size.pixels)
    b = probe_with_index(output, max(MOST_PIXELS, plan.target.pixels))
    return _measured(Side(a, a.info.size, plan.window.shift), Side(b, plan.picture, Fraction(0)), MOST_FRAMES, observer)


def fidelity_record(quality: Quality) -> dict[str, Any]:
    """Return a job's quality as JSON values, with the name of what it was held against."""
    return {"against": AGAINST_SOURCE, **record(quality)}


def told(measured: Callable[[], Quality], observer: Observer) -> dict[str, Any] | None:
    """Return a job's quality as JSON values; a result that is whole does not fail because it could not be measured.

    Raises:
        Canceled: the job is to stop.
    """
    try:
        return fidelity_record(measured())
    except Canceled:
        raise
    except UpscaleError as err:
        observer(Warned(NOT_MEASURED, err.detail))
    except Exception as err:  # noqa: BLE001 - the border of what is extra: whatever broke, the result is whole
        get_logger().exception(NOT_MEASURED, detail=str(err))
        observer(Warned(NOT_MEASURED, f"{type(err).__name__}: {err}"))
    return None


def measure_planes(pairs: Iterable[tuple[Plane, Plane]], size: Size, bits: int = 8) -> Quality:
    """Compare (reference, distorted) luma planes `(H, W)` of consecutive frames.

    Raises:
        MissingExtra: the extra [quality] is not installed.
        BadRequest: there are none.
    """
    given = (Pair(one, other, place > 0) for place, (one, other) in enumerate(pairs))
    return _scored(given, size, bits, ignore)


def _measured(reference: Side, distorted: Side, most: int, observer: Observer) -> Quality:
    common = common_of(reference, distorted)
    total = len(distorted.probed.index.pts)
    most = max(1, min(most, max(RUN, MOST_SAMPLES // common.size.pixels)))
    observer(PhaseStarted("quality", sum(last - first + 1 for first, last in runs_of(total, most))))
    with closing(pairs_of(reference, distorted, most, lambda: observer(FramesDone(0)))) as pairs:
        found = _scored(pairs, common.size, common.bits, observer)
    return Quality(**{**record(found), "frames_total": max(total, found.frames)})


def _scored(pairs: Iterable[Pair], size: Size, bits: int, observer: Observer) -> Quality:
    changes: list[float] = []
    last: NDArray[np.int32] | None = None
    frames = 0
    with Scorer(size, bits, _threads(), lambda: observer(FramesDone(0))) as scorer:
        for pair in pairs:
            scorer.add(pair.reference, pair.distorted)
            error = pair.distorted.astype(np.int32) - pair.reference
            if last is not None and pair.follows:
                changes.append(float(np.abs(error - last).mean()) / (1 << (bits - 8)))
            last, frames = error, frames + 1
            observer(FramesDone(1))
        if not frames:
            raise BadRequest("no frame of the one video has the time of a frame of the other")
        scores = scorer.scores()
    return Quality(
        psnr_y=round(scores.psnr_y, 3),
        ssim=round(scores.ssim, 5),
        vmaf=_rounded(scores.vmaf),
        vmaf_harmonic=_rounded(scores.vmaf_harmonic),
        flicker=round(sum(changes) / len(changes), 4) if changes else None,
        frames=frames,
        frames_total=frames,
    )


def _rounded(score: float | None) -> float | None:
    return None if score is None else round(score, 3)


def _threads() -> int:
    return min(_MOST_THREADS, os.cpu_count() or 1)
