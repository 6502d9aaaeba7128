"""Which device an engine's name means, what it computes in, and what it answers when memory runs out.

It loads no model. `torch` is the CPU and `torch-cuda` the GPU: whoever names one gets it or an error, never the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

import torch

from upscale_server.errors import DeviceUnused, ModelInvalid, OutOfMemory
from upscale_server.models.device import cpu_computes_bf16, cpu_name

_CPU_OUT_OF_MEMORY = ("defaultcpuallocator", "not enough memory", "can't allocate memory", "bad_alloc")


def engines_here() -> tuple[str, ...]:
    """Return the engines of torch that work here, the one that `auto` means first."""
    return ("torch-cuda", "torch") if torch.cuda.is_available() else ("torch",)


def library_versions() -> tuple[tuple[str, str], ...]:
    """Return the names and versions of what the engine is made of."""
    return ("torch", str(torch.__version__)), ("spandrel", version("spandrel"))


def device_of(engine: str) -> torch.device:
    """Return the device that an engine's name asks for.

    Raises:
        DeviceUnused: a GPU is asked for, and torch cannot use one here.
    """
    if engine == "torch":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        why = "sees no GPU" if torch.version.cuda else "is built for the CPU only"
        raise DeviceUnused(
            f"{engine} was asked for, and the installed torch {torch.__version__} {why}",
            hint="install torch for your CUDA version and see that `nvidia-smi` lists the GPU",
        )
    return torch.device("cuda", torch.cuda.current_device())


def precisions_of(device: torch.device) -> tuple[str, ...]:
    """Return what a device computes fast, best first; f16 has 11 significant bits and bf16 has 8."""
    if device.type == "cpu":
        return ("bf16", "f32") if cpu_computes_bf16() else ("f32",)
    return ("f16", "bf16", "f32") if torch.cuda.is_bf16_supported() else ("f16", "f32")


def device_name(device: torch.device) -> str:
    """Name a device for people."""
    if device.type == "cpu":
        return f"CPU ({cpu_name()})"
    return f"GPU {device.index} ({torch.cuda.get_device_name(device)})"


def precision_named(dtype: torch.dtype) -> str:
    """Return our name of an element type."""
    return {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}[dtype]


def make_ready(device: torch.device, threads: int) -> None:
    """Set what torch keeps for the whole process: equal bytes on each run, f32 that is f32, our share of the cores."""
    torch.set_num_threads(threads)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = False  # it chooses kernels by the clock, and with them bytes
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.allow_tf32 = False  # TF32 keeps 10 bits of a factor
        torch.backends.cuda.matmul.allow_tf32 = False


def refuse_elsewhere(found: torch.device, wanted: torch.device) -> None:
    """Hold the place of weights or results against the one asked for.

    Raises:
        DeviceUnused: they are elsewhere.
    """
    if found.type != wanted.type:
        raise DeviceUnused(f"{wanted.type} was asked for, and the network is on {found.type}")


@contextmanager
def faults_are_named() -> Iterator[None]:
    """Raise OutOfMemory where torch runs out of it, ModelInvalid where it cannot run the network."""
    try:
        yield
    except (torch.cuda.OutOfMemoryError, MemoryError) as err:
        raise OutOfMemory("the network's tile does not fit into memory") from err
    except (RuntimeError, ValueError, AssertionError, LookupError) as err:
        text = next(iter(str(err).strip().splitlines()), type(err).__name__)
        if any(sign in str(err).lower() for sign in _CPU_OUT_OF_MEMORY):
            raise OutOfMemory("the network's tile does not fit into memory") from err
        raise ModelInvalid(f"torch cannot run the model: {text[:200]}") from err
