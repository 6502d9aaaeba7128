"""Load what models are measured on: standard picture sets, held-out clips, and real footage.

It does not measure. Nothing here is ever trained on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import av
import numpy as np

from training.clips import HELD_OUT_FRAMES, luma_planes
from training.codecs import SUBNET, coded, reduced
from training.pictures import Luma, read_luma
from training.resize import bicubic, to_bytes
from training.shards import Pairs, load_pairs

STANDARD_SETS = {"set5": "Set5_HR", "set14": "Set14_HR", "b100": "BSD100_HR"}


@dataclass(frozen=True, slots=True)
class Clip:
    """Consecutive frames with their reference."""

    name: str
    pairs: Pairs


def standard_pairs(data: Path, name: str, scale: int) -> Iterator[tuple[Luma, Luma]]:
    """Yield (LR, HR) luma of a standard set; LR by our MATLAB-like antialiased bicubic."""
    for file in sorted((data / "eval" / STANDARD_SETS[name]).glob("*.png")):
        hr = read_luma(file)
        height, width = hr.shape[0] // scale, hr.shape[1] // scale
        hr = hr[: height * scale, : width * scale]
        yield to_bytes(bicubic(hr, height, width)), hr


def held_out_clips(work: Path, scale: int) -> list[Clip]:
    """Split what `make_data --kinds held_out` wrote into clips."""
    pairs = load_pairs(work / f"x{scale}", "held_out")
    return [
        Clip(f"held_out_{at // HELD_OUT_FRAMES}", Pairs(pairs.lr[at:until], pairs.hr[at:until]))
        for at in range(0, len(pairs.lr), HELD_OUT_FRAMES)
        for until in [at + HELD_OUT_FRAMES]
    ]


def footage_clip(file: Path, scale: int, count: int) -> Clip:
    """Degrade the first frames of a video as the subnet does: bicubic, x264 ultrafast crf 23."""
    with av.open(str(file)) as container:
        stream = container.streams.video[0]
        # An encoder needs even LR sizes: cut the reference to a multiple of twice the scale.
        width, height = (size // (2 * scale) * 2 * scale for size in (stream.width, stream.height))
        frames = [_cut(frame, width, height) for frame in islice(container.decode(stream), count)]
    degraded = coded([reduced(frame, scale) for frame in frames], SUBNET)
    return Clip(file.stem, Pairs(luma_planes(degraded), luma_planes(frames)))


def _cut(frame: av.VideoFrame, width: int, height: int) -> av.VideoFrame:
    planes = frame.reformat(format="yuv444p").to_ndarray()[:, :height, :width].astype(np.uint8)
    cut = av.VideoFrame.from_ndarray(planes, format="yuv444p", channel_last=False)
    return cut.reformat(format="yuv420p")
