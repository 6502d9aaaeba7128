"""A server's job on a cluster as a process of its own, so that it can be killed: `python -m tests.support.ray_driver`.

CLIP FOLDER OUT: a clip is upscaled in FOLDER on the cluster that the settings name; OUT gets a line per segment.
"""

from __future__ import annotations

import sys
from pathlib import Path

from upscale_server.events import Event, SegmentDone, SegmentReused
from upscale_server.pipeline import upscale_video
from upscale_server.plan import make_plan
from upscale_server.service.assembly import pool_of
from upscale_server.settings import load_settings
from upscale_server.wish import Wish

WISH = Wish(scale=2, model="lanczos", segment_seconds=0.4, threads=1)


def main() -> None:
    """Do the job."""
    clip, folder, out = map(Path, sys.argv[1:])
    pool = pool_of(load_settings())
    pool.start()
    with out.open("a", encoding="ascii") as file:

        def note(event: Event) -> None:
            if isinstance(event, (SegmentDone, SegmentReused)):
                print(type(event).__name__, event.index, file=file, flush=True)

        upscale_video(make_plan(clip, WISH), pool.executor(None, lambda: ""), folder, note)
    pool.close()


if __name__ == "__main__":
    main()
