"""A server's preview as its owner sees it, and as it is found again after a restart.

It makes nothing; what is being made is `preview`'s, when is `previews`'.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from upscale_server.disk import naming_write_faults
from upscale_server.preview import Asked, Candidate, Preview, Shown
from upscale_server.records import record
from upscale_server.wish import Wish

State = Literal["queued", "running", "succeeded", "failed", "canceled"]

_FORMAT = 1
"""Of the note; another version's previews are as good as gone."""
_NOTE = "preview.json"


@dataclass(frozen=True, slots=True)
class NewPreview:
    """What is asked for; `address` is where the source has to be fetched from, empty where its file is there.

    `owner` is the id of the caller's key, `file_name` what the source is called by its sender.
    """

    wish: Wish
    models: tuple[Candidate, ...]
    start_seconds: float | None
    seconds: float
    self_test: bool
    owner: str = ""
    address: str = ""
    file_name: str = "video"

    def of(self, source: Path, most_frames: int) -> Asked:
        """Return what is asked for, of a source's file."""
        return Asked(
            source, self.wish, self.models, self.start_seconds, self.seconds, self.self_test, most_frames=most_frames
        )


@dataclass(frozen=True, slots=True)
class KeptPreview:
    """A preview that was taken; times are seconds since the epoch, `facts` the JSON values of what is there of it.

    `frames_done` counts what the lanes have finished of `frames_total`, 0 before it is planned.
    """

    id: str
    owner: str
    state: State
    created_at: float
    expires_at: float
    self_test: bool
    fault: dict[str, Any] | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    frames_done: int = 0
    frames_total: int = 0

    @property
    def is_finished(self) -> bool:
        """Tell whether nothing more will happen to it."""
        return self.state in ("succeeded", "failed", "canceled")


def facts_of(preview: Preview) -> dict[str, Any]:  # JSON values
    """Return what is there of a preview."""
    ranking = preview.self_test.ranking if preview.self_test else None
    return {
        "width": preview.size.width,
        "height": preview.size.height,
        "start_seconds": round(preview.start_seconds, 6),
        "seconds": preview.seconds,
        "frames": preview.frame_count,
        "frame_times": [round(one, 6) for one in preview.frame_times],
        "crop": record(preview.crop),
        "before": _side(preview.before),
        "items": [_side(one) for one in preview.items],
        "best": preview.best,
        "best_because": ranking.text if ranking else None,
        "warnings": [{"code": code, "detail": detail} for code, detail in preview.warnings],
    }


def _side(one: Shown) -> dict[str, Any]:  # JSON values
    found = one.quality
    return {
        "model": one.name,
        "state": one.state,
        "file": None if one.path is None else one.path.name,
        "fps": one.fps,
        "seconds": one.seconds,
        "byte_count": one.byte_count,
        "fault": None if one.fault is None else one.fault.as_record(),
        "quality_fault": None if one.quality_fault is None else one.quality_fault.as_record(),
        "quality": None
        if found is None
        else {"psnr_y": found.psnr_y, "ssim": found.ssim, "vmaf": found.vmaf, "flicker": found.flicker},
    }


def files_of(facts: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of the files that are there of a preview."""
    sides = [facts.get("before") or {}, *facts.get("items", ())]
    return frozenset(name for one in sides if (name := one.get("file")))


def write_note(folder: Path, kept: KeptPreview) -> None:
    """Note a preview beside its files, whole or not at all.

    Raises:
        DiskFull, StorageError: it cannot be written.
    """
    part = folder / f"{_NOTE}.part"
    with naming_write_faults(folder / _NOTE):
        part.write_text(json.dumps({"format": _FORMAT, **asdict(kept)}))
        part.replace(folder / _NOTE)


def read_note(folder: Path) -> KeptPreview | None:
    """Return the preview of a folder; None where nothing readable is noted."""
    try:
        values = json.loads((folder / _NOTE).read_text())
        if values.pop("format") != _FORMAT or values["id"] != folder.name:
            return None
        return KeptPreview(**values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def hidden(told: dict[str, Any], folder: Path, file_name: str) -> dict[str, Any]:  # JSON values
    """Return facts in which the source has its sender's name: where our folders are is nobody's business outside."""

    def without(value: Any) -> Any:  # noqa: ANN401 - any JSON value
        if isinstance(value, str):
            return value.replace(str(folder / "source"), file_name).replace(f"{folder}/", "")
        if isinstance(value, dict):
            return {key: without(one) for key, one in value.items()}
        return [without(one) for one in value] if isinstance(value, list) else value

    return {key: without(value) for key, value in told.items()}
