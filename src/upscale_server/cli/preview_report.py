"""A preview in words: a table for people, a record for programs.

It prints nothing and reckons nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from upscale_server.preview import Preview, Shown


@dataclass(frozen=True, slots=True)
class Whole:
    """How long the whole video would take, what says so, and by which part that may be off."""

    seconds: float | None
    basis: str
    error: float | None = None


def table_of(made: Preview, wholes: Mapping[str, Whole]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the names of the columns, and a row for each side."""
    columns: tuple[str, ...] = ("model", "fps", "whole video")
    if made.self_test is not None:
        columns += ("VMAF", "PSNR-Y", "SSIM", "flicker")
    rows = []
    for one in (made.before, *made.items):
        row: tuple[str, ...] = (one.name, _or_dash(one.fps, ".1f"), _whole_text(wholes.get(one.name)))
        rows.append(row if made.self_test is None else row + _measured(one))
    return columns, rows


def record_of(folder: Path, made: Preview, wholes: Mapping[str, Whole]) -> dict[str, Any]:  # JSON values of many types
    """Return a preview whose files are in a folder as JSON values."""
    from upscale_server.records import record

    return {
        "output": str(folder),
        "size": str(made.size),
        "start_seconds": made.start_seconds,
        "frames": made.frame_count,
        "frame_times": [round(one, 6) for one in made.frame_times],
        "crop": record(made.crop),
        "before": _side(folder, made.before, None),
        "items": [_side(folder, one, wholes.get(one.name)) for one in made.items],
        "self_test": record(made.self_test),
        "warnings": [{"code": code, "detail": detail} for code, detail in made.warnings],
    }


def _side(folder: Path, one: Shown, whole: Whole | None) -> dict[str, Any]:  # JSON values of many types
    from upscale_server.records import record

    return {
        "model": one.name,
        "file": None if one.path is None else str(folder / one.path.name),
        "bytes": one.byte_count,
        "seconds": one.seconds,
        "frames_per_second": one.fps,
        "whole_video": record(whole),
        "quality": record(one.quality),
        "quality_fault": None if one.quality_fault is None else one.quality_fault.as_record(),
        "fault": None if one.fault is None else one.fault.as_record(),
    }


def _measured(one: Shown) -> tuple[str, ...]:
    found = one.quality
    if found is None:
        return ("–",) * 4
    return _or_dash(found.vmaf, ".2f"), f"{found.psnr_y:.2f}", f"{found.ssim:.4f}", _or_dash(found.flicker, ".3f")


def _whole_text(whole: Whole | None) -> str:
    if whole is None or whole.seconds is None:
        return "–"
    error = "" if whole.error is None else f" ± {whole.error:.0%}"
    return f"{_length(whole.seconds)}{error} ({whole.basis})"


def _length(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _or_dash(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
