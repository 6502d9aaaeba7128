"""Which files a caged process may open: its libraries, the source, and where it writes; all others are out of reach.

By Landlock, Linux 5.13 and newer, which also keeps it out of what /proc tells of other processes, and from 6.12 on
from sending signals to them. It locks the calling process for good; see landlock(7). It opens no file's content.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
"""The same on all architectures."""
_VERSION, _PATH_BENEATH = 1, 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_TRUNCATE, _IOCTL = 1 << 14, 1 << 15
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL
_SCOPES = 0b11
"""Abstract sockets and signals of processes outside."""

_READS = _READ_FILE | _READ_DIR
_WRITES = _READS | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _TRUNCATE
_DEVICES = _READS | _WRITE_FILE | _IOCTL

_SYSTEM = (
    "/usr", "/lib", "/lib64", "/nix/store", "/etc/ld.so.cache", "/etc/localtime", "/dev/urandom",
    "/dev/random", "/dev/zero", "/sys/devices/system/cpu", "/sys/devices/system/node", "/proc/cpuinfo",
    "/proc/meminfo", "/proc/stat",
)  # fmt: skip
"""Libraries, time zones, and how many cores there are."""

_DEVICE_PLACES = ("/dev", "/sys", "/proc", "/etc")
"""What a decoder on a device looks at; other processes stay closed even below /proc."""


def version(libc: ctypes.CDLL) -> int:
    """Return which Landlock this kernel has, 0 for none."""
    return max(0, int(libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION)))


def leave(
    libc: ctypes.CDLL, reads: Iterable[Path], writes: Iterable[Path], *, programs: bool = False, devices: bool = False
) -> bool:
    """Leave this process these files, and tell whether the kernel can do so; new privileges must be given up before.

    Args:
        libc: the C library.
        reads: files and folders that may be read.
        writes: folders in which files may be made, changed and removed.
        programs: libraries' folders may also be executed from.
        devices: graphics cards may be used.

    Raises:
        OSError: the kernel has Landlock and refuses.
    """
    newest = version(libc)
    if not newest:
        return False
    known = _known_by(newest)
    rules = _ruleset(libc, known, newest)
    try:
        library = _READS | (_EXECUTE if programs else 0)
        for place in _libraries():
            _allow(libc, rules, place, library & known)
        _allow(libc, rules, Path("/dev/null"), (_READ_FILE | _WRITE_FILE) & known)
        for place in reads:
            _allow(libc, rules, place, _READS & known)
        for place in writes:
            _allow(libc, rules, place, _WRITES & known)
        for name in _DEVICE_PLACES if devices else ():
            _allow(libc, rules, Path(name), (_DEVICES if name == "/dev" else _READS) & known)
        _checked(libc.syscall(_RESTRICT_SELF, rules, 0), "landlock_restrict_self")
    finally:
        os.close(rules)
    return True


def _known_by(newest: int) -> int:
    """Return the rights that a version of Landlock knows; what it does not know, it cannot keep anybody from."""
    rights = 13 + (newest >= 2) + (newest >= 3) + (newest >= 5)
    return int((1 << rights) - 1)


def _ruleset(libc: ctypes.CDLL, known: int, newest: int) -> int:
    attributes = [struct.pack("=Q", known)]
    if newest >= 4:
        attributes.append(struct.pack("=Q", 0b11))  # neither bind nor connect over TCP
    if newest >= 6:
        attributes.append(struct.pack("=Q", _SCOPES))
    body = b"".join(attributes)
    return _checked(libc.syscall(_CREATE_RULESET, body, ctypes.c_size_t(len(body)), 0), "landlock_create_ruleset")


def _allow(libc: ctypes.CDLL, rules: int, place: Path, rights: int) -> None:
    """Add a rule; what does not exist needs none."""
    try:
        handle = os.open(place, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(handle).st_mode):
            rights &= _OF_FILES
        rule = struct.pack("=Qi", rights, handle)
        _checked(libc.syscall(_ADD_RULE, rules, _PATH_BENEATH, rule, 0), f"landlock_add_rule for {place}")
    finally:
        os.close(handle)


def _checked(result: int, what: str) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), what)
    return result


def _libraries() -> set[Path]:
    """Return where code and its constants lie; of folders on the path that may hold anything, our package alone."""
    ours = Path(__file__).parents[1]
    paths = {name: Path(path) for name, path in sysconfig.get_paths().items() if name.endswith(("lib", "stdlib"))}
    places = {ours, Path(sys.prefix), Path(sys.base_prefix), *paths.values(), *map(Path, _SYSTEM)}
    places |= {Path(one) for one in sys.path if Path(one).name in ("site-packages", "dist-packages", "lib-dynload")}
    named = [*os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep), os.environ.get("IMAGEIO_FFMPEG_EXE", "")]
    return places | {Path(one) for one in named if Path(one).is_absolute()}
