"""Models that the user added: copied into the state folder with a complete card, and found there by name.

It copies and describes; what a file is is found out by the catalogue, and nothing of a file is run but its network.
A pickled checkpoint is converted on the way in, so that no pickle is ever opened to run.
"""

from __future__ import annotations

import http.client
import json
import re
import shutil
import tempfile
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from upscale_server.errors import BadRequest, ModelInvalid, ModelMissing, StorageError
from upscale_server.models import catalogue
from upscale_server.models.card import ModelCard
from upscale_server.models.catalogue import CHECKPOINT, MODEL_SUFFIXES, PICKLES, card_of_file, sha256_of
from upscale_server.models.extras import require
from upscale_server.models.metadata import hold_against, refuse_another_scale
from upscale_server.models.redirects import open_address

LARGEST_MODEL_BYTES = 2 << 30
"""An ONNX file cannot be larger: it is one protobuf message; no checkpoint for super-resolution is."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_STEP = 1 << 20
_ANSWER_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Addition:
    """What is to be added.

    `source` is a file, or an https address, which needs `sha256`; `name` empty is the file's own; `scale` 0 takes any.
    `metadata` is a JSON file about the model, our own card or OpenModelDB's entry; empty is the one beside the file.
    """

    source: str
    sha256: str = ""
    name: str = ""
    scale: int = 0
    licence: str = ""
    metadata: str = ""
    allow_pickle: bool = False


def add(asked: Addition, folder: Path) -> ModelCard:
    """Copy a model into the folder and write its card; afterwards it is found by its name.

    Raises:
        BadRequest: the name cannot be used or is taken, an address without https or SHA-256, or a pickle without leave.
        MissingExtra: it is a checkpoint, and torch is not here to read it.
        ModelMissing: the file is not there, or the address does not answer with it.
        ModelInvalid: the bytes are others than asked for, no super-resolution model, or of another scale.
        StorageError: the folder cannot be written.
    """
    name = _name(asked, folder)
    with _staging(folder) as staging:
        staged = staging / f"{name}{_suffix(asked)}"
        _fetch(asked, staged)
        said = _said(asked, staged)
        found = sha256_of(staged)
        if asked.sha256 and found != asked.sha256.lower():
            raise ModelInvalid(
                f"{asked.source} has SHA-256 {found}; asked for was {asked.sha256.lower()}",
                hint="the file is damaged or not the one that was meant: get it again from a source you trust",
            )
        hold_against(said, asked.source, found)
        staged = _as_weights(staged, asked.source)
        card = _card_of(staged, asked.source)
        refuse_another_scale(said, asked.source, card.scale)
        if asked.scale and card.scale != asked.scale:
            raise ModelInvalid(f"{asked.source} is a model of scale {card.scale}; asked for was {asked.scale}")
        card = replace(card, name=name, licence=asked.licence or card.licence)
        facts = {**_as_written(card), "made_from_sha256": found}
        staged.with_suffix(".json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        # The card last: a model without one is looked at again, a card without its model would be a riddle.
        for part in (staged, staged.with_suffix(".json")):
            part.replace(folder / part.name)
    return replace(card, path=str(folder / staged.name))


def added(folder: Path) -> list[ModelCard]:
    """Return the cards of the models that were added, by name.

    Raises:
        ModelInvalid: a card there was damaged.
    """
    paths = (path for path in folder.glob("*") if path.suffix in MODEL_SUFFIXES)
    return [card_of_file(path) for path in sorted(paths)]


def path_of(name: str | None, folder: Path) -> str | None:
    """Return the file of an added model; any other name, as it is."""
    if not name or not _NAME.fullmatch(name):
        return name
    found = (folder / f"{name}{suffix}" for suffix in MODEL_SUFFIXES)
    return next((str(path) for path in found if path.is_file()), name)


def _suffix(asked: Addition) -> str:
    """Return the kind of file that is added; what has no known suffix is tried as ONNX.

    Raises:
        BadRequest: it is a pickle, and nobody said that it may be opened.
        MissingExtra: torch is needed to read it and not here.
    """
    suffix = Path(urllib.parse.urlsplit(asked.source).path).suffix
    if suffix in PICKLES and not asked.allow_pickle:
        raise BadRequest(
            f"{asked.source} is a pickle, which can hold code",
            hint="--allow-pickle reads its weights, through a loader that builds nothing else",
        )
    if suffix not in (CHECKPOINT, *PICKLES):
        return ".onnx"
    require("torch", asked.source)
    return suffix


def _said(asked: Addition, staged: Path) -> dict[str, Any]:  # JSON values of many types
    """Put the JSON that was given beside the staged file, and return what it says; nothing where there is none.

    Raises:
        ModelMissing: the file that was named is not there.
        ModelInvalid: it is no JSON object.
    """
    beside = staged.with_suffix(".json")
    if asked.metadata:
        if not Path(asked.metadata).is_file():
            raise ModelMissing(f"there is no metadata file {asked.metadata}")
        shutil.copyfile(asked.metadata, beside)
    return catalogue.read_card(beside, asked.metadata) if beside.is_file() else {}


def _as_weights(staged: Path, source: str) -> Path:
    """Return the file that is kept: a pickle's weights as safetensors, anything else as it is.

    Raises:
        ModelInvalid: the pickle wants to call something, is damaged, or holds no weights.
    """
    if staged.suffix not in PICKLES:
        return staged
    from upscale_server.models.engines.torch import converted  # noqa: PLC0415 - an extra, and slow to start

    target = staged.with_suffix(CHECKPOINT)
    converted(staged, target, source)
    return target


def _card_of(staged: Path, source: str) -> ModelCard:
    """Return the card of a staged file; what is wrong with it is said of its source.

    Raises:
        ModelInvalid: it is no super-resolution model.
    """
    try:
        return card_of_file(staged)
    except ModelInvalid as err:
        raise ModelInvalid(err.detail.replace(str(staged), source), hint=err.hint) from err


def _name(asked: Addition, folder: Path) -> str:
    """Return the name that the model gets.

    Raises:
        BadRequest: it cannot be used.
    """
    name = asked.name or _without_suffix(Path(urllib.parse.urlsplit(asked.source).path).name)
    if not _NAME.fullmatch(name):
        raise BadRequest(f"name is {name!r}; expected letters, digits, '.', '_' and '-'", hint="choose one with --name")
    ours = {text for card in catalogue.available() for text in (card.name, f"{card.name}-x{card.scale}")}
    if name in ours or any((folder / f"{name}{suffix}").exists() for suffix in MODEL_SUFFIXES):
        raise BadRequest(f"there is a model {name} already", hint="choose another name with --name")
    return name


def _without_suffix(name: str) -> str:
    return next((name.removesuffix(suffix) for suffix in (*MODEL_SUFFIXES, *PICKLES) if name.endswith(suffix)), name)


def _fetch(asked: Addition, target: Path) -> None:
    """Copy the file, or load it from its address, up to the largest size.

    Raises:
        BadRequest: an address without https or SHA-256.
        ModelMissing: nothing is there.
        ModelInvalid: it is larger than a model can be.
    """
    if "://" not in asked.source:
        if not Path(asked.source).is_file():
            raise ModelMissing(f"there is no model file {asked.source}")
        with Path(asked.source).open("rb") as source:
            _copy(source, target, asked.source)
        beside = Path(asked.source).with_suffix(".json")
        if beside.is_file():  # what the user says of the model wins over what looking at it shows
            shutil.copyfile(beside, target.with_suffix(".json"))
        return
    if not asked.source.startswith("https://") or not asked.sha256:
        raise BadRequest(f"{asked.source} cannot be loaded: an address needs https and --sha256")
    try:  # an error of the disk is seen again when the next file is written
        with open_address(asked.source, _ANSWER_SECONDS) as answer:
            _copy(answer, target, asked.source)
    except (OSError, http.client.HTTPException) as err:
        raise ModelMissing(f"{asked.source} does not answer with a model: {getattr(err, 'reason', err)}") from err


def _copy(source: BinaryIO, target: Path, name: str) -> None:
    """Copy at most `LARGEST_MODEL_BYTES`."""
    with target.open("wb") as file:
        while step := source.read(_STEP):
            file.write(step)
            if file.tell() > LARGEST_MODEL_BYTES:
                raise ModelInvalid(f"{name} is larger than {LARGEST_MODEL_BYTES} bytes, the most that a model has")


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """Give a folder on the same disk that is gone afterwards; what was refused leaves no trace.

    Raises:
        StorageError: the disk cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".adding-", dir=folder))
        try:
            yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as err:
        raise StorageError(f"{folder} cannot be written: {(err.strerror or str(err)).lower()}") from err


def _as_written(card: ModelCard) -> dict[str, object]:
    """Return the card as its file holds it: beside the model, under its name."""
    facts = asdict(card)
    del facts["path"]
    return {**facts, "file": Path(card.path).name}
