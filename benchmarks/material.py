"""What several benchmarks work on: clips, the networks of a plan, and what is said of both; it measures nothing."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from upscale_server.media.types import Size
from upscale_server.models.load import load
from upscale_server.models.luma import FrameUpscaler
from upscale_server.plan import Plan

CLIP = Path(__file__).parents[1] / "src" / "upscale_server" / "clips" / "nasa.mp4"
RATE = 30
ROUNDS = 5


def arguments_of(about: str | None) -> argparse.ArgumentParser:
    """Return what a benchmark of one clip's segments is asked with."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=None)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--clip", type=Path, default=CLIP)
    return parser


@contextmanager
def loaded(plan: Plan) -> Iterator[FrameUpscaler]:
    """Give the networks of a plan, in this process, for the length of the block."""
    upscalers = tuple(
        load(one.card, engine=plan.engine, precision=plan.precision, lanes=plan.lanes) for one in plan.passes
    )
    try:
        yield FrameUpscaler(upscalers, plan.picture, plan.target, plan.spec.colour)
    finally:
        for upscaler in upscalers:
            upscaler.close()


def facts_of(plan: Plan) -> dict[str, Any]:  # JSON values of several types
    """Return what a number was measured on."""
    return {
        "clip": Path(plan.source.path).name,
        "size": f"{plan.source.size} to {plan.target}",
        "frames": plan.frame_count,
        "model": plan.model,
        "engine": f"{plan.engine} {plan.precision}",
        "encoder": f"{plan.encoder.codec} {plan.encoder.preset} crf {plan.encoder.crf}",
    }


def clip_of(path: Path, size: Size, frame_count: int) -> Path:
    """Write the bundled clip's picture at another size, again from its start where more frames are asked for."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=RATE, options={"crf": "20", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = size.width, size.height, "yuv420p"
        made = 0
        while made < frame_count:
            with av.open(str(CLIP)) as source:
                for frame in source.decode(video=0):
                    if made == frame_count:
                        break
                    picture = frame.reformat(width=size.width, height=size.height, format="yuv420p")
                    picture.pts, picture.time_base = made, Fraction(1, RATE)
                    picture.pict_type = av.video.frame.PictureType.NONE
                    out.mux(stream.encode(picture))
                    made += 1
        out.mux(stream.encode(None))
    return path
