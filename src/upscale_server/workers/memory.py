"""Keeps a long run's memory at that of a short one, by telling glibc how to keep its heap.

It frees nothing itself; without glibc it does nothing. No leak is answered here: frames and encoders leave holes in
heaps that are never given back, and the peak of two minutes was 1.13 times that of ten seconds (benchmarks/LOG.md).
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # mallopt's numbers for them in glibc's malloc.h
_LARGE_BLOCK_BYTES = 128 * 1024
"""glibc's own start value, which it otherwise raises to 32 MiB. Blocks from here on go back to the system as soon as
they are freed."""

_LARGEST_KEPT_BYTES = 32 << 20
"""The largest that glibc takes for this threshold."""
_KEPT_BYTES = 128 << 20
"""Free memory that a heap may end with: a few frames of 4K. A lane's share of memory (`needs`) must hold it."""

_NOT_GLIBC = (AttributeError, OSError, TypeError)


def keep_memory_flat() -> None:
    """Fix the size from which blocks are given back, and have one heap a core: for a process that handles no pictures.

    glibc's default of eight heaps a core suits programs that allocate all the time; a server's threads come and go,
    and each would open a heap of its own.
    """
    with suppress(*_NOT_GLIBC):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES)
        library.mallopt(_M_ARENA_MAX, os.cpu_count() or 1)


def keep_blocks() -> None:
    """Keep what one picture or frame frees for the next, in one heap; `give_memory_back` follows each piece of work.

    With `keep_memory_flat` each plane is mapped anew, and touching it first costs a fifth of a small picture's time and
    a fourteenth of a video's; with glibc's defaults the heaps grow by a fifth (benchmarks/LOG.md).
    """
    with suppress(*_NOT_GLIBC):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT_BYTES)
        library.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        library.mallopt(_M_ARENA_MAX, 1)


def give_memory_back() -> None:
    """Return the free pages of all heaps to the system; takes about a millisecond."""
    with suppress(*_NOT_GLIBC):
        ctypes.CDLL(None).malloc_trim(0)
