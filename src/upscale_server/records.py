"""Values of this package as plain JSON, and back by the types that their fields have.

Nothing but the named types is ever made of what is read: neither code nor any other class. It knows no value by name.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from fractions import Fraction
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

Kind = TypeVar("Kind")

UNREADABLE = (TypeError, ValueError, KeyError, AttributeError, ZeroDivisionError)
"""What `value_of` raises where the JSON is not that of the type."""


_PLAIN: dict[Any, tuple[type, ...]] = {int: (int,), float: (float, int), str: (str,), bool: (bool,)}
"""What JSON may hold for each of its own types; a whole number is a float, too, and a truth is no number."""


_LONGEST_FRACTION = 1000
"""Characters: what times and rates are computed to has some dozens."""


def record(value: Any) -> Any:  # noqa: ANN401, PLR0911 - any of our values; one line for each type
    """Return a value as plain JSON; fractions become `num/den` texts, paths texts, bytes base64."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: record(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Fraction):
        return f"{value.numerator}/{value.denominator}"
    if isinstance(value, bytes):
        return b64encode(value).decode("ascii")
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (list, tuple)):
        return [record(item) for item in value]
    if isinstance(value, dict):
        return {key: record(item) for key, item in value.items()}
    return value


def value_of(kind: Any, stored: Any) -> Any:  # noqa: ANN401, PLR0911 - as `record`
    """Return a JSON value as the type that `record` had it from.

    A field that the record lacks, because an older release wrote it, has its default.

    Raises:
        TypeError, ValueError, KeyError, AttributeError, ZeroDivisionError: it is not of that type.
    """
    if get_origin(kind) in {Union, UnionType}:
        if stored is None:
            return None
        kind = next(one for one in get_args(kind) if one is not NoneType)
    if isinstance(kind, type) and is_dataclass(kind):
        return _dataclass(kind, stored)
    if kind is Fraction:
        return _fraction(stored)
    if kind is Path:
        return Path(stored)
    if kind is bytes:
        return b64decode(stored, validate=True)
    if get_origin(kind) is tuple:
        return _tuple(get_args(kind), stored)
    if get_origin(kind) is dict:
        return {name: value_of(get_args(kind)[1], one) for name, one in stored.items()}
    if kind in _PLAIN and type(stored) not in _PLAIN[kind]:
        raise TypeError(f"{stored!r:.40} where {kind.__name__} belongs")
    return stored


def _fraction(stored: str) -> Fraction:
    """Return a fraction; `Fraction` itself would also take 1e999999999, and compute for hours."""
    numerator, _, denominator = stored.partition("/")
    if len(stored) > _LONGEST_FRACTION:
        raise ValueError(f"a fraction of {len(stored)} characters")
    return Fraction(int(numerator), int(denominator or 1))


def _dataclass(kind: type[Kind], stored: Mapping[str, Any]) -> Kind:
    hints = get_type_hints(kind)
    values = {}
    for field in fields(kind):  # type: ignore[arg-type] # only called with dataclasses
        if field.name in stored:
            values[field.name] = value_of(hints[field.name], stored[field.name])
        elif field.default is MISSING and field.default_factory is MISSING:
            raise KeyError(f"{kind.__name__} lacks {field.name}")
    unknown = set(stored) - set(values)
    if unknown:
        raise KeyError(f"{kind.__name__} has no {', '.join(sorted(unknown))}")
    return kind(**values)


def _tuple(kinds: tuple[Any, ...], stored: list[Any]) -> tuple[Any, ...]:  # JSON values of many types
    if kinds[-1] is Ellipsis:
        if kinds[0] is int and all(type(one) is int for one in stored):  # a time table has a million of them
            return tuple(stored)
        return tuple(value_of(kinds[0], one) for one in stored)
    return tuple(value_of(kind, one) for kind, one in zip(kinds, stored, strict=True))
