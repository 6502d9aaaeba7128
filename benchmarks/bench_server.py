"""Asks three things of the video server: does it answer while it works, what does it cost, and does it leak?

    python -m benchmarks.bench_server [--jobs 1000] [--seconds 60] [--part control|overhead|leak ...]

control   p99 of the control routes while every lane is busy           < 50 ms
overhead  a job's seconds against those of `upscale video`, both warm   <= 1.05, on at least 20 s of work
leak      memory after many jobs of one tiny clip against that after the first tenth   < 1.05, and no file left
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from benchmarks.bench_memory import repeated, smaller
from benchmarks.machine import save
from tests.support.clip_spec import Clip, Picture
from tests.support.clip_writer import write_clip
from tests.support.server import Server, running, serving
from upscale_server.client import Client

CONTROL = ("/health", "/stats", "/queue", "/livez", "/v1/jobs?limit=20")
CONTROL_ROUNDS = 60
ALLOWED_MS = 50.0
ALLOWED_RATIO = 1.05
ROUNDS = 5
COMMAND = (sys.executable, "-c", "from upscale_server.cli.main import main; main()")
OUTSTANDING = 20
"""Jobs handed in and not finished: fewer than the room, more than the server carries at once."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and save; the exit code says whether all bounds held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=60, help="length of the clip for overhead (default: 60)")
    parser.add_argument("--part", action="append", choices=["control", "overhead", "leak"])
    options = parser.parse_args(arguments)
    parts = options.part or ["control", "overhead", "leak"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        once = smaller(folder / "once.mkv")
        repeated(once, folder / "work.mp4", options.seconds)
        write_clip(Clip(pictures=(Picture(width=32, height=32, frame_count=2),)), folder / "tiny.mp4")
        measures = {
            "control": lambda: control(folder),
            "overhead": lambda: overhead(folder),
            "leak": lambda: leak(folder, options.jobs),
        }
        result = {part: measures[part]() for part in parts}
    print(json.dumps(result, indent=2))
    print(f"written to {save('server', result)}", file=sys.stderr)
    return 0 if all(part["held"] for part in result.values()) else 1


def control(folder: Path) -> dict[str, Any]:
    """Return the times of the control routes while as many jobs run as there are lanes, and one more waits."""
    with started(folder, "control") as (server, client, source), httpx.Client(trust_env=False) as http:
        lanes = client.health()["workers_ready"]
        for _ in range(lanes + 1):
            client.submit({"payload_url": f"{source}/work.mp4", "scale": 2})
        first = next(iter(client.jobs("running")))["id"]
        next(job for job in client.follow(first) if job["progress"]["frames_done"])
        times: dict[str, list[float]] = {path: [] for path in CONTROL}
        for _ in range(CONTROL_ROUNDS):
            for path in CONTROL:
                began = time.perf_counter()
                http.get(f"{server.url}{path}").raise_for_status()
                times[path].append(1000 * (time.perf_counter() - began))
        busy = client.job(first)["state"] == "running"
    every = [one for of_path in times.values() for one in of_path]
    p99 = _p99(every)
    return {
        "lanes": lanes,
        "requests": len(every),
        "p50_ms": round(statistics.median(every), 1),
        "p99_ms": round(p99, 1),
        "p99_ms_of_each": {path: round(_p99(of_path), 1) for path, of_path in times.items()},
        "allowed_ms": ALLOWED_MS,
        "lanes_were_busy": busy,
        "held": p99 < ALLOWED_MS and busy,
    }


def overhead(folder: Path) -> dict[str, Any]:
    """Return a job's seconds over those of the command, in turns; the first of each warms up and does not count."""
    by_command, by_server = [], []
    with started(folder, "overhead") as (_, client, source):
        for seconds, done in _by_command(folder, ROUNDS + 1):
            by_command.append(seconds)
            by_server.append(_job_seconds(client, f"{source}/work.mp4"))
            precision = done["precision"]
        plan = client.job(next(iter(client.jobs()))["id"])["plan"]
    ratio = statistics.median(by_server[1:]) / statistics.median(by_command[1:])
    return {
        "command_precision": precision,
        "server_precision": plan["precision"],
        "command_seconds": [round(one, 2) for one in by_command[1:]],
        "server_seconds": [round(one, 2) for one in by_server[1:]],
        "ratio": round(ratio, 3),
        "allowed": ALLOWED_RATIO,
        "enough_work": statistics.median(by_command[1:]) >= 20,
        "held": ratio <= ALLOWED_RATIO and statistics.median(by_command[1:]) >= 20,
    }


def leak(folder: Path, jobs: int) -> dict[str, Any]:
    """Return the memory of all the server's processes after a tenth of the jobs and after all, and what lies about."""
    with started(folder, "leak", "--model-path", "lanczos") as (server, client, source):
        began = time.perf_counter()
        _run_many(client, f"{source}/tiny.mp4", jobs // 10)
        before = _memory_mib(server.process.pid)
        _run_many(client, f"{source}/tiny.mp4", jobs - jobs // 10)
        after = _memory_mib(server.process.pid)
        seconds = time.perf_counter() - began
        done = list(client.jobs())
        for job in done:
            client.remove(job["id"])
        left = [path for name in ("temp", "output") for path in (server.state / "video" / name).rglob("*")]
        files = [str(path.relative_to(server.state)) for path in left if path.is_file()]
    ratio = sum(after.values()) / sum(before.values())
    return {
        "jobs": jobs,
        "succeeded": sum(job["state"] == "succeeded" for job in done),
        "jobs_per_second": round(jobs / seconds, 2),
        "mib_after_a_tenth": before,
        "mib_after_all": after,
        "ratio": round(ratio, 4),
        "allowed": ALLOWED_RATIO,
        "files_left": files,
        "held": ratio < ALLOWED_RATIO and not files and len(done) == jobs,
    }


@contextmanager
def started(folder: Path, name: str, *flags: str) -> Iterator[tuple[Server, Client, str]]:
    """Give a server with a state folder of its own, a client, and the address of the clips."""
    with (
        serving(folder) as source,
        running(folder / name, *flags) as server,
        Client(server.url) as client,
    ):
        yield server, client, source


def _run_many(client: Client, address: str, count: int) -> None:
    """Run jobs, a few at a time, from threads that each wait for their own."""
    left = iter(range(count))
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                if next(left, None) is None:
                    return
            client.wait(client.submit({"payload_url": address, "scale": 2})["id"])

    callers = [threading.Thread(target=work) for _ in range(OUTSTANDING)]
    for one in callers:
        one.start()
    for one in callers:
        one.join()


def _by_command(folder: Path, count: int) -> Iterator[tuple[float, dict[str, Any]]]:
    """Yield the seconds of each of several equal videos in one run of the command, and what it says of it.

    It stands still while the caller has its turn: both are warm, and no drift of the machine is taken for either.
    """
    batch = folder / "batch"
    batch.mkdir()
    for place in range(count):
        (batch / f"{place}.mp4").symlink_to(folder / "work.mp4")
    command = [*COMMAND, "video", str(batch), "-o", str(folder / "by-command"), "--scale", "2", "--json", "-y"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            began = time.perf_counter()
            for line in process.stdout or ():
                seconds = time.perf_counter() - began
                process.send_signal(signal.SIGSTOP)
                yield seconds, json.loads(line)
                process.send_signal(signal.SIGCONT)
                began = time.perf_counter()
            if process.wait():
                raise subprocess.CalledProcessError(process.returncode, command)
        finally:
            process.kill()


def _job_seconds(client: Client, address: str) -> float:
    """Return the wall seconds from handing a job in to knowing that it is done: what a caller waits."""
    began = time.perf_counter()
    client.wait(client.submit({"payload_url": address, "scale": 2})["id"])
    return time.perf_counter() - began


def _memory_mib(pid: int) -> dict[str, float]:
    """Return what a process and everything below it hold in memory, by their kind and place."""
    found = {"server": _held_mib(pid)}
    for place, child in enumerate(sorted(_below(pid))):
        found[f"child {place}"] = _held_mib(child)
    return found


def _held_mib(pid: int) -> float:
    """Return the memory that is not a file's: the share of a library's pages changes when any other program ends."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    kib = (int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:")))
    return round(sum(kib) / 1024, 1)


def _below(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").iterdir():
        children = ""
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended since
            children = (task / "children").read_text()
        for child in children.split():
            yield int(child)
            yield from _below(int(child))


def _p99(values: Sequence[float]) -> float:
    return sorted(values)[min(len(values) - 1, int(0.99 * len(values)))]


if __name__ == "__main__":
    sys.exit(main())
