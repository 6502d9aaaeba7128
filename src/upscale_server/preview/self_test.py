"""The self-test: the original made smaller, restored by each model, and measured against what it was.

What is tested is restoring clean detail: the source's own compression is not repeated on the smaller picture.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Literal

from upscale_server.disk import naming_write_faults
from upscale_server.errors import UpscaleError
from upscale_server.events import Observer
from upscale_server.geometry import SCALES
from upscale_server.media.excerpt import Area, Excerpt
from upscale_server.media.types import Size
from upscale_server.models.catalogue import CLASSICAL
from upscale_server.pipeline import upscale_video
from upscale_server.plan import Plan
from upscale_server.preview.side import FATAL, SEGMENT_SECONDS, named, quietly, whole_of
from upscale_server.preview.studio import Studio
from upscale_server.preview.values import Preview, Ranking, SelfTest
from upscale_server.quality import Quality
from upscale_server.wish import Wish

MOST = Size(1920, 1080)
"""The largest original that is measured: of more the middle says the same, and VMAF takes seconds for each 4K frame."""
LEAST = 48
"""The shortest side of an original that is worth measuring; VMAF's own pyramid needs 32 samples."""

ALIKE = {"VMAF": 1.0, "PSNR-Y": 0.1}
"""Differences that decide nothing: six VMAF points are one just noticeable difference, and encoders of one picture
differ by a tenth of a decibel from run to run."""


def planned_test(first: Plan) -> tuple[SelfTest | None, list[tuple[str, str]]]:
    """Return how a video can be tested by the scale that the job's networks have, and what is to be said of it."""
    scale = min(max(prod(one.card.scale for one in first.passes), SCALES[0]), SCALES[-1])
    area = _area(first.source.size, scale)
    if min(area.size.width, area.size.height) < LEAST:
        return None, [("not_tested", f"{first.source.size} is too small to be made {scale} times smaller and restored")]
    said = [("self_test", "the smaller picture is clean: how a model treats the source's compression is not measured")]
    if area.size.pixels < first.source.size.pixels * 9 // 10:
        said.append(("tested_in_part", f"the middle {area.size} of {first.source.size} is measured"))
    return SelfTest(scale, area.size), said


def run_self_test(preview: Preview, studio: Studio, folder: Path, observer: Observer) -> Iterator[Preview]:
    """Restore and measure one side after the other; yield the preview with each number, and at last with the best.

    What goes wrong here is told and takes no side away: they are there already.
    """
    test, plan = preview.self_test, preview.before.plan
    if test is None or plan is None:
        return
    reference, smaller = folder / "reference.mp4", folder / "smaller.mp4"
    whole = Excerpt(plan.source, whole_of(plan), _area(plan.source.size, test.scale), "yuv420p")
    try:
        with naming_write_faults(folder):
            folder.mkdir(parents=True, exist_ok=True)
        studio.write_excerpt(whole, reference, observer)
        studio.write_excerpt(replace(whole, shrink=test.scale), smaller, observer)
    except FATAL:
        raise
    except UpscaleError as err:
        warnings = (*preview.warnings, ("not_tested", f"the original could not be made smaller: {err}"))
        yield replace(preview, self_test=None, warnings=warnings)
        return
    for shown in (preview.before, *preview.items):
        if shown.plan is None:
            continue
        try:
            wish = _restoring(shown.plan, test.scale)
            restored = upscale_video(
                studio.plan(smaller, wish), studio.executor, folder / shown.name, quietly(observer)
            )
            quality = studio.measure(reference, restored.path, observer)
        except FATAL:
            raise
        except UpscaleError as err:
            preview = preview.with_shown(replace(shown, quality_fault=err))
        else:
            preview = preview.with_shown(replace(shown, quality=quality))
        shutil.rmtree(folder / shown.name, ignore_errors=True)
        yield preview
    yield replace(preview, self_test=replace(test, ranking=ranking_of(preview)))


def _restoring(plan: Plan, scale: int) -> Wish:
    """Return the wish that restores with the model of a plan: lossless, so that the model alone is measured.

    x264 is lossless at CRF 0 in 8 bits, which the smaller picture has.
    """
    way = Wish(model=named(plan)) if plan.engine in CLASSICAL else Wish(
        model=named(plan), engine=plan.engine, precision=plan.precision, settled=True
    )  # fmt: skip
    return replace(way, scale=scale, codec="h264", crf=0, preset="ultrafast", segment_seconds=SEGMENT_SECONDS)


def ranking_of(preview: Preview) -> Ranking | None:
    """Return which side restored best; None where none was measured.

    VMAF decides where every side has one, because it is the number that follows people's judgement of moving pictures
    most closely; else PSNR-Y. Bicubic competes: where it wins, no model helps.
    """
    found = {one.name: one.quality for one in (preview.before, *preview.items) if one.quality is not None}
    if not found:
        return None
    by, scores = _scores(found)
    ordered = sorted(scores, key=lambda name: -scores[name])
    best, rest = ordered[0], ordered[1:]
    margin = round(scores[best] - scores[rest[0]], 3) if rest else 0.0
    tied = tuple(name for name in rest if scores[best] - scores[name] < ALIKE[by])
    return Ranking(best, by, margin, tied, _said(best, by, scores, tied))


def _scores(found: Mapping[str, Quality]) -> tuple[Literal["VMAF", "PSNR-Y"], dict[str, float]]:
    vmaf = {name: one.vmaf for name, one in found.items() if one.vmaf is not None}
    if len(vmaf) == len(found):
        return "VMAF", vmaf
    return "PSNR-Y", {name: one.psnr_y for name, one in found.items()}


def _said(best: str, by: str, scores: Mapping[str, float], tied: tuple[str, ...]) -> str:
    """Say who won in a sentence that does not claim more than was measured."""
    unit = " dB" if by == "PSNR-Y" else ""
    text = f"{best} restored best: {by} {scores[best]:.2f}{unit}"
    others = {name: score for name, score in scores.items() if name != best}
    if tied:
        return f"{text}; {', '.join(tied)} within {ALIKE[by]:g}{unit} of it, which nobody sees"
    if others:
        second = max(others, key=lambda name: others[name])
        return f"{text}, {scores[best] - others[second]:.2f}{unit} above {second}"
    return text


def _area(source: Size, scale: int) -> Area:
    """Return the middle of a source, not larger than `MOST`, that can be made smaller without a rest."""
    most = Size(MOST.height, MOST.width) if source.height > source.width else MOST
    step = 2 * scale  # the smaller picture has even sides, too
    width = min(source.width, most.width) // step * step
    height = min(source.height, most.height) // step * step
    return Area((source.width - width) // 4 * 2, (source.height - height) // 4 * 2, Size(width, height))
