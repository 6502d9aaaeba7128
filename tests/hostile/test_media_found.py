"""What the corpus found in the product: files that came through and were then called broken, by our own audit.

Each was a fault of ours, or was named as one.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from tests.support.cli_runner import run_here
from tests.support.corpus.films import Film, film
from tests.support.corpus.odd_videos import bases
from upscale_server.audit import verify


def _upscaled(content: bytes, folder: Path, name: str) -> Path:
    source, output = folder / name, folder / "out.mp4"
    source.write_bytes(content)
    ran = run_here("video", source, "-o", output, "--scale", "2", "--model", "lanczos", "--preset", "ultrafast")
    assert 0 == ran.exit_code, ran.stderr
    return output


def test_sound_of_layer_two_is_the_same_sound_in_mp4(tmp_path: Path) -> None:
    """Broadcasts have MPEG audio layer 2; MP4 has one name for all layers, and FFmpeg reads it back as layer 3."""
    output = _upscaled(bases()["ts"], tmp_path, "a.ts")

    assert verify(tmp_path / "a.ts", output).ok


def test_timecode_of_mxf_is_the_same_timecode_in_mp4(tmp_path: Path) -> None:
    """MXF keeps it beside the tracks, QuickTime in one."""
    content = film(Film("mxf", "mpeg2video", count=6, rate=Fraction(25), height=64))
    output = _upscaled(content, tmp_path, "a.mxf")

    assert verify(tmp_path / "a.mxf", output).ok
