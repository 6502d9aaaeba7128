"""The way that the document of the video server describes, as well as it can be done: what `bench_documented` meets.

ffmpeg makes the frames, resized, and they wait in memory; each thread has an ONNX Runtime session of its own, loaded
and warmed beforehand, and runs the luma network on the Y of its frame; every result is a PNG on the disk, of which
ffmpeg makes the video. OpenCV is what the document installs for pictures. It keeps no sound, times or tags.
"""

from __future__ import annotations

import queue
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime as ort
from imageio_ffmpeg import get_ffmpeg_exe
from numpy.typing import NDArray

from upscale_server.media.types import Size
from upscale_server.models.card import ModelCard

Picture = NDArray[np.uint8]
_QUIET = ("-hide_banner", "-loglevel", "error", "-nostdin")


@dataclass(frozen=True, slots=True)
class Task:
    """A clip and what is to become of it."""

    clip: Path
    size: Size
    rate: Fraction
    preset: str
    crf: int


class DocumentedServer:
    """A pool of sessions, one a thread, as the document's workers are."""

    def __init__(self, card: ModelCard, workers: int, threads_each: int, size: Size) -> None:
        self._scale = card.scale
        self._white = np.float32(card.value_range / 255)
        self._workers = workers
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        cv2.setNumThreads(1)  # the pool has a thread for every core already
        for _ in range(workers):
            settings = ort.SessionOptions()
            settings.intra_op_num_threads = threads_each
            session = ort.InferenceSession(card.path, settings, providers=["CPUExecutionProvider"])
            name = session.get_inputs()[0].name
            session.run(None, {name: np.zeros((1, 1, size.height, size.width), np.float32)})
            self._free.put((session, name))

    def upscale(self, task: Task, folder: Path, output: Path) -> int:
        """Make the output, with the frames' pictures in `folder`, and return how many there were."""
        frames = _extracted(task)
        with ThreadPoolExecutor(self._workers) as pool:
            list(pool.map(lambda numbered: self._one(*numbered, folder), enumerate(frames)))
        command = (
            "-framerate", str(task.rate), "-i", str(folder / "%06d.png"), "-c:v", "libx264", "-preset", task.preset,
            "-crf", str(task.crf), "-pix_fmt", "yuv420p", "-y", str(output),
        )  # fmt: skip
        subprocess.run([get_ffmpeg_exe(), *_QUIET, *command], check=True)
        return len(frames)

    def _one(self, number: int, frame: Picture, folder: Path) -> None:
        """Upscale one frame: Y by the network, colour by a cubic kernel, and write it."""
        luma, *colours = cv2.split(cv2.cvtColor(frame, cv2.COLOR_BGR2YCrCb))
        with self._session() as (session, name):
            found = session.run(None, {name: (luma * self._white)[None, None]})[0][0, 0]
        found /= self._white
        larger = np.clip(np.rint(found, out=found), 0, 255, out=found).astype(np.uint8)
        size = (larger.shape[1], larger.shape[0])
        planes = [larger, *(cv2.resize(one, size, interpolation=cv2.INTER_CUBIC) for one in colours)]
        cv2.imwrite(str(folder / f"{number:06d}.png"), cv2.cvtColor(cv2.merge(planes), cv2.COLOR_YCrCb2BGR))

    @contextmanager
    def _session(self) -> Iterator[Any]:
        taken = self._free.get()
        try:
            yield taken
        finally:
            self._free.put(taken)


def _extracted(task: Task) -> list[Picture]:
    """Return all frames of the clip at the network's input size, as OpenCV has them (BGR)."""
    command = (
        "-i", str(task.clip), "-vf", f"scale={task.size.width}:{task.size.height}", "-f", "rawvideo",
        "-pix_fmt", "bgr24", "-",
    )  # fmt: skip
    run = subprocess.run([get_ffmpeg_exe(), *_QUIET, *command], check=True, stdout=subprocess.PIPE)
    shape = (-1, task.size.height, task.size.width, 3)
    return list(np.frombuffer(run.stdout, np.uint8).reshape(shape))
