"""Which engine and precision a model really runs with here, found out by loading and testing it.

The plan stores the answer, because the bytes of the output depend on it; nothing is guessed from names of processors.
"""

from __future__ import annotations

from contextlib import closing
from typing import get_args

from upscale_server.errors import BadRequest
from upscale_server.models.base import Precision, Working
from upscale_server.models.card import ModelCard
from upscale_server.models.load import load


def working_of(card: ModelCard, engine: str, precision: str) -> Working:
    """Load a model as asked, let it test itself, and return how it works.

    Raises:
        BadRequest: no such engine or precision, or an engine that cannot run the model.
        ModelMissing, ModelInvalid: the file is gone, damaged or fails its self-test.
    """
    with closing(load(card, engine=engine, precision=precision_named(precision))) as upscaler:
        return upscaler.working


def precision_named(name: str) -> Precision:
    """Return the precision of that name.

    Raises:
        BadRequest: there is none.
    """
    for known in get_args(Precision):
        if known == name:
            return known  # type: ignore[no-any-return]
    raise BadRequest(f"precision is {name!r}; expected one of {', '.join(get_args(Precision))}")
