"""Keeps encoders from making themselves more important than the machine.

SVT-AV1 gives the calling thread and its own the highest real-time priority (SCHED_FIFO 99) where it runs as root:
beside it nothing else runs, the server's own answers and a shell included. It asks who the user is, not what it may; so
the right (CAP_SYS_NICE, see capabilities(7)) is put aside while an encoder is opened. Niceness is left as it is.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_VERSION_3 = 0x20080522
_CAP_SYS_NICE = 1 << 23


class _Header(ctypes.Structure):
    """`struct __user_cap_header_struct`; process 0 is the calling thread."""

    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    """`struct __user_cap_data_struct`, of which version 3 takes two: the second has capabilities 32 and up."""

    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


@contextmanager
def ordinary_priority() -> Iterator[None]:
    """Put the right to raise priorities aside for the length of the block; threads begun in it never get it."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = _Header(_VERSION_3, 0), (_Sets * 2)()
    held = sys.platform == "linux" and libc.capget(ctypes.byref(header), sets) == 0
    if not held or not sets[0].effective & _CAP_SYS_NICE:
        yield
        return
    sets[0].effective &= ~_CAP_SYS_NICE
    libc.capset(ctypes.byref(header), sets)
    try:
        yield
    finally:
        sets[0].effective |= _CAP_SYS_NICE
        libc.capset(ctypes.byref(header), sets)
