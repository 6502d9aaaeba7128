#!/usr/bin/env python3
"""Try a running video server: health, stats, and one small upscale for each task; exit code 0 when all went well.

    python test_vsr_server.py [--url http://localhost:29115] [--video FILE|ADDRESS] [--api-key KEY]

Without --video the first pictures of the bundled clip are served by this program itself on loopback. A server refuses
sources in private networks, this machine's own included, unless it is told otherwise; start it for this test with

    UPSCALE_FETCH__ALLOWED_NETWORKS='["127.0.0.0/8"]' ./start_vsr_server.sh
"""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

try:
    import av

    from upscale_server.client import Client
    from upscale_server.errors import SourceForbidden, UpscaleError
except ModuleNotFoundError as err:
    sys.exit(f"{sys.executable} has no {err.name}; run `make install` and then .venv/bin/python {sys.argv[0]}")

CLIP = Path(__file__).parent / "src" / "upscale_server" / "clips" / "nasa.mp4"
TASKS = {"SD2HD": (1920, 1080), "SD24K": (3840, 2160), "HD24K": (3840, 2160), "4K28K": (7680, 4320)}
FRAMES = 4  # enough for every step of a job; at 8K each picture takes two cores some seconds
REPLY = {"optimized_video_url", "uploaded_video_url", "processing_time", "task_type", "file_size_mb"}
LOOPBACK = """the server does not fetch from this machine's loopback, where this program serves its clip; start it with
  UPSCALE_FETCH__ALLOWED_NETWORKS='["127.0.0.0/8"]'
or give an address that it may fetch with --video https://..."""


def main() -> int:
    """Run all checks and say how each went; the exit code is 0 or 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://localhost:29115", help="the server (default: %(default)s)")
    parser.add_argument("--video", help="a file that this program serves, or an http(s) address")
    parser.add_argument("--api-key", help="key of a server that needs one")
    options = parser.parse_args()
    try:
        with Client(options.url, options.api_key) as client, served(options.video) as source:
            checks: dict[str, Callable[[], str]] = {
                "health": lambda: health(client),
                "stats": lambda: stats(client),
                **{task: functools.partial(upscaled, client, source, task) for task in TASKS},
            }
            results = [went_well(name, check) for name, check in checks.items()]
    except (UpscaleError, OSError) as err:
        print(f"FAIL {err}", file=sys.stderr)
        return 1
    print(f"{sum(results)} of {len(results)} checks passed")
    return 0 if all(results) else 1


def went_well(name: str, check: Callable[[], str]) -> bool:
    """Run a check, print a line, and tell whether it passed."""
    try:
        print(f"ok   {name}: {check()}", flush=True)
    except SourceForbidden as err:
        print(f"FAIL {name}: {err.code}: {err.detail}\n{LOOPBACK}", flush=True)
    except UpscaleError as err:
        print(f"FAIL {name}: {err.code}: {err.detail}" + (f" ({err.hint})" if err.hint else ""), flush=True)
    except (KeyError, ValueError) as err:
        print(f"FAIL {name}: unexpected answer: {type(err).__name__}: {err}", flush=True)
    else:
        return True
    return False


def health(client: Client) -> str:
    """Check `GET /health`."""
    answer = client.health()
    if answer["status"] not in ("healthy", "ok") or not answer["workers_ready"]:
        raise ValueError(answer)
    return f"{answer['status']}, {answer['workers_ready']} workers ready, at most {answer['max_workers']}"


def stats(client: Client) -> str:
    """Check `GET /stats`."""
    answer = client.stats()
    if set(answer["task_worker_mapping"]) != set(TASKS) or set(answer["task_resolution_mapping"]) != set(TASKS):
        raise ValueError(answer)
    return ", ".join(f"{task} {count}" for task, count in answer["task_worker_mapping"].items())


def upscaled(client: Client, source: str, task: str) -> str:
    """Upscale once and look at the file that comes back."""
    answer = client.upscale_video(source, task, 100)
    if missing := REPLY - set(answer):
        raise ValueError(f"the answer lacks {', '.join(sorted(missing))}")
    with tempfile.TemporaryDirectory() as folder:
        path = client.download(answer["optimized_video_url"], Path(folder) / "result.mp4")
        with av.open(str(path)) as container:
            width, height = container.streams.video[0].width, container.streams.video[0].height
    box = TASKS[task] if width >= height else TASKS[task][::-1]
    if (width, height) != box and not (width == box[0] or height == box[1]):
        raise ValueError(f"the result is {width}x{height}; expected it to fill {box[0]}x{box[1]}")
    return f"{width}x{height}, {answer['file_size_mb']} MB in {answer['processing_time']} s"


@contextmanager
def served(video: str | None) -> Iterator[str]:
    """Give the address of the video: the one given, or that of a file which is served as long as this lasts."""
    if video and video.startswith(("http://", "https://")):
        yield video
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(video).resolve() if video else shortened(CLIP, Path(folder) / "clip.mp4", FRAMES)
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {path}")
        handler = functools.partial(Quiet, directory=str(path.parent))
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_address[1]}/{path.name}"
            finally:
                server.shutdown()
                thread.join()


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def shortened(clip: Path, target: Path, frames: int) -> Path:
    """Copy at least the first pictures of a clip, packet by packet, up to a place where none is left out between."""
    with av.open(str(clip)) as source, av.open(str(target), "w") as result:
        stream = source.streams.video[0]
        copy = result.add_stream_from_template(stream)
        packets = [packet for packet in source.demux(stream) if packet.pts is not None]
        shown = sorted(packet.pts for packet in packets)
        seen: set[int] = set()
        for count, packet in enumerate(packets, start=1):
            seen.add(packet.pts)
            packet.stream = copy
            result.mux(packet)
            if count >= frames and max(seen) == shown[count - 1]:
                break
    return target


if __name__ == "__main__":
    sys.exit(main())
