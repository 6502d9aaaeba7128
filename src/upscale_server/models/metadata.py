"""What OpenModelDB says of a model, in the words of our cards.

It reads one JSON object and believes its words (licence, author, what it is for), but not its numbers: those are found
out, and held against what it says.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from upscale_server.errors import ModelInvalid

# One of these is in every entry of OpenModelDB and on none of our cards.
# Source: https://github.com/OpenModelDB/open-model-database, data/models and the schema of its entries.
_SIGNS = frozenset({"license", "resources", "inputChannels"})
_LONGEST = 200


def card_facts(said: Mapping[str, Any]) -> dict[str, Any]:  # JSON values of many types
    """Return what stands beside a model in the words of a card: our own as they are, OpenModelDB's translated."""
    if _SIGNS.isdisjoint(said):
        return dict(said)
    by = ", ".join(_texts(said.get("author")))
    words = " ".join(str(said.get("description") or "").split())
    title = f"{said.get('name') or ''}{f' by {by}' if by else ''}".strip()
    facts = {
        "summary": _shortened(": ".join(part for part in (title, words) if part)),
        "licence": str(said.get("license") or "unknown"),
        "for_sources": ", ".join(_texts(said.get("tags"))) or "any",
        "trained_on": _texts(said.get("dataset")),
    }
    return {name: value for name, value in facts.items() if value}


def hold_against(said: Mapping[str, Any], source: str, sha256: str) -> None:
    """Hold a file's hash against the ones that OpenModelDB lists for files of its kind.

    Raises:
        ModelInvalid: they are listed, and none is this one.
    """
    kind = Path(urllib.parse.urlsplit(source).path).suffix.removeprefix(".")
    resources = said.get("resources")
    listed = [
        str(one["sha256"]).lower()
        for one in (resources if isinstance(resources, list) else ())
        if isinstance(one, dict) and one.get("type") == kind and one.get("sha256")
    ]
    if listed and sha256 not in listed:
        raise ModelInvalid(
            f"{source} has SHA-256 {sha256}; its metadata lists {' and '.join(listed)}",
            hint="the file is damaged or not the one that is described: get it again from a source you trust",
        )


def refuse_another_scale(said: Mapping[str, Any], source: str, scale: int) -> None:
    """Hold the scale that was found against what OpenModelDB says.

    Raises:
        ModelInvalid: it says another.
    """
    if not _SIGNS.isdisjoint(said) and said.get("scale") not in {None, scale}:
        raise ModelInvalid(f"{source} is a model of scale {scale}; its metadata says {said['scale']}")


def _texts(value: object) -> tuple[str, ...]:
    """Return one text or a list of them as a tuple."""
    if isinstance(value, str):
        return (value,)
    return tuple(str(one) for one in value) if isinstance(value, list) else ()


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST].rsplit(" ", 1)[0] + " …"
