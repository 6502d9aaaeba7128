"""spandrel, importable without torchvision: from named weights to a network of a known architecture.

It reads no files (`checkpoint` does) and runs nothing.

The trap: spandrel 0.4 registers all its architectures when it is imported, and two of them, neither for
super-resolution, take three names from torchvision, which is often missing or built for another torch. Where it does
not import, these names are lent while spandrel starts, and taken back; nobody else sees them. docs/decisions/0012.
Importing this module starts spandrel: once, under Python's import lock, so that two threads cannot do it at once.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from types import ModuleType
from typing import Any, NoReturn

import torch

from upscale_server.errors import ModelInvalid

Descriptor = Any
"""spandrel's `ImageModelDescriptor`: a network with its facts; torch and spandrel need not be there for the types."""

_NEEDED = "torchvision.transforms.functional"
_LENT = ("InterpolationMode", "normalize", "rotate")
_PURPOSES = frozenset({"SR", "Restoration"})
# What parsers of foreign names, shapes and numbers raise when the weights do not fit.
_MISFITS = (AssertionError, ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def torchvision_works() -> bool:
    """Tell whether what spandrel wants of torchvision can be imported.

    Missing is an ImportError, a library it links an OSError, and one built for another torch a RuntimeError.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about its image codecs, which nobody here asks for
            importlib.import_module(_NEEDED)
    except (ImportError, OSError, RuntimeError):
        return False
    return True


@contextmanager
def lent_torchvision() -> Iterator[None]:
    """Put modules in torchvision's place that have the names spandrel imports, and nothing behind them."""
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "torchvision"}
    for name in before:
        del sys.modules[name]
    parts = _NEEDED.split(".")
    names = [".".join(parts[: count + 1]) for count in range(len(parts))]
    sys.modules.update({name: ModuleType(name) for name in names})
    for name in _LENT:
        setattr(sys.modules[_NEEDED], name, _absent)
    try:
        yield
    finally:
        for name in names:
            sys.modules.pop(name, None)


def _absent(*_: object, **__: object) -> NoReturn:
    message = "this architecture needs torchvision, which is not here"
    raise RuntimeError(message)


def _started() -> ModuleType:
    """Import spandrel."""
    with nullcontext() if torchvision_works() else lent_torchvision():
        import spandrel  # noqa: PLC0415 - within, see above

    started: ModuleType = spandrel
    return started


_SPANDREL = _started()


def described(weights: Mapping[str, torch.Tensor], name: str) -> Descriptor:
    """Return the network that the weights belong to, in f32 on the CPU, ready to run.

    Args:
        weights: by the names that the network's author gave them.
        name: of the file, for messages.

    Raises:
        ModelInvalid: no architecture that is known, not one picture in and one out, or weights that do not fit.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # architectures of others warn about others' code
            found = _SPANDREL.MAIN_REGISTRY.load(dict(weights))
    except _SPANDREL.UnsupportedModelError as err:
        raise ModelInvalid(f"{name} holds weights of no architecture that is known") from err
    except _MISFITS as err:
        raise ModelInvalid(f"{name} holds weights that do not fit their architecture: {_first_line(err)}") from err
    if found.purpose not in _PURPOSES:
        raise ModelInvalid(f"{name} is a {found.architecture.name} for {found.purpose}, not for super-resolution")
    if not found.input_channels == found.output_channels or found.input_channels not in {1, 3}:
        raise ModelInvalid(
            f"{name} takes {found.input_channels} channels and gives {found.output_channels}; expected 1 or 3 both ways"
        )
    found.model.eval().requires_grad_(requires_grad=False).float()
    return found


def canonical(state: Mapping[str, Any]) -> dict[str, Any]:  # a checkpoint holds anything
    """Return the weights inside a checkpoint, without what training wrapped around them."""
    return dict(_SPANDREL.canonicalize_state_dict(dict(state)))


def tiling_advice(descriptor: Descriptor) -> str:
    """Return what the architecture says about cutting pictures: empty where it does not mind."""
    return {"DISCOURAGED": "discouraged", "INTERNAL": "discouraged: it cuts the picture itself"}.get(
        descriptor.tiling.name, ""
    )


def _first_line(err: Exception) -> str:
    return next(iter(str(err).strip().splitlines()), type(err).__name__)[:200]
