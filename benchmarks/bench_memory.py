"""Asks whether memory depends on the length of a video: two minutes may need hardly more than ten seconds.

    python -m benchmarks.bench_memory [--model NAME]

Each clip goes through the command in a process of its own; its peak resident memory comes from the kernel. The
bound is that of 120 s <= 1.05 x that of 10 s.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from benchmarks.machine import save

CLIP = Path(__file__).parents[1] / "src" / "upscale_server" / "clips" / "nasa.mp4"
ALLOWED = 1.05
SHORT_SECONDS, LONG_SECONDS = 10, 120
SIZE = (240, 136)
"""Half of the bundled clip's: two minutes then take one minute, and buffers that grow with time show all the same."""
COMMAND = (sys.executable, "-c", "from upscale_server.cli.main import main; main()")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and save; the exit code says whether the bound held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=None)
    options = parser.parse_args(arguments)
    result = measure(options.model)
    path = save("memory", result)
    print(json.dumps(result, indent=2))
    print(f"written to {path}", file=sys.stderr)
    return 0 if result["ratio"] <= ALLOWED else 1


def measure(model: str | None) -> dict[str, Any]:
    """Return the peaks of both clips and their ratio."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        once = smaller(folder / "once.mkv")
        peaks = {}
        for seconds in (SHORT_SECONDS, LONG_SECONDS):
            clip = repeated(once, folder / f"{seconds}.mp4", seconds)
            peaks[seconds] = _peak_mib(clip, folder / f"{seconds}_out.mp4", model)
    return {
        "clip": f"{CLIP.name}, {SIZE[0]}x{SIZE[1]}, repeated",
        "model": model or "default",
        "peak_mib": {f"{seconds} s": round(value, 1) for seconds, value in peaks.items()},
        "ratio": round(peaks[LONG_SECONDS] / peaks[SHORT_SECONDS], 4),
        "allowed": ALLOWED,
    }


def _peak_mib(clip: Path, output: Path, model: str | None) -> float:
    """Return the peak resident memory of one run, audit included."""
    chosen = ["--model", model] if model else []
    command = [*COMMAND, "video", str(clip), "-o", str(output), "--scale", "2", *chosen]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"the run on {clip.name} ended with exit code {process.returncode}")
    return usage.ru_maxrss / 1024  # Linux counts KiB


def smaller(path: Path) -> Path:
    """Write the bundled clip's picture at half its size, with closed GOPs and no B-frames."""
    with av.open(str(CLIP)) as source, av.open(str(path), "w") as out:
        video = source.streams.video[0]
        stream = out.add_stream("libx264", rate=video.average_rate, options={"crf": "20", "bf": "0", "g": "48"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for frame in source.decode(video):
            small = frame.reformat(width=SIZE[0], height=SIZE[1])
            small.pts, small.time_base = frame.pts, frame.time_base
            small.pict_type = av.video.frame.PictureType.NONE
            out.mux(stream.encode(small))
        out.mux(stream.encode(None))
    return path


def repeated(once: Path, path: Path, seconds: int) -> Path:
    """Write the packets of a clip again and again, each time later by its length."""
    with av.open(str(once)) as source, av.open(str(path), "w") as out:
        video = source.streams.video[0]
        stream = out.add_stream_from_template(video, opaque=True)
        packets = [(bytes(p), p.pts, p.is_keyframe) for p in source.demux(video) if p.size]
        step = Fraction(1, 30)
        for place in range(seconds * 30):
            payload, _, is_keyframe = packets[place % len(packets)]
            packet = av.Packet(payload)
            packet.stream, packet.time_base = stream, step
            packet.pts = packet.dts = place
            packet.duration, packet.is_keyframe = 1, is_keyframe
            out.mux(packet)
    return path


if __name__ == "__main__":
    sys.exit(main())
