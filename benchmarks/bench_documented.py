"""Asks how many times as fast as the documented way we are, with the same network and the same encoder.

    python -m benchmarks.bench_documented [--rounds N] [--frames N] [--size WxH]

The documented way is in `documented`: frames in memory, a session a thread, a PNG a frame. Both start with a file and
end with a file; both have their networks loaded and warmed before the clock starts. Ours also plans, keeps sound and
tags, and audits its output. Each round runs both with each preset, in turns; ratios are taken within rounds.
The bound on a processor without AMX: 1.5 times with x264 fast and 2 times with x264 ultrafast; with AMX 3 and 5.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.machine import busy_seconds, describe, save, usable_cores
from upscale_server.events import ignore
from upscale_server.media.probe import probe_with_index
from upscale_server.media.types import Size
from upscale_server.models.catalogue import find
from upscale_server.models.choices import Choices
from upscale_server.models.load import load
from upscale_server.pipeline import upscale_video
from upscale_server.plan import Plan, make_plan
from upscale_server.wish import Wish
from upscale_server.workers.in_process import InProcess

CLIP = Path(__file__).parents[1] / "src" / "upscale_server" / "clips" / "nasa.mp4"
MODEL, CRF, ROUNDS = "fast-x2", 18, 3
PRESETS = {"fast": (1.5, 3.0), "ultrafast": (2.0, 5.0)}
"""The bound for each preset, without and with AMX."""
NEEDED = {"onnxruntime": "onnxruntime", "cv2": "bench", "imageio_ffmpeg": "bench"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and save; the exit code says whether the bound held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--size", type=Size.parse, default=Size(854, 480))
    options = parser.parse_args(arguments)
    missing = [f"{name} (extra [{extra}])" for name, extra in NEEDED.items() if find_spec(name) is None]
    if missing:
        print(f"not measured: {', '.join(missing)} is not installed", file=sys.stderr)
        return 0
    with tempfile.TemporaryDirectory() as name:
        clip = _clip(Path(name) / "clip.mp4", options.size, options.frames)
        result = measure(clip, Path(name), options.rounds)
    path = save("documented", result)
    print(json.dumps(result, indent=2))
    print(f"written to {path}", file=sys.stderr)
    return 0 if all(one["ratio"] >= one["asked"] for one in result["presets"].values()) else 1


def measure(clip: Path, folder: Path, rounds: int) -> dict[str, Any]:
    """Return medians over the rounds, by preset."""
    from benchmarks.documented import DocumentedServer, Task  # noqa: PLC0415 - needs the extras that `main` looked for

    info = probe_with_index(clip).info
    choices = Choices(folder / "choices.json")
    server = DocumentedServer(find(MODEL, 2), usable_cores(), 1, info.size)
    plans: list[Plan] = []
    with ExitStack() as stack:
        executor = stack.enter_context(
            InProcess(lambda plan, one: load(one.card, engine=plan.engine, precision=plan.precision))
        )

        def ours(preset: str) -> None:
            wish = Wish(scale=2, model=MODEL, codec="h264", preset=preset, crf=CRF)
            plan = make_plan(clip, wish, choices=choices)
            plans.append(plan)
            with tempfile.TemporaryDirectory(dir=folder) as work:
                upscale_video(plan, executor, Path(work), ignore)

        def documented(preset: str) -> None:
            task = Task(clip, info.size, info.average_rate, preset, CRF)
            with tempfile.TemporaryDirectory(dir=folder) as frames:
                server.upscale(task, Path(frames), Path(frames) / "out.mp4")

        ours("ultrafast")  # measures the engines, loads and compiles
        seconds, others = _timed({"ours": ours, "documented": documented}, rounds)
    return {
        "clip": f"{CLIP.name} at {info.size}",
        "size": f"{info.size} to {plans[0].target}",
        "frames": info.frame_count,
        "model": MODEL,
        "engine": f"{plans[0].engine} {plans[0].precision}",
        "documented_sessions": f"{usable_cores()} of 1 thread",
        "presets": {preset: _judged(preset, seconds, info.frame_count) for preset in PRESETS},
        "others_cores": others,
        "versions": {name: version(name) for name in ("onnxruntime", "opencv-python-headless", "imageio-ffmpeg")},
    }


def _timed(work: dict[str, Callable[[str], None]], rounds: int) -> tuple[dict[tuple[str, str], list[float]], float]:
    """Return the seconds of each way and preset in every round, and the cores that other programs took meanwhile."""
    seconds: dict[tuple[str, str], list[float]] = {(name, preset): [] for name in work for preset in PRESETS}
    began, busy, own = time.perf_counter(), busy_seconds(), _own_seconds()
    for _ in range(rounds):
        for name, preset in sorted(seconds, key=lambda pair: pair[1]):
            started = time.perf_counter()
            work[name](preset)
            seconds[name, preset].append(time.perf_counter() - started)
    others = busy_seconds() - busy - (_own_seconds() - own)
    return seconds, round(max(0.0, others) / (time.perf_counter() - began), 2)


def _own_seconds() -> float:
    """Return the processor seconds of this process and of the programs that it has run."""
    return sum(os.times()[:4])


def _judged(preset: str, seconds: dict[tuple[str, str], list[float]], frames: int) -> dict[str, Any]:
    mine, other = seconds["ours", preset], seconds["documented", preset]
    ratios = [theirs / own for own, theirs in zip(mine, other, strict=True)]
    return {
        "seconds": {"ours": round(statistics.median(mine), 2), "documented": round(statistics.median(other), 2)},
        "frames_per_second": {
            "ours": round(frames / statistics.median(mine), 2),
            "documented": round(frames / statistics.median(other), 2),
        },
        "ratio": round(statistics.median(ratios), 3),
        "ratio_of_each_round": [round(ratio, 3) for ratio in ratios],
        "asked": PRESETS[preset]["amx_bf16" in describe()["instructions"]],
    }


def _clip(path: Path, size: Size, frames: int) -> Path:
    """Write the bundled clip at another size, as compressed as a source usually is."""
    from imageio_ffmpeg import get_ffmpeg_exe  # noqa: PLC0415 - an extra that `main` looked for

    command = (
        "-hide_banner", "-loglevel", "error", "-nostdin", "-stream_loop", "-1", "-i", str(CLIP), "-an",
        "-vf", f"scale={size.width}:{size.height}", "-frames:v", str(frames),
        "-c:v", "libx264", "-crf", "20", str(path),
    )  # fmt: skip
    subprocess.run([get_ffmpeg_exe(), *command], check=True)
    return path


if __name__ == "__main__":
    sys.exit(main())
