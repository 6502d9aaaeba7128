"""Checks of what opens and writes videos: PyAV, the FFmpeg in it, its decoders and encoders.

Each is tried; nothing is installed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import upscale_server
from upscale_server.cli.checks import Check, tried

# PyAV 19 is the first to bundle FFmpeg 9.0.2, where these are fixed; 18.1 bundles 8.1.2. pip gives Python 3.11 no 19.
_FIXED_IN_PYAV_19 = "CVE-2026-107697, CVE-2026-107695, CVE-2026-125267"
_FIX = "pip install --force-reinstall av"
CLIP = Path(upscale_server.__file__).parent / "clips" / "nasa.mp4"
_NEEDED = ("h264", "hevc")
"""Decoders without which a server can do nearly no job."""


def codec_checks() -> Iterator[Check]:
    """Try what videos are opened and written with."""
    yield tried("PyAV", _pyav, _FIX)
    yield tried("FFmpeg", _ffmpeg, _FIX)
    yield tried("decoders", _decoders, _FIX)
    yield tried("encoders", _encoders, _FIX)


def _pyav() -> Check:
    found = version("av")
    if int(found.split(".")[0]) >= 19:
        return Check("PyAV", "ok", found)
    old = f"it bundles an FFmpeg older than 9.0.2 ({_FIXED_IN_PYAV_19} are fixed there)"
    newer = "python3.12 -m pip install upscale-server" if sys.version_info < (3, 12) else "pip install --upgrade av"
    advice = f"{old}; PyAV 19 needs Python 3.12 or newer"
    return Check("PyAV", "warning", found, advice, newer)


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
