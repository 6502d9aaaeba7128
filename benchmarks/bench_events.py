"""Asks whether a hundred listeners to the queue slow the video server's short answers while it works.

    python -m benchmarks.bench_events [--listeners 100] [--rounds 100]

The same questions are asked twice of one server with a job at work: without listeners, then with them. The bound is the
p99 with them, < 50 ms; what the listeners were told is counted, so that nobody measures a silent stream.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from benchmarks.bench_memory import repeated, smaller
from benchmarks.machine import save
from tests.support.server import running, serving
from upscale_server.client import Client

ALLOWED_MS = 50.0
SECONDS = 60
"""Length of the clip: the job outlasts the questions."""
PATIENCE_SECONDS = 60.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and save; the exit code says whether the bound held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listeners", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=100)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        result = measure(Path(name), options.listeners, options.rounds)
    print(json.dumps(result, indent=2))
    print(f"written to {save('events', result)}", file=sys.stderr)
    return 0 if result["held"] else 1


def measure(folder: Path, listeners: int, rounds: int) -> dict[str, Any]:
    """Return the times of short answers without and with listeners, while a job runs."""
    repeated(smaller(folder / "once.mkv"), folder / "work.mp4", SECONDS)
    with (
        serving(folder) as source,
        running(folder / "state") as server,
        closing(Client(server.url)) as client,
        httpx.Client(base_url=server.url, trust_env=False) as http,
    ):
        job = client.submit({"payload_url": f"{source}/work.mp4", "scale": 2})["id"]
        next(seen for seen in client.follow(job) if seen["progress"]["frames_done"])
        paths = ("/health", f"/v1/jobs/{job}")
        without, share_without = _times(http, paths, rounds, server.process.pid)
        with listening(server.url, listeners) as heard:
            began = time.perf_counter()
            beside, share_beside = _times(http, paths, rounds, server.process.pid)
            seconds = time.perf_counter() - began
        ran_on = client.job(job)["state"] == "running"
        client.cancel(job)
    events = [heard.events[one] for one in range(listeners)]
    return {
        "listeners": listeners,
        "without_listeners": {**_told(without, job), "cores_of_the_server_process": share_without},
        "with_listeners": {**_told(beside, job), "cores_of_the_server_process": share_beside},
        "allowed_ms": ALLOWED_MS,
        "seconds": round(seconds, 2),
        "events_of_each": {"least": min(events), "median": statistics.median(events), "most": max(events)},
        "events_a_second_of_each": round(statistics.median(events) / seconds, 2),
        "kib_a_second_of_all": round(heard.byte_count / seconds / 1024, 1),
        "job_ran_on": ran_on,
        "held": max(_p99({path: times}) for path, times in beside.items()) < ALLOWED_MS and ran_on and min(events) > 0,
    }


@dataclass(slots=True)
class Heard:
    """What listeners heard after their snapshots: events of each, and bytes of all."""

    events: Counter[int] = field(default_factory=Counter)
    ready: int = 0
    byte_count: int = 0


@contextmanager
def listening(url: str, count: int) -> Iterator[Heard]:
    """Hold so many streams open from one thread; given when all have their snapshots, counted from then on."""
    heard, loop, over = Heard(), asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(_listen_all(url, count, heard, over),))
    thread.start()
    try:
        until = time.monotonic() + PATIENCE_SECONDS
        while heard.ready < count:
            if time.monotonic() > until:
                raise TimeoutError(f"{heard.ready} of {count} listeners have their snapshot")
            time.sleep(0.05)
        heard.events.clear()
        heard.byte_count = 0
        yield heard
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()


async def _listen_all(url: str, count: int, heard: Heard, over: asyncio.Event) -> None:
    listeners = [asyncio.create_task(_listen(url, one, heard)) for one in range(count)]
    await over.wait()
    for one in listeners:
        one.cancel()
    await asyncio.gather(*listeners, return_exceptions=True)


async def _listen(url: str, name: int, heard: Heard) -> None:
    """Read one stream; a bare connection costs this process little, which shares the machine with the server."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(f"GET /v1/events HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
    await writer.drain()
    async for line in reader:
        heard.byte_count += len(line)
        if line == b"event: jobs\n":
            heard.ready += 1
        elif line == b"event: job\n":
            heard.events[name] += 1


def _times(http: httpx.Client, paths: Sequence[str], rounds: int, pid: int) -> tuple[dict[str, list[float]], float]:
    """Return the milliseconds of each path's answers, asked in turns, and the cores that the server's process took.

    The process answers, looks and tells; the work on the job is its children's.
    """
    found: dict[str, list[float]] = {path: [] for path in paths}
    began_at, cpu_before = time.perf_counter(), _cpu_seconds(pid)
    for _ in range(rounds):
        for path in paths:
            began = time.perf_counter()
            http.get(path).raise_for_status()
            found[path].append(1000 * (time.perf_counter() - began))
            time.sleep(0.02)  # so that the questions meet many moments between two looks at the queue
    return found, round((_cpu_seconds(pid) - cpu_before) / (time.perf_counter() - began_at), 3)


def _cpu_seconds(pid: int) -> float:
    """Return the processor seconds of a process, without its children's."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _told(times: dict[str, list[float]], job: str) -> dict[str, Any]:
    every = [one for of_path in times.values() for one in of_path]
    each = {path.replace(job, "ID"): round(_p99({path: of_path}), 1) for path, of_path in times.items()}
    return {
        "requests": len(every),
        "p50_ms": round(statistics.median(every), 1),
        "p99_ms": round(_p99(times), 1),
        "p99_ms_of_each": each,
    }


def _p99(times: dict[str, list[float]]) -> float:
    every = sorted(one for of_path in times.values() for one in of_path)
    return every[min(len(every) - 1, int(0.99 * len(every)))]


if __name__ == "__main__":
    sys.exit(main())
