"""Which processor and which GPUs these are and how much we may use: what a measured choice is only true for.

It reads facts and measures nothing; that a GPU works is proved by the engine that loads a model on it.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path

_DRIVER = Path("/proc/driver/nvidia/gpus")
_DEVICES = Path("/dev")


def cpu_name() -> str:
    """Return the processor's name; its architecture where the system does not say more."""
    named = (line.partition(":")[2].strip() for line in _cpu_lines() if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def cpu_computes_bf16() -> bool:
    """Tell whether the processor multiplies bf16 itself (AVX512-BF16 or AMX, ARM's BF16), not by widening it."""
    flags = next((line.split() for line in _cpu_lines() if line.startswith(("flags", "Features"))), [])
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(flags)


def usable_cores() -> int:
    """Return the number of cores that this process may run on."""
    return len(os.sched_getaffinity(0))


def nvidia_gpus() -> tuple[str, ...]:
    """Return the names of NVIDIA's GPUs as the driver tells them, or one name where only a device file shows one."""
    names = [_model(path) for path in sorted(_DRIVER.glob("*/information"))]
    if not names and any((_DEVICES / name).exists() for name in ("nvidia0", "dxg")):
        names = ["NVIDIA GPU"]
    return tuple(names)


def first_visible_gpu() -> int:
    """Return the driver's index of the GPU that is CUDA's first one here, on which networks run.

    The driver's own programs tell of all, whatever `CUDA_VISIBLE_DEVICES` says; a GPU named by its UUID is not looked
    up, and the first one of all stands for it.
    """
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0]
    return int(first) if first.isdigit() else 0


def _model(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("Model:")), "NVIDIA GPU")


def _cpu_lines() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
