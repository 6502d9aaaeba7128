"""Every decision about a job, made once and before any work, so that it can be read, tested and kept.

It chooses sizes, model, passes, encoder and segments; it upscales nothing and opens no weights.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from upscale_server.budget import Cap, Room, cap_for, fitting_padding, limit_of, other_bytes, reserved_padding
from upscale_server.caveats import caveats_of
from upscale_server.cutting import cut
from upscale_server.encoding import choose_encoder
from upscale_server.errors import BadRequest, BadScale
from upscale_server.geometry import Fitted, fit_to, passes_for, target_of
from upscale_server.limits import check_job
from upscale_server.media.encoders import EncoderSettings, VideoSpec
from upscale_server.media.probe import Probed
from upscale_server.media.tracks import Refused, Window
from upscale_server.media.types import FULL, LIMITED, Segment, Size, VideoInfo
from upscale_server.model_choice import choose_model
from upscale_server.models.base import Working
from upscale_server.models.card import ModelCard
from upscale_server.models.choices import Candidate, Choices, Points
from upscale_server.models.ladder import precision_needed
from upscale_server.models.select import lower_precisions
from upscale_server.models.versions import made_with
from upscale_server.models.ways import Way, settled_way, way_of
from upscale_server.opening import HERE, Decoder, Opener
from upscale_server.profiles import Profile, profile_named
from upscale_server.records import record
from upscale_server.sampling import Samples, sample
from upscale_server.whole import least_frames
from upscale_server.wish import Limits, Wish

_WITHOUT_BYTES = ("lanes", "batch", "decoder", "first_pts", "end_pts", "samples")
"""What no byte depends on: it may differ when unfinished work goes on."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One run of a network over the whole picture."""

    card: ModelCard
    size_in: Size
    size_out: Size


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that the bytes of the output depend on, and what the user should know beforehand.

    An output over `max_bytes` fails the job, and so does one of less than `least_frames`; `padding` is the length of an
    empty box at its end, 0 for none. `first_pts` is the first time that is kept and `end_pts` the end of the last one's
    picture, None where the time table does not tell.
    """

    source: VideoInfo
    passes: tuple[Pass, ...]
    model_because: str
    engine: str
    precision: str
    picture: Size
    target: Size
    fit: str
    encoder: EncoderSettings
    spec: VideoSpec
    container: str
    window: Window
    refused: tuple[Refused, ...]
    segments: tuple[Segment, ...]
    last_duration: int
    lanes: int
    batch: int
    decoder_threads: int
    frame_count: int
    lower_precisions: tuple[str, ...] = ()
    decoder: str = "cpu"
    made_with: dict[str, str] = field(default_factory=dict)
    warnings: tuple[tuple[str, str], ...] = ()
    profile: str = "general"
    max_bytes: int | None = None
    padding: int = 0
    least_frames: int = 0
    first_pts: int | None = None
    end_pts: int | None = None
    samples: Samples = field(default_factory=Samples)

    @property
    def model(self) -> str:
        """Return the name of the model family."""
        return self.passes[0].card.name

    @property
    def suffix(self) -> str:
        """Return the file name suffix of the output's container."""
        return {"matroska": ".mkv"}.get(self.container, f".{self.container}")

    @property
    def digest(self) -> str:
        """Return the name under which unfinished work is found again: equal plans make equal bytes."""
        facts = {name: value for name, value in self.as_record().items() if name not in _WITHOUT_BYTES}
        text = json.dumps(facts, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def as_record(self) -> dict[str, Any]:  # JSON values of many types
        """Return the plan as plain JSON values."""
        return dict(record(self))

    def in_precision(self, lower: str) -> Plan:
        """Return the plan in one of the lower precisions: other bytes, another digest."""
        rest = self.lower_precisions[self.lower_precisions.index(lower) + 1 :]
        return replace(self, precision=lower, lower_precisions=rest)


def make_plan(
    source: Path | Probed,
    wish: Wish,
    limits: Limits | None = None,
    choices: Choices | None = None,
    opener: Opener = HERE,
) -> Plan:
    """Decide everything about a job.

    Args:
        source: the file, or what probing it found.
        wish: what was asked for.
        limits: what is refused.
        choices: where measurements of engines are remembered; None measures nothing.
        opener: where the source is opened.

    Raises:
        BadRequest and its kinds: the wish contradicts itself.
        SourceError and its kinds: the source cannot be used, or already has the size asked for.
        ModelMissing: no such model.
    """
    profile = _profile_of(wish)
    limits = limits or Limits()
    probed = source if isinstance(source, Probed) else opener.probe(source, limits.max_pixels)
    info = probed.info
    fitted = fit_to(info.size, target_of(wish.task, wish.to, wish.scale, wish.fit))
    check_job(info, fitted.canvas, limits)
    choice = choose_model(info, probed.index, wish.model)
    passes = _passes(info.size, fitted, choice.cards)
    working, pace = _way(passes[0], wish, choices)
    spec = _spec(info, fitted.canvas, profile)
    window, refused = opener.kept(probed, wish)
    segments = cut(probed.index, info, window, wish.segment_seconds)
    most = limit_of(profile.most_times_source.get(wish.scale or 0), info.byte_count, wish.max_bytes)
    plan = Plan(
        source=info,
        passes=passes,
        model_because=choice.why,
        engine=working.engine,
        precision=working.precision,
        picture=fitted.picture,
        target=fitted.canvas,
        fit=wish.fit or ("scale" if wish.task is None and wish.to is None else "contain"),
        encoder=choose_encoder(info, wish, spec, _cap(probed, most, reserved_padding(wish.padding, most), segments)),
        spec=spec,
        container=wish.container,
        window=window,
        refused=refused,
        segments=segments,
        last_duration=probed.index.last_duration,
        lanes=pace.lanes,
        batch=pace.batch,
        decoder_threads=wish.threads,
        frame_count=_frame_count(probed, segments),
        warnings=caveats_of(info, wish, fitted, passes[-1].size_out, (window, refused)),
        profile=profile.name,
        max_bytes=most,
        padding=fitting_padding(wish.padding, most),
        least_frames=least_frames(probed, wish, _frame_count(probed, segments)),
    )
    return _lowered(_decoded_by(opener.decoder(info, wish.decoder), _sampled(plan, probed)), wish, working, choices)


def _sampled(plan: Plan, probed: Probed) -> Plan:
    """Return the plan with its ends, and the pieces on which its time and size can be measured beforehand."""
    plan = _with_ends(plan, probed)
    return replace(plan, samples=sample(probed.index, plan.source, plan.window, _other_bytes(probed, plan.segments)))


def _way(one: Pass, wish: Wish, choices: Choices | None) -> Way:
    """Return how the first network runs, measured or remembered where the wish leaves it open."""
    asked = Candidate(wish.engine, wish.precision)
    return (settled_way if wish.settled else way_of)(one.card, asked, one.size_in, choices)


def _decoded_by(decoder: Decoder, plan: Plan) -> Plan:
    device, said = decoder
    return replace(plan, decoder=device, warnings=(*plan.warnings, *said))


def _lowered(plan: Plan, wish: Wish, working: Working, choices: Choices | None) -> Plan:
    """Return the plan in the precision that memory allowed earlier jobs."""
    plan = replace(
        plan,
        made_with=made_with(working.engine),
        lower_precisions=lower_precisions(plan.passes[0].card, working) if _may_lower(wish) else (),
    )
    points = Points() if choices is None else choices.points
    needed = precision_needed([(one.card, one.size_in) for one in plan.passes], working, points, plan.lower_precisions)
    return plan.in_precision(needed) if needed else plan


def _may_lower(wish: Wish) -> bool:
    """Tell whether memory may force a lower precision: one that was asked for is kept or refused."""
    return wish.precision == "auto" or wish.settled


def _profile_of(wish: Wish) -> Profile:
    """Return the profile asked for, when the rest of the wish goes with it."""
    profile = profile_named(wish.profile)
    if wish.max_bytes is not None and wish.max_bytes < 1:
        raise BadRequest(f"the largest size is {wish.max_bytes} bytes; expected 1 or more")
    if profile.container is not None and wish.container != profile.container:
        raise BadRequest(f"container is {wish.container}; the {profile.name} profile takes {profile.container}")
    if profile.most_times_source and wish.scale not in profile.most_times_source:
        scales = " or ".join(map(str, profile.most_times_source))
        raise BadScale(f"scale is {wish.scale}; the {profile.name} profile takes {scales}")
    if profile.pixel_format is not None and wish.pixel_format not in (None, profile.pixel_format):
        raise BadRequest(
            f"pixel format is {wish.pixel_format!r}; the {profile.name} profile takes {profile.pixel_format}"
        )
    if profile.whole and (wish.start_seconds is not None or wish.duration_seconds is not None):
        raise BadRequest(f"a part of the video is asked for; the {profile.name} profile keeps every frame")
    return profile


def _cap(probed: Probed, most_bytes: int | None, reserved: int, segments: tuple[Segment, ...]) -> Cap | None:
    """Return the rate under which the output stays below its limit."""
    if most_bytes is None:
        return None
    frame_count, rate = _frame_count(probed, segments), probed.info.average_rate
    return cap_for(Room(most_bytes - reserved, _other_bytes(probed, segments), frame_count, len(segments), rate))


def _other_bytes(probed: Probed, segments: tuple[Segment, ...]) -> int:
    kept = (_frame_count(probed, segments), probed.info.frame_count)
    return other_bytes(probed.info.byte_count, probed.index.byte_count, kept)


def _passes(source: Size, fitted: Fitted, cards: dict[int, ModelCard]) -> tuple[Pass, ...]:
    passes: list[Pass] = []
    size = source
    for scale in passes_for(fitted.enlargement, cards):
        passes.append(Pass(cards[scale], size, size.times(scale)))
        size = size.times(scale)
    return tuple(passes)


def _spec(info: VideoInfo, size: Size, profile: Profile) -> VideoSpec:
    full = info.colour.range == FULL
    return VideoSpec(
        size=size,
        time_base=info.time_base,
        average_rate=info.average_rate,
        sample_aspect_ratio=info.sample_aspect_ratio,
        display_matrix=info.display_matrix,
        colour=replace(info.colour, range=LIMITED) if full and profile.limited_range else info.colour,
        hdr=info.hdr,
    )


def _frame_count(probed: Probed, segments: tuple[Segment, ...]) -> int:
    return len(_kept(probed, segments)) if probed.index.reliable else probed.info.frame_count


def _with_ends(plan: Plan, probed: Probed) -> Plan:
    """Return the plan with the first time that is kept and the end of the last picture, where the time table tells."""
    kept = _kept(probed, plan.segments)
    if not probed.index.reliable or not kept:
        return plan
    step = plan.last_duration or round(1 / (plan.source.average_rate * plan.source.time_base))
    return replace(plan, first_pts=kept[0], end_pts=kept[-1] + max(1, step))


def _kept(probed: Probed, segments: tuple[Segment, ...]) -> list[int]:
    whole = Segment(0, segments[0].start_pts, segments[-1].end_pts, None)
    return [pts for pts in probed.index.pts if whole.holds(pts)]
