"""Files cut off at many places and bent in six ways, each by a seed of its own.

It needs whole files, and looks into none.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping

from tests.support.corpus.entry import Entry

CUTS, BENT = 16, 24
_HEADER_BYTES = 1200
_EARLY = (1, 4, 8, 16, 32, 64)


def cut_films(films: Mapping[str, bytes]) -> Iterator[Entry]:
    """Yield films that end too early: after a few bytes, at sixteenths, and one byte before their end."""
    for ending, content in films.items():
        begun, suffix = ending.replace(".", "_"), ending.split(".")[-1]
        places = {*_EARLY, len(content) - 1} | {len(content) * part // CUTS for part in range(1, CUTS)}
        for place in sorted(place for place in places if place < len(content)):
            yield Entry("v_trunc", f"{begun}_at{place:07d}.{suffix}", content[:place])


def bent_films(films: Mapping[str, bytes]) -> Iterator[Entry]:
    """Yield films with bytes changed, cleared, cut out and repeated."""
    for ending, content in films.items():
        begun, suffix = ending.replace(".", "_"), ending.split(".")[-1]
        for number in range(BENT):
            bent = _bent(content, number % 6, random.Random(f"1/{ending}/{number}"))
            yield Entry("v_flip", f"{begun}_{number:03d}.{suffix}", bent)


def damaged_pictures(pictures: Mapping[str, bytes]) -> Iterator[Entry]:
    """Yield pictures cut off at sixteenths, and pictures with up to thirteen bytes changed."""
    for ending, content in pictures.items():
        begun, suffix = ending.replace(".", "_"), ending.split(".")[-1]
        for part in range(1, CUTS):
            yield Entry("i_trunc", f"{begun}_{part:02d}.{suffix}", content[: len(content) * part // CUTS])
        for number in range(BENT):
            bent, rng = bytearray(content), random.Random(f"1/{ending}/{number}")
            _change(bent, rng, 1 + number % 4 * 4, len(bent))
            yield Entry("i_flip", f"{begun}_{number:03d}.{suffix}", bytes(bent))


def _bent(content: bytes, way: int, rng: random.Random) -> bytes:
    bent = bytearray(content)
    if way == 0:
        _change(bent, rng, 1, len(bent))
    elif way == 1:
        _change(bent, rng, max(1, len(bent) // 200), len(bent))
    elif way == 2:
        _change(bent, rng, 8, min(len(bent), _HEADER_BYTES))
    else:
        start = rng.randrange(len(bent))
        part = slice(start, start + rng.randrange(1, len(bent) // 8))
        bent[part] = {3: bytes(len(bent[part])), 4: b"", 5: bytes(bent[part]) * 3}[way]
    return bytes(bent)


def _change(content: bytearray, rng: random.Random, count: int, within: int) -> None:
    for _ in range(count):
        content[rng.randrange(within)] = rng.getrandbits(8)
