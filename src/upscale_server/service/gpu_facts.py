"""What the GPU has and how much of its memory is in use: asked of the driver, and of torch where torch runs here.

It loads neither; without a GPU there is nothing to tell.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from upscale_server.models.device import first_visible_gpu, nvidia_gpus

_VISIBLE = "CUDA_VISIBLE_DEVICES"
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


def visible_gpus() -> tuple[str, ...]:
    """Return the names of the GPUs that CUDA_VISIBLE_DEVICES leaves us; what names none ends the list, as for CUDA."""
    here = nvidia_gpus()
    visible = os.environ.get(_VISIBLE)
    if visible is None or not here:
        return here
    found: list[str] = []
    for one in map(str.strip, visible.split(",")):
        if one.isdecimal():
            found.append(here[int(one)] if int(one) < len(here) else here[0])
        elif one.startswith(("GPU-", "MIG-")):
            found.append(here[0])
        else:
            break
    return tuple(found)


def gpu_facts() -> GpuFacts | None:
    """Return what is known of the GPU that this process sees first; None without one. Takes up to some seconds.

    Where torch is loaded and cannot use it, as one that is built for the CPU, there is none.
    """
    here = visible_gpus()
    if not here or _torch_has_none():
        return None
    reserved, allocated = _own_memory()
    told = _told_by_driver()
    if told is None:
        return GpuFacts(here[0], reserved_gb=reserved, allocated_gb=allocated)
    name, total, free = told
    return GpuFacts(name, total, free, reserved, allocated)


def _torch_has_none() -> bool:
    cuda = _torch_cuda()
    return cuda is not None and not cuda.is_available()


def _own_memory() -> tuple[float, float]:
    cuda = _torch_cuda()
    if cuda is None or not cuda.is_initialized():
        return 0.0, 0.0
    try:
        return cuda.memory_reserved() / _GB, cuda.memory_allocated() / _GB
    except RuntimeError:  # after a fault of the device nothing can be asked of it in this process
        return 0.0, 0.0


def _torch_cuda() -> Any:  # noqa: ANN401 - a module of a package that may not be installed
    """Return `torch.cuda` where torch is loaded: where nothing has loaded it, it holds no memory."""
    found = getattr(sys.modules.get("torch"), "cuda", None)
    return found if hasattr(found, "memory_allocated") else None  # another thread may be in the middle of the import


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
