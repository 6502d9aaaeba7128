"""A plan read back from the record that was stored with its job, so that a job once begun is never decided again.

It is the exact inverse of `Plan.as_record`; it decides and checks nothing about the job itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from fractions import Fraction
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from upscale_server.errors import UpscaleError
from upscale_server.plan import Plan

Kind = TypeVar("Kind")


def plan_from(record: Mapping[str, Any]) -> Plan:  # JSON values of many types
    """Return the plan of which `as_record` gave `record`; its digest is the same.

    A field that the record lacks, because an older release wrote it, has its default.

    Raises:
        UpscaleError: the record is not one of a plan.
    """
    try:
        return _dataclass(Plan, record)
    except (TypeError, ValueError, KeyError, AttributeError, ZeroDivisionError) as err:
        raise UpscaleError(
            f"the stored plan cannot be read: {err}", hint="another release wrote it; submit the job again"
        ) from err


def _dataclass(kind: type[Kind], record: Mapping[str, Any]) -> Kind:
    hints = get_type_hints(kind)
    values = {}
    for field in fields(kind):  # type: ignore[arg-type] # only called with dataclasses
        if field.name in record:
            values[field.name] = _value(hints[field.name], record[field.name])
        elif field.default is MISSING and field.default_factory is MISSING:
            raise KeyError(f"{kind.__name__} lacks {field.name}")
    unknown = set(record) - set(values)
    if unknown:
        raise KeyError(f"{kind.__name__} has no {', '.join(sorted(unknown))}")
    return kind(**values)


def _value(kind: Any, stored: Any) -> Any:  # noqa: ANN401 - any of our types from any JSON value
    """Return a JSON value as the type that the field has."""
    if get_origin(kind) in {Union, UnionType}:
        if stored is None:
            return None
        kind = next(one for one in get_args(kind) if one is not NoneType)
    if isinstance(kind, type) and is_dataclass(kind):
        return _dataclass(kind, stored)
    if kind is Fraction:
        return Fraction(stored)
    if get_origin(kind) is tuple:
        return _tuple(get_args(kind), stored)
    return dict(stored) if get_origin(kind) is dict else stored


def _tuple(kinds: tuple[Any, ...], stored: list[Any]) -> tuple[Any, ...]:  # JSON values of many types
    if kinds[-1] is Ellipsis:
        return tuple(_value(kinds[0], one) for one in stored)
    return tuple(_value(kind, one) for kind, one in zip(kinds, stored, strict=True))
