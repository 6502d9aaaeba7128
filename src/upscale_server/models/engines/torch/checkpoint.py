"""Files of weights: safetensors are read as they are, a pickle only to be converted, and never run.

A pickle is a program. It is opened by `torch.load(weights_only=True)`, which builds tensors and plain containers and
refuses everything else; there is no second way in. What comes out is written as safetensors, and only that is kept.
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from upscale_server.errors import ModelInvalid, ModelMissing
from upscale_server.models.engines.torch.architectures import canonical

# torch's message is a page about its own settings; what it met stands in the middle of it.
_CALLED = re.compile(r"GLOBAL ([\w.]+)")
_MET = re.compile(r"WeightsUnpickler error:\s*(.+)")


def weights_of(path: str) -> dict[str, torch.Tensor]:
    """Read the weights of a safetensors file to the CPU.

    Raises:
        ModelMissing: there is no such file.
        ModelInvalid: it is no whole safetensors file.
    """
    if not Path(path).is_file():
        raise ModelMissing(f"there is no model file {path}")
    try:
        found: dict[str, torch.Tensor] = load_file(path)
    except (SafetensorError, OSError, RuntimeError, ValueError) as err:
        raise ModelInvalid(f"{path} is no readable safetensors file: {_first_line(err)}") from err
    return found


def converted(source: Path, target: Path, name: str) -> None:
    """Write the weights of a pickled checkpoint as safetensors.

    Args:
        source: what `torch.save` wrote.
        target: the safetensors file to write.
        name: what to call the source in messages.

    Raises:
        ModelInvalid: the pickle wants to call something, is damaged, or holds no weights.
    """
    state = canonical(_unpickled(source, name))
    weights = {key: value.detach().contiguous().clone() for key, value in state.items() if torch.is_tensor(value)}
    if not weights:
        raise ModelInvalid(f"{name} holds no weights")
    save_file(weights, target, metadata={"format": "pt"})


def _unpickled(source: Path, name: str) -> dict[str, Any]:  # a checkpoint holds anything
    _refuse_damaged(source, name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about how old checkpoints were written
            found = torch.load(source, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as err:
        called, met = _CALLED.search(str(err)), _MET.search(str(err))
        if called is None:
            why = met[1][:200] if met else "it was not written by torch.save"
            raise ModelInvalid(f"{name} is no readable checkpoint: {why}") from err
        raise ModelInvalid(
            f"{name} is a pickle that wants to call {called[1]}; a checkpoint holds weights only",
            hint="get the model as .safetensors, or from a source you trust",
        ) from err
    except (EOFError, OSError, RuntimeError, LookupError, TypeError, ValueError, AttributeError) as err:
        raise ModelInvalid(f"{name} is no readable checkpoint: {_first_line(err)}") from err
    if not isinstance(found, dict):
        raise ModelInvalid(f"{name} holds a {type(found).__name__}; expected named weights")
    return found


def _refuse_damaged(source: Path, name: str) -> None:
    """Hold the parts of a checkpoint against its own checksums, which torch does not.

    Raises:
        ModelInvalid: a part is not what it was; a checkpoint in the old format has no checksums.
    """
    if not zipfile.is_zipfile(source):
        return
    try:
        with zipfile.ZipFile(source) as parts:
            damaged = parts.testzip()
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError, zlib.error) as err:
        raise ModelInvalid(f"{name} is no readable checkpoint: {_first_line(err)}") from err
    if damaged is not None:
        raise ModelInvalid(f"{name} is no readable checkpoint: its part {damaged} is damaged")


def _first_line(err: Exception) -> str:
    return next(iter(str(err).strip().splitlines()), type(err).__name__)[:200]
