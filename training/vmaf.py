"""Measure VMAF and VMAF-NEG with the ffmpeg that imageio-ffmpeg brings.

It does not decode or upscale. Both models are the 1080p ones (v0.6.1), which read high on small frames:
compare only figures of the same size.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from training.shards import Planes

MODELS = r"version=vmaf_v0.6.1\:name=vmaf|version=vmaf_v0.6.1neg\:name=vmaf_neg"
TIMEOUT_SECONDS = 900


def vmaf(found: Planes, expected: Planes) -> dict[str, float]:
    """Return the mean `vmaf` and `vmaf_neg` of luma planes (N, H, W), even height and width.

    Raises:
        subprocess.CalledProcessError: ffmpeg has no libvmaf, or failed otherwise.
    """
    import imageio_ffmpeg  # noqa: PLC0415  optional, only for this measure

    height, width = expected.shape[1:]
    raw = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{width}x{height}", "-r", "30", "-i"]
    with tempfile.TemporaryDirectory() as folder:
        for name, planes in (("found", found), ("expected", expected)):
            _write_yuv(Path(folder, name), planes)
        graph = f"[0:v][1:v]libvmaf=model='{MODELS}':log_fmt=json:log_path=log.json:n_threads=1"
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *raw, "found", *raw, "expected"]
        command += ["-lavfi", graph, "-f", "null", "-"]
        subprocess.run(command, check=True, cwd=folder, timeout=TIMEOUT_SECONDS, capture_output=True)  # noqa: S603
        pooled = json.loads(Path(folder, "log.json").read_text(encoding="utf-8"))["pooled_metrics"]
    return {name: float(pooled[name]["mean"]) for name in ("vmaf", "vmaf_neg")}


def _write_yuv(path: Path, planes: Planes) -> None:
    # VMAF reads luma only; gray chroma keeps ffmpeg from converting ranges.
    chroma = np.full(planes.shape[1] * planes.shape[2] // 2, 128, np.uint8).tobytes()
    with path.open("wb") as stream:
        for plane in planes:
            stream.write(plane.tobytes())
            stream.write(chroma)
