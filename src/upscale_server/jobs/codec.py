"""Jobs' values as the JSON that is stored, and back, so that a stored job outlives changes of the code around it.

It knows no table. A field that an older version did not write takes its default; one that is not known any more is
left out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any, TypeVar
from urllib.parse import urlsplit

from upscale_server.jobs.job import Asked, Outcome, Progress, Source

Value = TypeVar("Value", Asked, Outcome, Progress, Source)
Record = Mapping[str, Any]  # JSON values of many types

UNREADABLE = (ValueError, TypeError, KeyError, AttributeError)
"""What reading raises of a record that a damaged disk or another release left."""


def to_record(value: Asked | Outcome | Progress) -> dict[str, Any]:
    """Return a value as plain JSON values."""
    return asdict(value)


def asked_from(record: Record) -> Asked:
    """Return what was asked for."""
    return _of(Asked, {**record, "source": _of(Source, record["source"])})


def progress_from(record: Record) -> Progress:
    """Return how far a job is."""
    return _of(Progress, record)


def outcome_from(record: Record) -> Outcome:
    """Return what a job left."""
    return _of(Outcome, record)


def digest_of_asked(asked: Asked) -> str:
    """Return one text for equal wishes.

    The deadline is left out: it counts from the moment of asking, so that no two requests have the same.
    """
    values = {**asdict(asked), "deadline": None}
    for name in ("quality", "webhook"):  # unknown to the version whose digests may be stored
        if not values[name]:
            del values[name]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def unsigned(asked: Asked) -> Asked:
    """Return a wish without what may be a signature or a token in its source's address."""
    if asked.source.kind != "url":
        return asked
    address = asked.source.location.partition("#")[0].partition("?")[0]
    return replace(asked, source=replace(asked.source, location=address))


def untold(asked: Asked) -> Asked:
    """Return a wish without what may be a token in the address that was told of its end."""
    if asked.webhook is None:
        return asked
    parts = urlsplit(asked.webhook)
    return replace(asked, webhook=f"{parts.scheme}://{parts.netloc}")


def _of(kind: type[Value], record: Record) -> Value:
    known = {field.name for field in fields(kind)}
    return kind(**{name: value for name, value in record.items() if name in known})
