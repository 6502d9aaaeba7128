"""Find models: our own beside this file, and any ONNX file or safetensors checkpoint by path.

It makes cards and checks files against them; running a network belongs to the engines, and OpenVINO or torch is
imported only to look at a file that has no complete card.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from upscale_server.errors import BadScale, ModelInvalid, ModelMissing
from upscale_server.models.card import ModelCard
from upscale_server.models.extras import require
from upscale_server.models.metadata import card_facts
from upscale_server.models.onnx_file import refuse_other_files

BUILTIN = Path(__file__).parent / "builtin"
"""Where our own weights and their cards are."""

LANCZOS, BICUBIC = "lanczos", "bicubic"
CLASSICAL = (LANCZOS, BICUBIC)
"""The names of the kernels without weights; each is a model and the engine that runs it."""

CHECKPOINT = ".safetensors"
"""The suffix of weights without operations; spandrel knows the architectures they belong to."""

MODEL_SUFFIXES = (".onnx", CHECKPOINT)
"""What files a model runs from."""

PICKLES = (".pth", ".pt", ".ckpt")
"""Checkpoints that may hold code: they are converted when they are added, and never opened to run."""

DEFAULT_FAMILIES = ("fast", "fast-clean")
"""What video is upscaled with when nothing is asked for: made for compressed sources first."""
CLASSICAL_SCALES = range(1, 9)
_KERNEL_FACTS = {
    LANCZOS: (3, "plain enlargement without a network; sharper than bicubic", "rings beside hard edges"),
    BICUBIC: (
        2,
        "plain enlargement without a network: what previews show as before",
        "Keys, a = -0.5; softer than lanczos",
    ),
}
"""How far each reaches in LR pixels, what it is, and what it does not do."""

# What inspecting a file finds out; with all of it in the card beside the file, nothing need be tried.
_FOUND_BY_INSPECTION = frozenset(
    {"scale", "domain", "layout", "value_range", "receptive_field", "size_multiple", "fixed_size"}
)
_NUMBERS = frozenset({"scale", "value_range", "receptive_field", "size_multiple", "context_frames"})
_RENAMED = {"bytes": "byte_count"}
_FIELDS = frozenset(field.name for field in fields(ModelCard))


def find(name_or_path: str, scale: int) -> ModelCard:
    """Return the card of a model.

    Args:
        name_or_path: `lanczos`, `bicubic`, the family name of one of ours (`fast`), its stem (`fast-x2`), or a path
            to an ONNX or safetensors file. A file's own scale counts, whatever `scale` says: look at the card.
        scale: which of the family's models.

    Raises:
        ModelMissing: no such model; the message lists what there is.
        ModelInvalid: the file is no super-resolution model.
        BadScale: a classical kernel is asked for a scale beyond 8.
    """
    if name_or_path in CLASSICAL:
        return classical_card(name_or_path, scale)
    if is_file_name(name_or_path):
        return card_of_file(Path(name_or_path))
    for card in _builtin_cards():
        if name_or_path in {f"{card.name}-x{card.scale}", card.name} and card.scale == scale:
            return card
    raise ModelMissing(
        f"there is no model {name_or_path!r} of scale {scale}; there are {_listed()}",
        hint="give the path of an .onnx or .safetensors file to use another network",
    )


def family(name: str | None) -> dict[int, ModelCard]:
    """Return the cards of a model family by scale: what a plan may make its passes of.

    Args:
        name: as `find` takes it; None is the first of `DEFAULT_FAMILIES` that is here.

    Raises:
        ModelMissing, ModelInvalid: as `find`.
    """
    if name in CLASSICAL:
        return {scale: classical_card(name, scale) for scale in (2, 3, 4)}
    if name is not None and is_file_name(name):
        card = card_of_file(Path(name))
        return {card.scale: card}
    cards = _builtin_cards()
    wanted = [name] if name is not None else DEFAULT_FAMILIES
    for one in wanted:
        found = {card.scale: card for card in cards if one in {card.name, f"{card.name}-x{card.scale}"}}
        if found:
            return found
    raise no_such_model(str(name))


def is_file_name(name: str) -> bool:
    """Tell whether a name is that of a model file, also of a kind that is refused."""
    return name.endswith((*MODEL_SUFFIXES, *PICKLES))


def available() -> list[ModelCard]:
    """Return the cards of all models that are here: our own by name and scale, then the classical ones x2."""
    return [*_builtin_cards(), *(classical_card(name, 2) for name in CLASSICAL)]


def classical_card(name: str, scale: int) -> ModelCard:
    """Return the card of a classical kernel.

    Raises:
        BadScale: the scale is not 1 to 8.
    """
    if scale not in CLASSICAL_SCALES:
        raise BadScale(f"scale is {scale}; {name} takes {CLASSICAL_SCALES.start} to {CLASSICAL_SCALES.stop - 1}")
    reach, summary, limits = _KERNEL_FACTS[name]
    return ModelCard(
        name=name,
        scale=scale,
        domain="luma",
        receptive_field=reach,
        precisions=("integer",),
        summary=summary,
        limits=limits,
        licence="Apache-2.0",
    )


def verify(card: ModelCard) -> None:
    """Hold a file against the hash on its card, which covers all of the model: there is no second file.

    Raises:
        ModelMissing: the file is gone.
        ModelInvalid: the bytes are not the ones that the card describes, or name others.
    """
    path = Path(card.path)
    if not path.is_file():
        raise ModelMissing(f"there is no model file {path}; there are {_listed()}")
    found = sha256_of(path)
    if card.sha256 and found != card.sha256:
        raise ModelInvalid(
            f"{path} has SHA-256 {found}; its card says {card.sha256}",
            hint="the file was changed or is damaged: install it again, or correct the card beside it",
        )
    if path.suffix != CHECKPOINT:
        refuse_other_files(path)


def _builtin_cards() -> list[ModelCard]:
    """Return our own models, sorted by name and scale."""
    cards = [_card_beside(path, read_card(path)) for path in BUILTIN.glob("*.json")]
    return sorted(cards, key=lambda card: (card.name, card.scale))


def card_of_file(path: Path) -> ModelCard:
    """Return the card of a file: what the JSON beside it says, and the rest by looking at the network.

    Raises:
        ModelMissing: there is no such file.
        ModelInvalid: the file is no super-resolution model, or not the one on its card.
        MissingExtra: it is a checkpoint without a complete card, and torch is not here to look at it.
    """
    if path.suffix in PICKLES:
        raise ModelInvalid(
            f"{path} is a pickle, which can hold code; it is not opened to run",
            hint=f"upscale models add {path} --allow-pickle converts its weights",
        )
    if not path.is_file():
        raise ModelMissing(f"there is no model file {path}; there are {_listed()}")
    beside = path.with_suffix(".json")
    said = card_facts(read_card(beside)) if beside.is_file() else {}
    card = _card_beside(path, {"name": path.stem, "scale": 0, "domain": "luma", **said, "file": path.name})
    if not card.sha256:
        card = replace(card, sha256=sha256_of(path), byte_count=path.stat().st_size)
    verify(card)
    given = frozenset(said) & _FOUND_BY_INSPECTION
    if given >= _FOUND_BY_INSPECTION - {"fixed_size", "layout"}:
        return card
    return _inspected(card, given, said)


def _inspected(card: ModelCard, given: frozenset[str], said: Mapping[str, Any]) -> ModelCard:
    """Return the card with what looking at the file showed; the imports stand here because they cost start-up time."""
    if Path(card.path).suffix == CHECKPOINT:
        require("torch", card.path)
        from upscale_server.models.engines import torch  # noqa: PLC0415 - see above

        return torch.inspect(card, given | ({"precisions"} & said.keys()))
    from upscale_server.models.engines import openvino  # noqa: PLC0415 - see above

    # Untried precisions are all offered: the self-test at load decides.
    precisions = card.precisions if "precisions" in said else ("bf16", "f32")
    return openvino.inspect(replace(card, precisions=precisions), given)


def _card_beside(path: Path, said: Mapping[str, Any]) -> ModelCard:
    """Make a card of what a JSON file says; `file` is relative to its folder.

    Raises:
        ModelInvalid: the JSON does not hold what a card needs.
    """
    values = {_RENAMED.get(key, key): _frozen(value) for key, value in said.items()}
    values["path"] = str(path.parent / str(said.get("file", "")))
    values["measured"] = _as_text(said.get("measured", ""))
    for key in _NUMBERS & values.keys():
        if not isinstance(values[key], (int, float)) or isinstance(values[key], bool):
            raise ModelInvalid(f"the card of {path} says {key} is {values[key]!r}; expected a number")
    try:
        return ModelCard(**{key: value for key, value in values.items() if key in _FIELDS})
    except TypeError as err:
        raise ModelInvalid(f"the card of {path} is incomplete: {err}") from err


def read_card(path: Path, name: str = "") -> dict[str, Any]:  # JSON values of many types
    """Read a card file.

    Args:
        path: of the file.
        name: what to call it in messages; empty is its path.

    Raises:
        ModelInvalid: it is no JSON object.
    """
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as err:
        raise ModelInvalid(f"the card {name or path} cannot be read: {err}") from err
    if not isinstance(said, dict):
        raise ModelInvalid(f"the card {name or path} holds {type(said).__name__}; expected an object")
    return said


def _frozen(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return lists as tuples, as cards hold them."""
    return tuple(value) if isinstance(value, list) else value


def _as_text(measured: Any) -> str:  # noqa: ANN401 - any JSON value
    """Return a measurement as text, whatever form the card file gives it."""
    return measured if isinstance(measured, str) else json.dumps(measured, sort_keys=True)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as lower-case hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def no_such_model(name: str, added: Iterable[str] = ()) -> ModelMissing:
    """Return the error for a name that nothing has; it lists our own models and those that the user added."""
    return ModelMissing(
        f"there is no model {name!r}; there are {', '.join([_listed(), *added])}",
        hint="give the path of an .onnx or .safetensors file to use another network",
    )


def _listed() -> str:
    """Name what is here, for messages."""
    return ", ".join([*(f"{card.name}-x{card.scale}" for card in _builtin_cards()), *CLASSICAL])
