"""What the GPU has and how much of its memory is in use: asked of the driver, and of torch where torch runs here.

It loads neither; without a GPU there is nothing to tell.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass

from upscale_server.models.device import first_visible_gpu, nvidia_gpus

_ASK = ("--query-gpu=name,memory.total,memory.free", "--format=csv,noheader,nounits")
_SECONDS = 5.0
_MIB = 2**20
_GB = 2**30


@dataclass(frozen=True, slots=True)
class GpuFacts:
    """One GPU; memory in GB of 2**30 bytes. `reserved` and `allocated` are this process's own, 0 without torch."""

    name: str
    total_gb: float | None = None
    free_gb: float | None = None
    reserved_gb: float | None = None
    allocated_gb: float | None = None


def gpu_facts() -> GpuFacts | None:
    """Return what is known of the GPU that this process sees first; None without one. Takes up to some seconds."""
    here = nvidia_gpus()
    if not here:
        return None
    reserved, allocated = _own_memory()
    told = _told_by_driver()
    if told is None:
        return GpuFacts(here[0], reserved_gb=reserved, allocated_gb=allocated)
    name, total, free = told
    return GpuFacts(name, total, free, reserved, allocated)


def _own_memory() -> tuple[float, float]:
    # Looked up, not imported: where nothing has loaded torch, it holds no memory.
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return 0.0, 0.0
    return torch.cuda.memory_reserved() / _GB, torch.cuda.memory_allocated() / _GB


def _told_by_driver() -> tuple[str, float, float] | None:
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - a fixed question to the driver's own program
            [program, *_ASK], capture_output=True, text=True, check=True, timeout=_SECONDS
        )
        name, total, free = done.stdout.splitlines()[first_visible_gpu()].rsplit(",", 2)
        return name.strip(), int(total) * _MIB / _GB, int(free) * _MIB / _GB
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
