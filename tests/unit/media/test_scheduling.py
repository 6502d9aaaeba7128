"""Encoding leaves priorities alone: SVT-AV1 takes the highest real-time one where it may."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

_ENCODE = """
import json, os, pathlib
from fractions import Fraction
import av
from upscale_server.media.encoders import DEFAULTS, EncoderSettings, VideoSpec, open_encoder
from upscale_server.media.types import Colour, Hdr, Size

def rights():
    lines = pathlib.Path("/proc/thread-self/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith("CapEff"))

before = rights()
spec = VideoSpec(Size(64, 64), Fraction(1, 25), Fraction(25), None, (), Colour(), Hdr())
settings = EncoderSettings("libsvtav1", "yuv420p", *DEFAULTS["libsvtav1"], threads=1, gop_frames=25)
with av.open(os.devnull, "w", format="null") as sink:
    stream = open_encoder(sink, settings, spec, spec.time_base)
    frame = av.VideoFrame(64, 64, "yuv420p")
    frame.pts = 0
    stream.encode(frame)
    found = {os.sched_getscheduler(int(task.name)) for task in pathlib.Path("/proc/self/task").iterdir()}
    stream.encode(None)
print(json.dumps({"before": before, "after": rights(), "found": sorted(found | {os.sched_getscheduler(0)})}))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="scheduling policies and capabilities are Linux's")
def test_av1_encoder_does_not_become_real_time() -> None:
    """Neither its threads nor the one that opened it; and that one may set priorities afterwards if it could before."""
    ran = subprocess.run([sys.executable, "-c", _ENCODE], capture_output=True, text=True, check=True, env=os.environ)
    said = json.loads(ran.stdout)

    assert [os.SCHED_OTHER] == said["found"]
    assert said["before"] == said["after"]
