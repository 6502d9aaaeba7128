"""A preview as callers see it.

It asks nobody and decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from upscale_server.jobs.preview_record import KeptPreview
from upscale_server.jobs.view import iso
from upscale_server.wire_previews import BeforeView, CropView, ItemView, MadeView, PreviewView, QualityView, SaidView


def preview_view(kept: KeptPreview) -> PreviewView:
    """Return a preview for its owner."""
    facts, before = kept.facts, kept.facts.get("before") or {}
    return PreviewView(
        id=kept.id,
        state=kept.state,
        fault=kept.fault,
        width=facts.get("width"),
        height=facts.get("height"),
        start_seconds=facts.get("start_seconds"),
        seconds=facts.get("seconds"),
        frames=facts.get("frames"),
        frame_times=facts.get("frame_times", []),
        progress=_progress(kept),
        before=_before(kept, before) if before.get("file") else None,
        items=[_item(kept, one) for one in facts.get("items", [])],
        crop=CropView(**facts["crop"]) if facts.get("crop") else None,
        self_test=kept.self_test,
        best=facts.get("best"),
        best_because=facts.get("best_because"),
        warnings=[SaidView(**one) for one in facts.get("warnings", [])],
        created_at=iso(kept.created_at),
        expires_at=iso(kept.expires_at),
    )


def _progress(kept: KeptPreview) -> MadeView:
    """Return how far it is; a side that failed left frames that are not made any more."""
    done = kept.frames_total if kept.state == "succeeded" else min(kept.frames_done, kept.frames_total)
    return MadeView(done=done, total=kept.frames_total)


def _before(kept: KeptPreview, side: Mapping[str, Any]) -> BeforeView:
    return BeforeView(
        name="before", url=_url(kept, side["file"]), quality=_quality(side), quality_fault=side.get("quality_fault"),
    )  # fmt: skip


def _item(kept: KeptPreview, side: Mapping[str, Any]) -> ItemView:
    return ItemView(
        model=side["model"],
        state=side["state"],
        url=_url(kept, side["file"]) if side["file"] else None,
        fps=side["fps"],
        seconds=side["seconds"],
        byte_count=side["byte_count"],
        fault=side["fault"],
        quality_fault=side.get("quality_fault"),  # absent in notes of an earlier version
        quality=_quality(side),
    )


def _quality(side: Mapping[str, Any]) -> QualityView | None:
    return QualityView(**side["quality"]) if side["quality"] else None


def _url(kept: KeptPreview, name: str) -> str:
    return f"/v1/previews/{kept.id}/files/{name}"
