"""Makes a preview: the same frames through bicubic and each model, as files that play in step.

    whole    the plan of the whole video says how large, how long and which model
    cut      where the result is larger than browsers play, the middle of the excerpt is worked on
    show     one plan for each side, with the same start and length, through the ordinary pipeline
    test     where asked for: the original made smaller, restored by each, and measured (see `self_test`)

It knows no HTTP and opens no media: the studio does.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from upscale_server.disk import naming_write_faults
from upscale_server.errors import BadRequest, UpscaleError
from upscale_server.events import Observer
from upscale_server.media.excerpt import Area, Excerpt
from upscale_server.media.types import Size, VideoInfo
from upscale_server.models.catalogue import BICUBIC
from upscale_server.plan import Plan
from upscale_server.preview.self_test import planned_test, run_self_test
from upscale_server.preview.side import FATAL, SEGMENT_SECONDS, made, named, whole_of
from upscale_server.preview.studio import Studio
from upscale_server.preview.values import BEFORE, Asked, Candidate, Crop, Preview, Shown
from upscale_server.quality import require_quality
from upscale_server.wish import Wish

MOST = Size(3840, 2160)
"""The largest picture that browsers surely decode; a portrait one is turned."""

_PRESET = "veryfast"
_FROM_FIRST_FRAME = 1e-9
"""A start of zero would keep the source's own first time; this one means the same frame, shown at zero."""
_HDR_TRANSFERS = (16, 18)
_SAID_BY_OTHERS = ("stream_left_out", "format_converted", "range_converted", "times_delayed", "lanczos_finish")
"""Warnings of plans that are about the whole job, or that a preview says in its own words."""


@dataclass(frozen=True, slots=True)
class _Work:
    """What all steps of one preview share."""

    asked: Asked
    studio: Studio
    folder: Path
    observer: Observer


@dataclass(frozen=True, slots=True)
class _Part:
    """What the sides are made of: a source, the wish for it, and the area that it is of the whole source."""

    source: Path
    wish: Wish
    area: Area | None = None


def make_preview(asked: Asked, studio: Studio, folder: Path, observer: Observer) -> Iterator[Preview]:
    """Make a preview in `folder` and yield it each time that more of it is there; the last one is the whole.

    A model that fails has a fault and does not keep the others up.

    Raises:
        BadRequest and its kinds: what is asked for contradicts itself or the source.
        SourceError and its kinds: the source cannot be used.
        MissingExtra: a self-test is asked for and cannot measure.
        UpscaleError: every model failed; it is the first one's fault.
    """
    if asked.self_test:
        require_quality()
    work = _Work(asked, studio, folder, observer)
    wish = _wish(asked.wish)
    whole = studio.plan(asked.source, _as_bicubic(wish) if asked.models else wish)
    start = _start(asked, whole.source.duration_seconds)
    wish = replace(wish, start_seconds=start or _FROM_FIRST_FRAME, duration_seconds=asked.seconds)
    first = studio.plan(asked.source, _as_bicubic(wish))
    _check_frames(asked, first)
    part = _part(work, whole, first, wish)
    if part.area is not None:
        first = studio.plan(part.source, _as_bicubic(part.wish))
    candidates = asked.models or (Candidate(whole.model, named(whole)),)
    preview = _planned(asked, candidates, (whole, first), start, part.area)
    yield preview
    plans: list[tuple[Candidate, Plan | None]] = [
        (Candidate(BEFORE, BICUBIC), first),
        *((one, None) for one in candidates),
    ]
    for candidate, plan in plans:
        for grown in _show(work, preview, candidate, part, plan):
            preview = grown
            yield preview
    if preview.self_test is not None:
        yield from run_self_test(preview, studio, folder / "work" / "test", observer)
    shutil.rmtree(folder / "work", ignore_errors=True)
    if all(one.state == "failed" for one in preview.items) and preview.items[0].fault is not None:
        raise preview.items[0].fault


def _wish(wish: Wish) -> Wish:
    """Return a wish for the same size as a preview: its codec and formats are what every browser plays."""
    return replace(
        wish,
        profile="preview",
        codec="h264",
        crf=None,
        preset=_PRESET,
        pixel_format=None,
        container="mp4",
        segment_seconds=SEGMENT_SECONDS,
        start_seconds=None,
        duration_seconds=None,
        max_bytes=None,
        padding=0,
    )


def _as_bicubic(wish: Wish) -> Wish:
    return replace(wish, model=BICUBIC, engine="auto", precision="auto", settled=False)


def _start(asked: Asked, duration_seconds: float) -> float:
    if not asked.seconds > 0:
        raise BadRequest(f"a preview of {asked.seconds} seconds is asked for; expected more than 0")
    if asked.start_seconds is not None:
        return asked.start_seconds
    return max(0.0, (duration_seconds - asked.seconds) / 2)


def _check_frames(asked: Asked, first: Plan) -> None:
    """Refuse before anything is made what would hold the lanes for hours: seconds say nothing of frame rates."""
    sides = 1 + max(1, len(asked.models))
    count = first.frame_count * sides * (2 if asked.self_test else 1)
    if asked.most_frames is not None and count > asked.most_frames:
        raise BadRequest(
            f"the preview has {count} frames, {first.frame_count} of each of {sides} sides"
            f"{', and as many to test' if asked.self_test else ''}; the limit is {asked.most_frames}, "
            "see UPSCALE_PREVIEWS__MOST_FRAMES",
            hint="ask for fewer seconds or models",
        )


def _part(work: _Work, whole: Plan, plan: Plan, wish: Wish) -> _Part:
    """Return what is worked on: the source itself, or its middle where the result would be too large to play."""
    most = Size(MOST.height, MOST.width) if whole.picture.height > whole.picture.width else MOST
    if whole.target.width <= most.width and whole.target.height <= most.height:
        return _Part(work.asked.source, wish)
    area = _middle(whole, most)
    path = work.folder / "work" / "middle.mp4"
    with naming_write_faults(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    work.studio.write_excerpt(Excerpt(plan.source, whole_of(plan), area, plan.source.pixel_format), path, work.observer)
    width = _even(area.size.width * whole.picture.width / whole.source.size.width)
    height = _even(area.size.height * whole.picture.height / whole.source.size.height)
    wish = replace(wish, task=None, scale=None, fit=None, to=f"{width}x{height}", start_seconds=None)
    return _Part(path, replace(wish, duration_seconds=None), area)


def _even(side: float) -> int:
    return max(2, round(side / 2) * 2)


def _middle(whole: Plan, most: Size) -> Area:
    """Return the middle of the source from which at most `most` is made; its place and sides are even."""
    sides = []
    for source, picture, limit in (
        (whole.source.size.width, whole.picture.width, most.width),
        (whole.source.size.height, whole.picture.height, most.height),
    ):
        length = max(2, min(source, limit * source // picture) // 2 * 2)
        sides.append(((source - length) // 2 // 2 * 2, length))
    (left, width), (top, height) = sides
    return Area(left, top, Size(width, height))


def _planned(
    asked: Asked, candidates: tuple[Candidate, ...], plans: tuple[Plan, Plan], start: float, area: Area | None
) -> Preview:
    whole, first = plans
    crop = None if area is None else _crop(whole, area, first.target)
    warnings = [one for one in first.warnings if one[0] not in _SAID_BY_OTHERS]
    warnings += _own_warnings(whole.source, crop)
    test = None
    if asked.self_test:
        test, said = planned_test(first)
        warnings += said
    return Preview(
        size=first.target,
        start_seconds=start,
        seconds=asked.seconds,
        frame_count=first.frame_count,
        whole_frames=whole.frame_count,
        before=Shown(BEFORE),
        items=tuple(Shown(one.name) for one in candidates),
        crop=crop,
        self_test=test,
        warnings=tuple(dict.fromkeys(warnings)),
        part=1.0 if area is None else area.size.pixels / whole.source.size.pixels,
    )


def _crop(whole: Plan, area: Area, size: Size) -> Crop:
    """Return where the part that is shown lies in the whole result, bars included."""
    x = (whole.target.width - whole.picture.width) // 2 + round(
        area.left * whole.picture.width / whole.source.size.width
    )
    y = (whole.target.height - whole.picture.height) // 2
    y += round(area.top * whole.picture.height / whole.source.size.height)
    return Crop(x, y, size.width, size.height)


def _own_warnings(info: VideoInfo, crop: Crop | None) -> list[tuple[str, str]]:
    found = []
    if info.colour.transfer in _HDR_TRANSFERS:
        found.append(("hdr_in_8_bits", "the source is HDR; both sides are shown in 8 bits, the result keeps its depth"))
    elif info.bits > 8:
        found.append(("shown_in_8_bits", f"the source has {info.bits} bits; both sides are shown in 8, the result not"))
    if crop is not None:
        part = f"{crop.width}x{crop.height} at {crop.x},{crop.y}"
        found.append(("cropped", f"the result is larger than {MOST}; its middle is shown 1:1 ({part})"))
    return found


def _show(work: _Work, preview: Preview, candidate: Candidate, part: _Part, plan: Plan | None) -> Iterator[Preview]:
    """Make one side and yield the preview with it, first as running, then as it came out."""
    running = Shown(candidate.name, "running")
    yield preview.with_shown(running)
    try:
        if plan is None:
            plan = work.studio.plan(part.source, replace(part.wish, model=candidate.model))
        shown, times = made(candidate.name, plan, work.folder, work.studio, work.observer)
        _in_step(preview, shown, times)
    except FATAL:
        raise
    except UpscaleError as err:
        if candidate.name == BEFORE:
            raise
        yield preview.with_shown(replace(running, state="failed", fault=err))
    else:
        yield replace(preview.with_shown(shown), frame_times=times, frame_count=len(times))


def _in_step(preview: Preview, shown: Shown, times: tuple[float, ...]) -> None:
    """Hold a side against the first: a page plays them side by side, frame for frame."""
    if shown.name != BEFORE and times != preview.frame_times:
        raise UpscaleError(
            f"{shown.name} has {len(times)} frames that are not shown when the {len(preview.frame_times)} of "
            f"{BEFORE} are"
        )
    if shown.plan is not None and shown.plan.target != preview.size:
        raise UpscaleError(f"{shown.name} is {shown.plan.target}; expected {preview.size} as {BEFORE}")
