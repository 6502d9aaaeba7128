"""System calls that decoding never needs, refused by the kernel: sockets, other processes, other files' owners, mounts.

The filter refuses what is listed and lets all else through: an allow-list would have to follow every release of libc,
Python and FFmpeg. Which files may be opened is `files`' business, since a filter cannot read a path.
See seccomp(2) and linux/filter.h; the numbers are those of the architectures' system call tables.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from upscale_server.cage.call_numbers import ARCHITECTURES, NUMBERS

_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_RET_ALLOW = 0x7FFF0000
_RET_ERRNO = 0x00050000
_LOAD_WORD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_OFFSET_OF_NUMBER, _OFFSET_OF_ARCHITECTURE, _OFFSET_OF_ARGUMENTS = 0, 4, 16
_FIRST_X32 = 0x40000000
_CLONE_THREAD = 0x00010000

_NEVER = (
    "socket", "connect", "bind", "listen", "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise",
    "pidfd_getfd", "mount", "umount2", "pivot_root", "chroot", "setns", "unshare", "open_tree", "move_mount",
    "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr", "open_by_handle_at", "bpf", "perf_event_open",
    "userfaultfd", "io_uring_setup", "keyctl", "add_key", "request_key", "kexec_load", "kexec_file_load",
    "init_module", "finit_module", "delete_module", "shmget", "shmat", "msgget", "semget", "mq_open", "chmod",
    "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat", "setxattr", "lsetxattr", "fsetxattr",
    "setxattrat", "removexattr", "lremovexattr", "fremovexattr", "removexattrat", "utime", "utimes", "futimesat",
    "utimensat", "migrate_pages", "move_pages",
)  # fmt: skip
"""By anybody behind the door, the door included. What changes a file's owner, mode and times is not Landlock's."""

_PROGRAMS = ("fork", "vfork", "execve", "execveat", "setsid", "setpgid")
_SIGNALS = ("tkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal")


@dataclass(frozen=True, slots=True)
class Rule:
    """A call that is refused; with an argument only where that has one of the values, or none of them (`unless`).

    `bits` compares by any common bit. `error` is what the caller is told.
    """

    name: str
    argument: int | None = None
    values: tuple[int, ...] = ()
    unless: bool = False
    bits: bool = False
    error: int = errno.EPERM


_ONESELF = (0,)
_F_SETOWN, _F_SETSIG, _F_SETOWN_EX = 8, 10, 15
_FIOSETOWN, _SIOCSPGRP = 0x8901, 0x8902
_PR_SET_PDEATHSIG = 1

_OTHERS = (
    Rule("prlimit64", 0, _ONESELF, unless=True),
    Rule("setpriority", 1, _ONESELF, unless=True),
    Rule("ioprio_set", 1, _ONESELF, unless=True),
    Rule("sched_setaffinity", 0, _ONESELF, unless=True),
    Rule("sched_setscheduler", 0, _ONESELF, unless=True),
    Rule("sched_setparam", 0, _ONESELF, unless=True),
    Rule("sched_setattr", 0, _ONESELF, unless=True),
    Rule("fcntl", 1, (_F_SETOWN, _F_SETSIG, _F_SETOWN_EX)),
    Rule("ioctl", 1, (_FIOSETOWN, _SIOCSPGRP)),
)
"""What a process may do to itself and to no other; the last two would have the kernel send a signal in its name."""


def refuse_calls(libc: ctypes.CDLL) -> bool:
    """Have what no caged process needs fail in this process and its children; tell whether the kernel does so.

    The process must have given up new privileges before.
    """
    return _install(libc, (*map(Rule, _NEVER), *_OTHERS))


def refuse_processes(libc: ctypes.CDLL, own: int) -> bool:
    """Have this process start no other, signal none but itself, and end with its parent for good.

    Args:
        libc: the C library.
        own: this process's number.
    """
    return _install(
        libc,
        (
            *map(Rule, (*_PROGRAMS, *_SIGNALS)),
            Rule("clone3", error=errno.ENOSYS),  # its flags lie in memory; libc then takes `clone`, whose can be read
            Rule("clone", 0, (_CLONE_THREAD,), unless=True, bits=True),
            Rule("kill", 0, (own,), unless=True),
            Rule("tgkill", 0, (own,), unless=True),
            Rule("prctl", 0, (_PR_SET_PDEATHSIG,)),
        ),
    )


class _Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("count", ctypes.c_ushort), ("code", ctypes.c_void_p))


def _install(libc: ctypes.CDLL, rules: Iterable[Rule]) -> bool:
    architecture = platform.machine()
    if architecture not in ARCHITECTURES:
        return False
    code = ctypes.create_string_buffer(_code(architecture, rules))
    program = _Program(len(code.raw) // 8, ctypes.addressof(code))
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) == 0)


def _code(architecture: str, rules: Iterable[Rule]) -> bytes:
    """Return the filter: another architecture's calls, x32's and the rules' are refused, all else allowed."""
    steps = [
        _step(_LOAD_WORD, _OFFSET_OF_ARCHITECTURE),
        _step(_JUMP_EQUAL, ARCHITECTURES[architecture], yes=1),
        _refusal(errno.EPERM),
        _step(_LOAD_WORD, _OFFSET_OF_NUMBER),
        _step(_JUMP_AT_LEAST, _FIRST_X32, no=1),
        _refusal(errno.EPERM),
    ]
    for rule in rules:
        number = NUMBERS[rule.name][list(ARCHITECTURES).index(architecture)]
        if number is not None:
            body = _body(rule)
            steps += [_step(_JUMP_EQUAL, number, no=len(body)), *body]
    return b"".join((*steps, _step(_RETURN, _RET_ALLOW)))


def _body(rule: Rule) -> list[bytes]:
    """Return what is done with a call that a rule is about; it always ends the filter."""
    refusal, allowance = _refusal(rule.error), _step(_RETURN, _RET_ALLOW)
    if rule.argument is None:
        return [refusal]
    compare, count = _JUMP_ANY_BIT if rule.bits else _JUMP_EQUAL, len(rule.values)
    return [
        _step(_LOAD_WORD, _OFFSET_OF_ARGUMENTS + 8 * rule.argument),  # the low half, where both kinds have theirs
        *(_step(compare, value, yes=count - index) for index, value in enumerate(rule.values)),
        *((refusal, allowance) if rule.unless else (allowance, refusal)),
    ]


def _refusal(error: int) -> bytes:
    return _step(_RETURN, _RET_ERRNO | error)


def _step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    """Return one `struct sock_filter`."""
    return struct.pack("=HBBI", code, yes, no, value)
