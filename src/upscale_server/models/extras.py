"""Which engines' packages are installed, and what to say about one that is not.

It looks for packages without importing them; whether their device works, only loading tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from types import MappingProxyType

from upscale_server.errors import MissingExtra

_EXTRAS: Mapping[str, str] = MappingProxyType(
    {
        "onnxruntime": "onnxruntime",
        "cuda": "cuda",
        "tensorrt": "cuda",
        "torch": "torch",
        "torch-cuda": "torch",
        "tsdsr": "tsdsr",
    }
)
_PACKAGES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "onnxruntime": ("onnxruntime",),
        "cuda": ("onnxruntime",),
        "torch": ("torch", "spandrel", "safetensors"),
        "tsdsr": ("torch", "diffusers", "peft", "transformers", "safetensors"),
    }
)


def installed(engine: str) -> bool:
    """Tell whether an engine's packages are here; whether its device is, only loading tells."""
    return engine not in _EXTRAS or all(find_spec(name) is not None for name in _PACKAGES[_EXTRAS[engine]])


def require(engine: str, what: str = "") -> None:
    """Demand an engine's packages.

    Args:
        engine: which.
        what: wants it, for the message; empty is the engine itself.

    Raises:
        MissingExtra: they are not installed.
    """
    if not installed(engine):
        extra = _EXTRAS[engine]
        raise MissingExtra(
            f"{what or f'engine {engine}'} needs the extra [{extra}], which is not installed",
            hint=f"pip install 'upscale-server[{extra}]'",
        )
