"""Checks of what opens and writes videos: PyAV, the FFmpeg in it, its decoders and encoders, and the cage around them.

Each is tried; nothing is installed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import upscale_server
from upscale_server.cli.checks import Check, tried

_KNOWN_FAULTS = (
    "CVE-2026-107697 (a playlist that reaches past its allow-list), CVE-2026-107695 (a playlist without end), "
    "CVE-2026-125267 (APAC sound that writes beyond its memory)"
)
"""Of FFmpeg before 8.1.3 and 9.0.2. PyAV 19 is the first to bundle 9.0.2; 18.1 has 8.1.2, and pip gives Python 3.11 no
later one."""
_FIX = "pip install --force-reinstall av"
_INMATE_BYTES = 4 << 30
_LOCKS = {
    "no sockets and no other processes": "a decoder's bug could connect to others, and signal this user's processes",
    "its own network": "only the refused calls keep it from the network",
    "no other files": "a decoder's bug could read whatever this user may read, also the settings' secrets",
}
"""What each lock of the kernel forbids, and what may happen where it is not granted."""
CLIP = Path(upscale_server.__file__).parent / "clips" / "nasa.mp4"
_NEEDED = ("h264", "hevc")
"""Decoders without which a server can do nearly no job."""


def codec_checks() -> Iterator[Check]:
    """Try what videos are opened and written with."""
    yield tried("PyAV", _pyav, _FIX)
    yield tried("FFmpeg", _ffmpeg, _FIX)
    yield tried("cage", cage_check)
    yield tried("decoders", _decoders, _FIX)
    yield tried("encoders", _encoders, _FIX)


def _pyav() -> Check:
    found = version("av")
    if int(found.split(".")[0]) >= 19:
        return Check("PyAV", "ok", found)
    newer = "python3.12 -m pip install upscale-server" if sys.version_info < (3, 12) else "pip install --upgrade av"
    advice = (
        f"its FFmpeg is older than 8.1.3 and 9.0.2 and has {_KNOWN_FAULTS}; playlists and APAC are not opened here "
        "all the same. PyAV 19 needs Python 3.12 or newer"
    )
    return Check("PyAV", "warning", found, advice, newer)


def cage_check() -> Check:
    """Open a cage, and ask an inmate to do what it must not be able to do."""
    from upscale_server.cage import Bounds, Cage

    cage = Cage()
    try:
        locks, tried_out = cage.locks, cage.call(try_locks, kind=str, bounds=Bounds(_INMATE_BYTES))
    finally:
        cage.close()
    closed = (locks.calls_refused, locks.own_network, locks.files_closed)
    found = ", ".join(name for name, is_closed in zip(_LOCKS, closed, strict=True) if is_closed)
    found = f"{found or 'no lock of the kernel'}; a bound on memory, no files written, a clean environment"
    if tried_out:
        return Check("cage", "broken", f"{tried_out} is possible inside", "who opens strangers' files is not locked up")
    if all(closed):
        return Check("cage", "ok", found)
    opened = [f"{name} ({_LOCKS[name]})" for name, is_closed in zip(_LOCKS, closed, strict=True) if not is_closed]
    advice = f"not granted here: {'; '.join(opened)}. A container of its own, without other files and networks, helps"
    return Check("cage", "warning", found, advice, "sysctl kernel.unprivileged_userns_clone user.max_net_namespaces")


def try_locks() -> str:
    """Return what is possible of what must not be; run inside."""
    import resource
    import socket

    possible = []
    with suppress(OSError):
        socket.create_connection(("127.0.0.1", 9), timeout=1).close()
        possible.append("a connection")
    if resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 0:
        possible.append("writing files")
    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
        possible.append("memory without end")
    return " and ".join(possible)


def _ffmpeg() -> Check:
    from upscale_server.media.versions import ffmpeg_libraries

    return Check("FFmpeg", "ok", ", ".join(f"{name} {number}" for name, number in ffmpeg_libraries()))


def _decoders() -> Check:
    """Decode a frame of the bundled clip, and look for the decoders of other formats."""
    from upscale_server.media.decoders import COMMON, decoder_exists, decodes

    missing = [name for name in COMMON if not decoder_exists(name)]
    found = ", ".join(name for name in COMMON if name not in missing) or "none opens"
    if not decodes(CLIP):
        return Check("decoders", "broken", "the bundled H.264 clip does not decode", "no source will", _FIX)
    if not missing:
        return Check("decoders", "ok", found)
    advice = f"sources in {', '.join(missing)} will be refused"
    return Check("decoders", "broken" if set(missing) & set(_NEEDED) else "warning", found, advice, _FIX)


def _encoders() -> Check:
    """Tell which encoders open; those of graphics cards are missing on most machines, which is no fault."""
    from upscale_server.media.encoders import DEFAULTS, encoder_opens

    working = [name for name in DEFAULTS if encoder_opens(name)]
    missing = [name for name in DEFAULTS if name not in working]
    found = ", ".join(working) or "none opens"
    absent = [name for name in missing if not name.endswith("_nvenc")]
    if not working or absent:
        advice = f"{', '.join(absent)} cannot be written"
        return Check("encoders", "warning" if working else "broken", found, advice, _FIX)
    if missing:
        found += f" (not here: {', '.join(missing)})"
    return Check("encoders", "ok", found)
