"""What a plan that was made elsewhere needs here, and the same plan with this machine's paths.

It decides nothing about the plan: no byte depends on where files lie.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from importlib.metadata import PackageNotFoundError
from pathlib import Path

from upscale_server.cluster.orders import Needs, needs_of
from upscale_server.errors import ModelMissing, UpscaleError
from upscale_server.models.at_hand import models_folder
from upscale_server.models.card import ModelCard
from upscale_server.models.catalogue import CLASSICAL, MODEL_SUFFIXES, available, card_of_file, classical_card
from upscale_server.models.choices import Candidate
from upscale_server.models.device import nvidia_gpus
from upscale_server.models.select import BUILT, candidates
from upscale_server.models.versions import made_with
from upscale_server.plan import Plan
from upscale_server.settings import Settings


def lacking(needs: Needs, settings: Settings) -> str:
    """Return what is needed and not here, in words; empty where nothing is."""
    try:
        cards = [_card(*one, settings) for one in needs.cards]
    except UpscaleError as err:
        return err.detail
    try:
        found = made_with(needs.engine)
    except PackageNotFoundError as err:
        return f"package {err.name} is not installed"
    for name, version in needs.made_with:
        if found.get(name) != version:
            return f"{name} is {found.get(name, 'not installed')}; the job was planned with {version}"
    if needs.decoder != "cpu" and not nvidia_gpus():
        return f"there is no GPU to decode with ({needs.decoder})"
    if needs.engine not in CLASSICAL and not _runs(cards[0], needs):
        return f"engine {needs.engine} in {needs.precision} does not run here"
    return ""


def _runs(card: ModelCard, needs: Needs) -> bool:
    # An engine that is built for frames of one size is offered only when it is built; where CUDA runs it can be.
    engine = "cuda" if needs.engine == BUILT else needs.engine
    return any(one.precision == needs.precision for one in candidates(card, Candidate(engine, "auto")))


def localized(plan: Plan, source: Path, settings: Settings) -> Plan:
    """Return a plan with this machine's paths: of its source, and of its networks.

    Raises:
        ModelMissing: a network is not here.
    """
    cards = [_card(*one, settings) for one in needs_of(plan).cards]
    # What the plan's card says counts: somebody may have written another one beside the same file here.
    passes = tuple(
        replace(one, card=replace(one.card, path=card.path)) for one, card in zip(plan.passes, cards, strict=True)
    )
    info = replace(plan.source, path=str(source), modified_ns=source.stat().st_mtime_ns)
    return replace(plan, source=info, passes=passes)


def _card(name: str, scale: int, sha256: str, settings: Settings) -> ModelCard:
    """Return the card of this very network.

    Raises:
        ModelMissing: it is not here.
    """
    if name in CLASSICAL and not sha256:
        return classical_card(name, scale)
    named = [_card_at(path) for path in _files(settings) if path.stem == name or str(path) == settings.model_path]
    for card in (*available(), *named):
        if (card.scale, card.sha256) == (scale, sha256):
            return card
    raise ModelMissing(
        f"model {name} of scale {scale} (SHA-256 {sha256[:12]}…) is not here",
        hint="add the same file on every machine: upscale models add FILE",
    )


def _card_at(path: Path) -> ModelCard:
    found = path.stat()
    return _card_of(path, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=64)
def _card_of(path: Path, _byte_count: int, _modified_ns: int) -> ModelCard:
    """Return a file's card; each segment asks for it, and to read a network takes a while."""
    return card_of_file(path)


def _files(settings: Settings) -> list[Path]:
    """Return the files of networks that are not ours: those that were added, and the machine's own."""
    added = [path for path in models_folder(settings).glob("*") if path.suffix in MODEL_SUFFIXES]
    own = Path(settings.model_path)
    return [*added, own] if own.suffix in MODEL_SUFFIXES and own.is_file() else added
