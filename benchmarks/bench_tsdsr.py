"""Asks how long TSD-SR takes for each stage of a picture, and how much memory: real size, random weights made here.

    python -m benchmarks.bench_tsdsr [--rounds N] [--device cuda] [--dtype bfloat16] [--tiny] [--compile]

From 512 x 512 to 2048 x 2048 and from 1920 x 1080 to 3840 x 2160. Bounds on a GPU: 0.30 s and 0.65 s for the picture
(the floor at 790 TFLOP/s is 0.16 s and 0.35 s), 0.10 s and 0.20 s more for the PNG, 20 GiB. The best round counts.
Beside it, for a server with tiny networks: p99 of /health on new connections while four upscales run, below 100 ms.
Without a GPU nothing is measured. `--tiny` shows on any machine that the script runs; of the bounds only that of
/health applies to it.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bench_image import health
from benchmarks.machine import save
from upscale_server.media.image_write import encode_png_fast
from upscale_server.media.picture import Picture

PACKAGES = ("torch", "diffusers", "peft", "safetensors")
MOST_BYTES = 20 << 30
PROCESS_SIZE = 128


@dataclass(frozen=True, slots=True)
class Task:
    """One picture to enlarge and how long it may take, seconds."""

    width: int
    height: int
    factor: int
    picture_seconds: float
    png_seconds: float

    @property
    def name(self) -> str:
        """Return source and result as a text."""
        return f"{self.width}x{self.height} -> {self.width * self.factor}x{self.height * self.factor}"


TASKS = (Task(512, 512, 4, 0.30, 0.10), Task(1920, 1080, 2, 0.65, 0.20))
SERVED = {"cuda": (1280, 720), "cpu": (320, 180)}
"""Pictures that keep a server with tiny networks busy for seconds, enlarged by 4."""

TINY_TASKS = (Task(48, 48, 4, 0, 0), Task(96, 54, 2, 0, 0))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and save; the exit code says whether the bounds held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto", choices=("auto", "float32", "bfloat16", "float16"))
    parser.add_argument("--tile-batch", type=int, default=0)
    parser.add_argument("--compile", action="store_true", help="run the transformer through torch.compile")
    parser.add_argument("--tiny", action="store_true")
    asked = parser.parse_args(arguments)
    lacking = [name for name in PACKAGES if find_spec(name) is None]
    if lacking:
        print(f"not measured: the extra [tsdsr] is not installed ({', '.join(lacking)})", file=sys.stderr)
        return 0
    import torch  # noqa: PLC0415 - an extra; seconds to start

    if not torch.cuda.is_available() and not asked.tiny and asked.device == "auto":
        print("no GPU here: nothing measured", file=sys.stderr)
        return 0
    model = _model(asked)
    tasks = TINY_TASKS if asked.tiny else TASKS
    result: dict[str, Any] = {
        "device": model.facts.device,
        "dtype": model.facts.dtype,
        "tile_batch": model.facts.tile_batch,
        "compiled": asked.compile,
        "tasks": {task.name: measure(model, task, asked.rounds) for task in tasks},
    }
    model.close()
    result["health"] = served(result["device"])
    print(json.dumps(result, indent=2))
    if asked.tiny or result["device"] != "cuda":
        print("tiny, or not a GPU: no bound on seconds applies and nothing is kept", file=sys.stderr)
        return 0 if result["health"]["held"] else 1
    print(f"written to {save('tsdsr', result)}", file=sys.stderr)
    held = [_holds(task, result["tasks"][task.name]) for task in tasks]
    return 0 if all(held) and result["health"]["held"] else 1


def _model(asked: argparse.Namespace) -> Any:  # noqa: ANN401 - its module needs torch
    """Make the networks and put TSD-SR around them."""
    import torch  # noqa: PLC0415 - an extra

    from benchmarks.tsdsr_networks import REAL, TINY, random_networks  # noqa: PLC0415 - an extra
    from upscale_server.models.tsdsr import TsdsrOptions, device  # noqa: PLC0415 - an extra
    from upscale_server.models.tsdsr.loading import card_of  # noqa: PLC0415 - an extra
    from upscale_server.models.tsdsr.memory import TILE_BATCH  # noqa: PLC0415 - an extra
    from upscale_server.models.tsdsr.model import Tsdsr, TsdsrFacts  # noqa: PLC0415 - an extra

    place = device.chosen_device(asked.device)
    dtype = device.chosen_dtype(asked.dtype, place)
    networks = random_networks(TINY if asked.tiny else REAL, place, dtype)
    if asked.compile:
        networks.transformer.compile(mode="max-autotune")
    batch = asked.tile_batch or TILE_BATCH[place.type]
    facts = TsdsrFacts(
        transformer=True, vae=True, device=place.type, dtype=str(dtype), mode="exact", sha256s=(),
        tile_batch=batch, memory_bytes=device.free_bytes(place),
    )  # fmt: skip
    card = card_of((("random", ""),), str(dtype))
    torch.set_grad_enabled(mode=False)
    return Tsdsr(networks, TsdsrOptions("", "", "", device=str(place)), facts, card, print)


def served(device: str) -> dict[str, Any]:
    """Return how soon a server answers that works with TSD-SR: another process, as users have it."""
    import torch  # noqa: PLC0415 - an extra

    from benchmarks.tsdsr_networks import TINY, write_checkpoint  # noqa: PLC0415 - an extra
    from upscale_server.models.tsdsr.device import give_back  # noqa: PLC0415 - an extra

    give_back(torch.device(device))  # what was measured here is over, and the server needs room
    with tempfile.TemporaryDirectory() as name:
        settings = write_checkpoint(TINY, Path(name) / "weights")
        return health(Path(name), "--model", "tsdsr", "--device", device, environment=settings, size=SERVED[device])


def measure(model: Any, task: Task, rounds: int) -> dict[str, Any]:  # noqa: ANN401 - as above
    """Return the seconds of the stages of the best round, of the whole picture and of its PNG, and peak memory."""
    rng = np.random.default_rng(1)
    lr = rng.integers(0, 256, (1, task.height, task.width, 3), dtype=np.uint8)
    view = model.at(task.factor, PROCESS_SIZE)
    begin_peak(model.facts.device)
    _png_seconds(view.upscale(lr).pixels[0])  # kernels are chosen, memory is taken and threads are started once
    found = []
    for _ in range(rounds):
        with watched(model) as stages:
            started = time.perf_counter()
            hr = view.upscale(lr).pixels[0]
            whole = time.perf_counter() - started
        found.append({"picture": whole, **stages, "png": _png_seconds(hr)})
    best = min(found, key=lambda one: one["picture"])
    seconds = {name: round(value, 4) for name, value in best.items()}
    return {"seconds": seconds, "peak_bytes": peak_bytes(model.facts.device), "runs": len(found)}


@contextmanager
def watched(model: Any) -> Iterator[dict[str, float]]:  # noqa: ANN401 - as above
    """Time encoder, transformer and decoder; what the picture takes beside them is input, colour and copying."""
    import torch  # noqa: PLC0415 - an extra

    from upscale_server.models.tsdsr import stages as where  # noqa: PLC0415 - an extra
    from upscale_server.models.tsdsr.vae import Vae  # noqa: PLC0415 - an extra

    on_gpu, seconds = model.facts.device == "cuda", {"encode": 0.0, "transformer": 0.0, "decode": 0.0}

    def timed(name: str, run: Callable[..., Any]) -> Callable[..., Any]:
        def run_timed(*given: Any) -> Any:  # noqa: ANN401 - passes on what it is given
            started = time.perf_counter()
            done = run(*given)
            if on_gpu:
                torch.cuda.synchronize()
            seconds[name] += time.perf_counter() - started
            return done

        return run_timed

    kept = Vae.moments, where.predict, Vae.picture
    Vae.moments, where.predict, Vae.picture = (timed(name, run) for name, run in zip(seconds, kept, strict=True))  # type: ignore[method-assign]
    try:
        yield seconds
    finally:
        Vae.moments, where.predict, Vae.picture = kept  # type: ignore[method-assign]


def begin_peak(device: str) -> None:
    """Forget what an earlier picture took: its blocks go back to the driver, and the peak is counted from here."""
    if device == "cuda":
        import torch  # noqa: PLC0415 - an extra

        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_bytes(device: str) -> int:
    """Return the most memory that was used since `begin_peak` on a GPU; of this process since its start without one."""
    if device == "cuda":
        import torch  # noqa: PLC0415 - an extra

        return int(torch.cuda.max_memory_reserved())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _png_seconds(hr: np.ndarray) -> float:
    """Time what the image server makes of a result."""
    started = time.perf_counter()
    encode_png_fast(Picture(hr))
    return time.perf_counter() - started


def _holds(task: Task, found: dict[str, Any]) -> bool:
    seconds = found["seconds"]
    fast = seconds["picture"] <= task.picture_seconds and seconds["png"] <= task.png_seconds
    return bool(fast and found["peak_bytes"] <= MOST_BYTES)


if __name__ == "__main__":
    sys.exit(main())
