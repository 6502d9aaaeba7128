"""Which device and number format are used, how much memory is free there, and what torch says when it is too little.

It loads nothing. A device that is named is used or the start fails; `auto` is a GPU where torch has one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from upscale_server.errors import BadRequest, DeviceUnused, OutOfMemory
from upscale_server.models import host_memory
from upscale_server.models.tsdsr.options import Dtype

_CPU_OUT_OF_MEMORY = ("defaultcpuallocator", "not enough memory", "can't allocate memory", "bad_alloc")
_SHARE = 0.9
"""Of the free memory that is used: the allocator and the driver need the rest."""
_UNTOLD_BYTES = 4 << 30


def chosen_device(asked: str) -> torch.device:
    """Return the device that was asked for.

    Raises:
        BadRequest: torch knows no such device.
        DeviceUnused: a GPU is asked for, and torch cannot use one here.
    """
    if asked == "auto":
        return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(asked)
    except RuntimeError as err:
        raise BadRequest(f"TSD-SR device is {asked!r}; expected auto, cpu, cuda or cuda:N") from err
    if device.type == "cpu":
        return torch.device("cpu")
    if device.type != "cuda":
        raise BadRequest(f"TSD-SR device is {asked!r}; expected auto, cpu, cuda or cuda:N")
    if not torch.cuda.is_available():
        why = "sees no GPU" if torch.version.cuda else "is built for the CPU only"
        raise DeviceUnused(
            f"TSD-SR was asked to run on {asked}, and the installed torch {torch.__version__} {why}",
            hint="install torch for your CUDA version and see that `nvidia-smi` lists the GPU",
        )
    index = torch.cuda.current_device() if device.index is None else device.index
    if index >= torch.cuda.device_count():
        raise DeviceUnused(f"TSD-SR was asked to run on {asked}, and torch sees {torch.cuda.device_count()} GPUs")
    return torch.device("cuda", index)


def chosen_dtype(asked: Dtype, device: torch.device) -> torch.dtype:
    """Return the number format: bfloat16 on a GPU that has it, float32 on the CPU, where `auto` is asked for."""
    if asked != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[asked]
    if device.type == "cpu":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def free_bytes(device: torch.device) -> int:
    """Return the memory that may be used now, of the GPU or of the machine."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(_SHARE * (free + reserved))
    return host_free_bytes()


def host_free_bytes() -> int:
    """Return the memory of the machine or container that may be used now; where nobody tells, a share of 4 GiB."""
    free = host_memory.free_bytes()
    return int(_SHARE * (_UNTOLD_BYTES if free is None else max(0, free)))


@contextmanager
def told_out_of_memory() -> Iterator[None]:
    """Turn torch's ways of saying that memory is used up into ours.

    Raises:
        OutOfMemory: in place of what torch raised.
    """
    try:
        yield
    except torch.OutOfMemoryError as err:
        raise OutOfMemory(f"CUDA out of memory: {_first_line(err)}") from err
    except RuntimeError as err:
        if not any(words in str(err).lower() for words in _CPU_OUT_OF_MEMORY):
            raise
        raise OutOfMemory(f"out of memory: {_first_line(err)}") from err


def give_back(device: torch.device) -> None:
    """Return to the driver what torch keeps for later: the next try needs blocks of other sizes."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Have the same input always give the same bytes: no timing of kernels, none that adds in any order."""
    with (
        torch.inference_mode(),
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
    ):
        if device.type != "cuda":
            yield
            return
        with torch.cuda.device(device):
            yield


def _first_line(err: Exception) -> str:
    return next(iter(str(err).strip().splitlines()), type(err).__name__)[:200]
