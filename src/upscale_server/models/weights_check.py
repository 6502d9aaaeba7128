"""Looks at TSD-SR's weight files without loading them: the right kind, whole, and the same as the user pinned.

It reads heads and hashes. Whether the shapes fit together, only loading tells.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from upscale_server.errors import BadRequest, ModelInvalid, ModelMissing
from upscale_server.models.catalogue import sha256_of
from upscale_server.models.tsdsr.files import NETWORK

PINS = "SHA256SUMS"
_LONGEST_HEAD = 100_000_000
"""The format's own bound for its head (safetensors, Format)."""
_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](.+)")


def check_sd3(folder: Path) -> None:
    """Demand a diffusers folder of Stable Diffusion 3: its transformer and its VAE.

    Raises:
        ModelInvalid, ModelMissing: it is something else, or not whole.
    """
    for part, kind in (("transformer", "SD3Transformer2DModel"), ("vae", "AutoencoderKL")):
        config = _config(folder / part / "config.json")
        if config.get("_class_name") != kind:
            raise ModelInvalid(f"{folder / part} holds a {config.get('_class_name')}; expected {kind}")
        others = sorted(path.name for path in (folder / part).glob("*.safetensors") if path.name not in NETWORK)
        for name in NETWORK[1:]:
            if others and not (folder / part / name).is_file():
                raise ModelMissing(
                    f"there is no file {folder / part / name}, only {others[0]}",
                    hint="shards and fp16 alone are not opened: save it again in one file, or take another copy",
                )
            tensors_in(folder / part / name)
        for index in (folder / part).glob("*.safetensors.index.json"):
            _check_index(index)


def check_lora(folder: Path) -> None:
    """Demand TSD-SR's LoRA pairs for the transformer and the VAE.

    Raises:
        ModelInvalid, ModelMissing: they are something else, or not whole.
    """
    for name in ("transformer.safetensors", "vae.safetensors"):
        names = tensors_in(folder / name)
        ours = [one for one in names if re.fullmatch(r"transformer\..+\.lora_[AB]\.weight", one)]
        if not ours or len(ours) != len(names):
            raise ModelInvalid(
                f"{folder / name} holds {len(names)} tensors of which {len(ours)} are TSD-SR's LoRA",
                hint="expected names such as transformer.pos_embed.proj.lora_A.weight and nothing else",
            )


def check_embeddings(folder: Path) -> None:
    """Demand the two prompt embeddings, as torch has saved them since 1.6.

    Raises:
        ModelInvalid, ModelMissing: they are something else.
    """
    for name in ("prompt_embeds.pt", "pool_embeds.pt"):
        path = folder / name
        if not path.is_file():
            raise ModelMissing(f"there is no file {path}")
        with path.open("rb") as file:
            begins_well = file.read(4) == b"PK\x03\x04"
        if not begins_well:
            raise ModelInvalid(f"{path} is no tensor that torch saved (a zip archive)")


def tensors_in(path: Path) -> list[str]:
    """Return the names of the tensors in a safetensors file, whose length must be what its head says.

    Source: https://huggingface.co/docs/safetensors, Format: eight bytes of length, that much JSON, the data.

    Raises:
        ModelMissing: there is no such file.
        ModelInvalid: it is no safetensors file, or its end is missing.
    """
    if not path.is_file():
        raise ModelMissing(f"there is no file {path}")
    found = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(found, _LONGEST_HEAD):
            raise ModelInvalid(f"{path} is no safetensors file")
        try:
            head = json.loads(file.read(length))
            tensors = {name: facts for name, facts in head.items() if name != "__metadata__"}
            expected = 8 + length + max((facts["data_offsets"][1] for facts in tensors.values()), default=0)
        except (ValueError, AttributeError, KeyError, TypeError, IndexError) as err:
            raise ModelInvalid(f"{path} is no safetensors file: its head is damaged") from err
    if found != expected:
        raise ModelInvalid(f"{path} has {found} bytes; its head says {expected}", hint="it is damaged: get it again")
    return list(tensors)


def hold_against(pins: Mapping[str, str], found: Mapping[str, str], source: str) -> None:
    """Compare SHA-256s by name; a pinned file that is missing is as wrong as one that is another.

    Raises:
        ModelInvalid: with the first difference.
    """
    for name, pin in pins.items():
        if found.get(name) != pin:
            raise ModelInvalid(
                f"{name} has SHA-256 {found.get(name, '(it is not there)')}; {source} says {pin}",
                hint="it is damaged or another release; remove it to fetch it again, or the pin to accept it",
            )


def read_pins(path: Path) -> dict[str, str]:
    """Return the SHA-256 of each file as `sha256sum` writes them.

    Raises:
        BadRequest: it cannot be read, or is something else.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as err:
        raise BadRequest(f"pins {path} cannot be read: {err}") from err
    pins: dict[str, str] = {}
    for line in filter(str.strip, lines):
        match = _LINE.fullmatch(line)
        if match is None:
            raise BadRequest(f"pins {path} have the line {line[:80]!r}", hint="expected: SHA-256, two spaces, name")
        pins[match[2].removeprefix("./")] = match[1].lower()
    return pins


def write_pins(path: Path, found: Mapping[str, str]) -> None:
    """Write them as `sha256sum` does; it can check them where all parts were fetched to below this folder."""
    part = path.with_name(f".{path.name}.part")
    part.write_text("".join(f"{value}  {name}\n" for name, value in sorted(found.items())), encoding="utf-8")
    part.replace(path)


def hashes_of(files: Mapping[str, Path]) -> dict[str, str]:
    """Return the SHA-256 of each file, by name."""
    return {name: sha256_of(path) for name, path in files.items()}


def _config(path: Path) -> dict[str, Any]:  # JSON values of many types
    if not path.is_file():
        raise ModelMissing(f"there is no file {path}")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as err:
        raise ModelInvalid(f"{path} is no JSON") from err
    if not isinstance(config, dict):
        raise ModelInvalid(f"{path} is no JSON object")
    return config


def _check_index(index: Path) -> None:
    """Demand the shards that an index names."""
    shards = _config(index).get("weight_map", {})
    missing = sorted({str(name) for name in shards.values() if not (index.parent / str(name)).is_file()})
    if missing:
        raise ModelMissing(f"{index} names {missing[0]}, which is not there")
