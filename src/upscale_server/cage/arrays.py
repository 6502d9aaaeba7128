"""Arrays through the shared block: written one after the other inside, read as copies of stated shape outside.

What is stated may be a lie: outside, nothing beyond the block is ever touched.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_KINDS: dict[str, np.dtype[Any]] = {"|u1": np.dtype(np.uint8), "<u2": np.dtype(np.uint16)}
_MOST_SIDES = 3


def put(arrays: Sequence[Array], memory: mmap.mmap) -> list[dict[str, Any]]:
    """Write arrays and return what they are.

    Raises:
        MemoryError: they do not fit.
    """
    offset, parts = 0, []
    for array in arrays:
        if offset + array.nbytes > len(memory):
            raise MemoryError(f"{array.nbytes} bytes at {offset} of {len(memory)}")
        np.copyto(np.frombuffer(memory, array.dtype, array.size, offset).reshape(array.shape), array)
        parts.append({"kind": array.dtype.str, "shape": list(array.shape)})
        offset += array.nbytes
    return parts


def taken(parts: Sequence[dict[str, Any]], memory: mmap.mmap) -> tuple[Array, ...]:
    """Return copies of the arrays: who wrote them can no longer change them.

    Raises:
        TypeError, ValueError, KeyError: they are none of ours, or reach beyond the block.
    """
    offset, arrays = 0, []
    for part in parts:
        kind, shape = _KINDS[part["kind"]], tuple(part["shape"])
        if len(shape) > _MOST_SIDES or any(type(side) is not int or side < 1 for side in shape):
            raise ValueError(f"an array of shape {shape!r:.40}")
        count = int(np.prod(shape, dtype=object))
        if offset + count * kind.itemsize > len(memory):
            raise ValueError(f"an array of shape {shape} at {offset} of {len(memory)} bytes")
        arrays.append(np.frombuffer(memory, kind, count, offset).reshape(shape).copy())
        offset += arrays[-1].nbytes
    return tuple(arrays)
