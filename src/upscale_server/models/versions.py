"""Which versions of the runtimes are installed: what an output's bytes and a measurement are true for.

It imports none of them: that takes seconds. Which of them runs a model is chosen in `select`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version

from upscale_server.models.load import TORCH_ENGINES

_ONNX_RUNTIMES = ("onnxruntime", "onnxruntime-gpu")
"""Packages of one module; each of them has the engine on the CPU."""
_VERSIONED = ("openvino", *_ONNX_RUNTIMES, "torch", "spandrel")


def made_with(engine: str) -> dict[str, str]:
    """Return the versions that the bytes of an output depend on."""
    names = ["upscale-server", "av", "openvino"]
    if engine in TORCH_ENGINES:
        names += ["torch", "spandrel"]
    runtimes = _installed(_ONNX_RUNTIMES) if engine in {"onnxruntime", "cuda", "tensorrt"} else ()
    return {name: version(name) for name in names} | dict(runtimes)


def versions() -> Iterator[str]:
    """Yield the versions of the runtimes that are here, which decide what is fastest."""
    yield from (f"{name} {found}" for name, found in _installed(_VERSIONED))


def _installed(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            continue
