"""The whole corpus of nasty files: 838 with the PyAV it was written for, in seconds, the same bytes each time.

It is made in the test run and never committed: encoders differ between releases of PyAV.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator, Sequence
from functools import cache

from tests.support.corpus.damage import bent_films, cut_films, damaged_pictures
from tests.support.corpus.entry import Entry
from tests.support.corpus.lying_pictures import lying_pictures, quick_lies
from tests.support.corpus.lying_videos import lying_videos
from tests.support.corpus.no_videos import no_videos
from tests.support.corpus.odd_pictures import no_pictures, odd_pictures, plain_pictures
from tests.support.corpus.odd_videos import bases, odd_videos, quick_videos

_LARGEST = 200_000
"""Of a file that is mutated: larger ones are slow, and as easily broken small."""
_NUMBERS = (0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_HEADER_BYTES = 2048


@cache
def videos() -> tuple[Entry, ...]:
    """Return the videos."""
    return (*odd_videos(), *lying_videos(), *no_videos(), *cut_films(bases()), *bent_films(bases()))


@cache
def pictures() -> tuple[Entry, ...]:
    """Return the pictures."""
    return (*odd_pictures(), *lying_pictures(), *no_pictures(), *damaged_pictures(plain_pictures()))


def few_videos(count: int) -> list[Entry]:
    """Return so many videos of all kinds that are quickly made: every n-th of them."""
    return _spread([*quick_videos(), *lying_videos(), *no_videos(), *cut_films(bases()), *bent_films(bases())], count)


def few_pictures(count: int) -> list[Entry]:
    """Return so many pictures of all kinds that are quickly made."""
    return _spread([*odd_pictures(), *quick_lies(), *no_pictures(), *damaged_pictures(plain_pictures())], count)


def _spread(entries: Sequence[Entry], count: int) -> list[Entry]:
    return [entries[len(entries) * place // count] for place in range(count)]


def mutations(entries: Sequence[Entry], count: int, seed: int) -> Iterator[Entry]:
    """Yield so many files made from others by up to sixteen changes each."""
    rng = random.Random(seed)
    whole = [entry for entry in entries if 0 < len(entry.content) <= _LARGEST]
    for number in range(count):
        entry = rng.choice(whole)
        mutated = bytearray(entry.content)
        for _ in range(rng.choice((1, 1, 2, 4, 8, 16))):
            if mutated:
                _mutate(mutated, rng, whole)
        name = f"{seed}_{number:05d}_{entry.group}_{entry.name}"
        yield Entry("mutated", name, bytes(mutated))


def _mutate(content: bytearray, rng: random.Random, others: Sequence[Entry]) -> None:
    """Change one place: half of them anywhere, half in the headers."""
    way, most = rng.randrange(9), len(content) if rng.random() < 0.5 else min(len(content), _HEADER_BYTES)
    place, length = rng.randrange(most), rng.randrange(1, 257)
    part, short = slice(place, place + length), slice(place, place + 1 + length % 64)
    if way == 0:
        content[place] ^= 1 << rng.randrange(8)
    elif way == 1:
        content[place] = rng.getrandbits(8)
    elif way in (2, 3):
        count = 4 if way == 2 else 2
        number = rng.choice(_NUMBERS) & (1 << 8 * count) - 1
        content[place : place + count] = struct.pack(rng.choice("<>") + " HI"[count // 2], number)
    elif way == 4:
        del content[short]
    elif way == 5:
        content[place:place] = content[short]
    elif way == 6:
        other = rng.choice(others).content
        start = rng.randrange(len(other))
        content[part] = other[start : start + length]
    elif way == 7:
        content[part] = bytes(len(content[part]))
    else:
        del content[max(1, rng.randrange(len(content))) :]
