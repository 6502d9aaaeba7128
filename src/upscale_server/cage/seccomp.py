"""System calls that decoding never needs, refused by the kernel: sockets, other processes' memory, mounts, keys.

The filter refuses what is listed and lets all else through: an allow-list would have to follow every release of libc,
Python and FFmpeg. See seccomp(2) and linux/filter.h; the numbers are those of the architectures' system call tables.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct

_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_RET_ALLOW = 0x7FFF0000
_RET_ERRNO = 0x00050000
_LOAD_WORD, _JUMP_EQUAL, _JUMP_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_OFFSET_OF_NUMBER, _OFFSET_OF_ARCHITECTURE = 0, 4
_FIRST_X32 = 0x40000000

_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

_CALLS = {
    "socket": (41, 198),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "setns": (308, 268),
    "unshare": (272, 97),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "kexec_load": (246, 104),
    "init_module": (175, 105),
    "finit_module": (313, 273),
}
"""By name: the number on x86-64 and on 64-bit ARM."""


class _Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("count", ctypes.c_ushort), ("code", ctypes.c_void_p))


def refuse_calls(libc: ctypes.CDLL) -> bool:
    """Have the listed calls fail with EPERM in this process and its children; tell whether the kernel does so.

    The process must have given up new privileges before.
    """
    architecture = platform.machine()
    if architecture not in _AUDIT:
        return False
    code = ctypes.create_string_buffer(_code(architecture))
    program = _Program(len(code.raw) // 8, ctypes.addressof(code))
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) == 0)


def _code(architecture: str) -> bytes:
    """Return the filter: another architecture's calls, x32's and the listed ones are refused, all else allowed."""
    numbers = [both[list(_AUDIT).index(architecture)] for both in _CALLS.values()]
    to_refuse = len(numbers) + 2  # from the first instruction after the architecture's, to the last
    steps = [
        _step(_LOAD_WORD, _OFFSET_OF_ARCHITECTURE),
        _step(_JUMP_EQUAL, _AUDIT[architecture], no=to_refuse + 1),
        _step(_LOAD_WORD, _OFFSET_OF_NUMBER),
        _step(_JUMP_AT_LEAST, _FIRST_X32, yes=to_refuse - 1),
        *(_step(_JUMP_EQUAL, number, yes=len(numbers) - index) for index, number in enumerate(numbers)),
        _step(_RETURN, _RET_ALLOW),
        _step(_RETURN, _RET_ERRNO | errno.EPERM),
    ]
    return b"".join(steps)


def _step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    """Return one `struct sock_filter`."""
    return struct.pack("=HBBI", code, yes, no, value)
