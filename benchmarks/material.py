"""Clips that benchmarks need at sizes the bundled one does not have; it measures nothing."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av

from upscale_server.media.types import Size

CLIP = Path(__file__).parents[1] / "src" / "upscale_server" / "clips" / "nasa.mp4"
RATE = 30


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
