"""Asks of the image server: is its PNG fast, does it answer while it works, what does it cost, does it leak?

    python -m benchmarks.bench_image [--requests 900] [--part png|health|overhead|leak ...]

png       processor seconds of a 4K PNG against those of Pillow at its level 6, and the size   < a quarter, < 1.25 x
health    p99 of /health on new connections while four upscales run                            < 100 ms
overhead  a request's seconds against those of the same work in the service, both warm         <= 1.15
leak      mean memory in the last third of the requests against the second third, and files left   < 1.05, none
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from benchmarks.bench_server import _below
from benchmarks.machine import save
from tests.support.image_served import running_images
from upscale_server.media.image import load_bytes
from upscale_server.media.png import encode_png
from upscale_server.service.picture_facts import Ask
from upscale_server.service.picture_models import FamilyModels
from upscale_server.service.picture_work import Wish, make
from upscale_server.settings import Limits, Settings

PARTS = ("png", "health", "overhead", "leak")
ALLOWED_PNG_TIME, ALLOWED_PNG_SIZE = 0.25, 1.25
ALLOWED_MS = 100.0
ALLOWED_OVERHEAD = 1.15
ALLOWED_GROWTH = 1.05
ROUNDS = 5
CALLERS = 4
LOOK_EVERY = 10
LONG_SECONDS = 600.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and save; the exit code says whether all bounds held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=900)
    parser.add_argument("--part", action="append", choices=PARTS)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measures: dict[str, Callable[[], dict[str, Any]]] = {
            "png": png,
            "health": lambda: health(folder),
            "overhead": lambda: overhead(folder),
            "leak": lambda: leak(folder, options.requests),
        }
        result = {part: measures[part]() for part in options.part or PARTS}
    print(json.dumps(result, indent=2))
    print(f"written to {save('image', result)}", file=sys.stderr)
    return 0 if all(part["held"] for part in result.values()) else 1


def png() -> dict[str, Any]:
    """Return what a 4K picture with a photograph's grain costs to write; processor seconds, since a wall is shared."""
    samples = photograph(3840, 2160)
    ours = _best(lambda: encode_png(samples))
    sixth, first = (_best(lambda level=level: _by_pillow(samples, level)) for level in (6, 1))
    return {
        "ours": ours, "pillow_level_6": sixth, "pillow_level_1": first,
        "time_ratio": round(ours["processor_seconds"] / sixth["processor_seconds"], 3),
        "size_ratio": round(ours["bytes"] / sixth["bytes"], 3),
        "allowed": [ALLOWED_PNG_TIME, ALLOWED_PNG_SIZE],
        "held": ours["processor_seconds"] < ALLOWED_PNG_TIME * sixth["processor_seconds"]
        and ours["bytes"] < ALLOWED_PNG_SIZE * sixth["bytes"],
    }  # fmt: skip


def health(
    folder: Path, *flags: str, environment: dict[str, str] | None = None, size: tuple[int, int] = (1280, 720)
) -> dict[str, Any]:
    """Return the times of /health while four upscales run, with the built-in network or as the flags say."""
    sent = _file(photograph(*size))
    server_of = running_images(folder / "health", *flags, environment=environment)
    with server_of as server, ThreadPoolExecutor(CALLERS) as callers:
        _post(server.url, sent, 4)
        work = [callers.submit(_post, server.url, sent, 4) for _ in range(CALLERS)]
        times, busy = [], []
        while not all(one.done() for one in work):
            began = time.perf_counter()
            said = _health(server.url)
            times.append(1000 * (time.perf_counter() - began))
            busy.append(said["running"])
            time.sleep(0.02)  # a probe's pace; asking without a pause would measure itself
        answered = [one.result().status_code for one in work]
    p99 = sorted(times)[int(0.99 * (len(times) - 1))]
    return {
        "asked": len(times), "p50_ms": round(statistics.median(times), 1), "p99_ms": round(p99, 1),
        "allowed_ms": ALLOWED_MS, "upscales": answered,
        "held": p99 < ALLOWED_MS and answered == [200] * CALLERS and max(busy) > 0,
    }  # fmt: skip


def overhead(folder: Path) -> dict[str, Any]:
    """Return what a request costs beside the work itself, in turns with the same work in this process."""
    sent = _file(photograph(960, 540))
    models = FamilyModels(Settings(state_dir=folder / "overhead"), None)
    wish, limits = Wish(Ask(2, 128)), Limits()
    direct, asked = [], []
    with (
        running_images(folder / "overhead") as server,
        httpx.Client(trust_env=False, timeout=LONG_SECONDS) as client,
    ):
        for _ in range(ROUNDS + 1):
            began = time.perf_counter()
            made = make(partial(load_bytes, sent, "in"), "in", wish, models, limits)
            direct.append(time.perf_counter() - began)
            began = time.perf_counter()
            reply = client.post(f"{server.url}/upscale", files={"file": ("in.png", sent)})
            asked.append(time.perf_counter() - began)
    models.close()
    ratio = min(asked[1:]) / min(direct[1:])
    return {
        "service_seconds": [round(one, 3) for one in direct[1:]],
        "request_seconds": [round(one, 3) for one in asked[1:]],
        "ratio": round(ratio, 3), "allowed": ALLOWED_OVERHEAD,
        "same_bytes": reply.content == made.content,
        "held": ratio <= ALLOWED_OVERHEAD and reply.content == made.content,
    }  # fmt: skip


def leak(folder: Path, requests: int) -> dict[str, Any]:
    """Return the mean memory of all processes in each third of the requests, and what lies about.

    One look says little: with pictures of many sizes the heap breathes by a tenth, and settles after some 300 requests.
    """
    sizes = [(64 + 32 * (n % 7), 64 + 16 * (n % 5)) for n in range(35)]
    sent = [_file(photograph(*size)) for size in sizes]
    with running_images(folder / "leak") as server:
        held: list[list[float]] = [[], [], []]
        with httpx.Client(trust_env=False, timeout=LONG_SECONDS) as client:
            for number in range(requests):
                if number % LOOK_EVERY == 0:
                    held[3 * number // requests].append(sum(_anonymous_mib(server.process.pid).values()))
                url = f"{server.url}/upscale?upscale={2 + 2 * (number % 2)}"
                client.post(url, files={"file": sent[number % len(sent)]}).raise_for_status()
        left = left_in(server.state / "image")
    means = [statistics.fmean(third) for third in held]
    ratio = means[2] / means[1]
    return {
        "requests": requests, "mean_mib_of_thirds": [round(mean, 1) for mean in means], "ratio": round(ratio, 4),
        "allowed": ALLOWED_GROWTH, "files_left": left, "held": ratio < ALLOWED_GROWTH and not left,
    }  # fmt: skip


def left_in(folder: Path) -> list[str]:
    """Return the files in an image server's folder that are not the server's own: its key."""
    files = (str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file())
    return sorted(name for name in files if name != "links.key")


def photograph(width: int, height: int) -> np.ndarray:
    """Return a picture with a photograph's statistics: structure of all sizes, sharp edges, and grain."""
    rng = np.random.default_rng(5)
    total = np.zeros((height, width, 3), np.float32)
    for step in (4, 16, 64, 256):
        coarse = rng.integers(0, 256, (height // step + 2, width // step + 2, 3)).astype(np.uint8)
        larger = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        total += np.asarray(larger, np.float32) * (step**0.5 / 30)
    total += rng.normal(0, 1.5, total.shape)
    return total.clip(0, 255).astype(np.uint8)


def _file(samples: np.ndarray) -> bytes:
    return encode_png(samples)


def _by_pillow(samples: np.ndarray, level: int) -> bytes:
    output = io.BytesIO()
    Image.fromarray(samples).save(output, "PNG", compress_level=level)
    return output.getvalue()


def _best(work: Callable[[], bytes]) -> dict[str, float]:
    """Return the best of a few rounds."""
    found = []
    for _ in range(3):
        wall, processor = time.perf_counter(), time.process_time()
        content = work()
        found.append((time.process_time() - processor, time.perf_counter() - wall, len(content)))
    processor, wall, count = min(found)
    return {"processor_seconds": round(processor, 3), "wall_seconds": round(wall, 3), "bytes": count}


def _health(url: str) -> dict[str, Any]:
    """Ask on a new connection; httpx takes 50 ms to make a client, which is not the server's."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=LONG_SECONDS)
    with closing(connection):
        connection.request("GET", "/health")
        return dict(json.loads(connection.getresponse().read()))


def _anonymous_mib(pid: int) -> dict[str, float]:
    """Return the memory of a server's processes that no file backs: libraries are shared with whoever else runs."""
    found = {}
    for place, process in enumerate([pid, *sorted(_below(pid))]):
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        kib = next(int(line.split()[1]) for line in lines if line.startswith("Anonymous:"))
        found[f"process {place}"] = round(kib / 1024, 1)
    return found


def _post(url: str, content: bytes, factor: int) -> httpx.Response:
    files = {"file": ("in.png", content)}
    return httpx.post(f"{url}/upscale?upscale={factor}", files=files, trust_env=False, timeout=LONG_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
