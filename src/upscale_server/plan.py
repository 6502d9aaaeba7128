"""Every decision about a job, made once and before any work, so that it can be read, tested and kept.

It chooses sizes, model, passes, encoder and segments; it upscales nothing and opens no weights.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field, replace
from fractions import Fraction
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

from upscale_server.cutting import cut
from upscale_server.encoding import choose_encoder
from upscale_server.errors import BadRequest, TooManyPixels, UnsupportedFormat
from upscale_server.geometry import LEFTOVER, Fitted, fit_to, passes_for, target_of
from upscale_server.media.encoders import EncoderSettings, VideoSpec
from upscale_server.media.index import PacketIndex
from upscale_server.media.probe import Probed, probe_with_index
from upscale_server.media.tracks import Refused, Window, earliest_time, refused_by, without_keyframe
from upscale_server.media.types import Segment, Size, VideoInfo, record
from upscale_server.model_choice import choose_model
from upscale_server.models.card import ModelCard
from upscale_server.models.choices import Choices
from upscale_server.models.select import working_of
from upscale_server.wish import Limits, Wish

_LONGEST_QUICKTIME_STEP = 2**31 - 1
_NO_NEGATIVE_TIME = ("matroska", "webm")


@dataclass(frozen=True, slots=True)
class Pass:
    """One run of a network over the whole picture."""

    card: ModelCard
    size_in: Size
    size_out: Size


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that the bytes of the output depend on, and what the user should know beforehand."""

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
    made_with: dict[str, str] = field(default_factory=dict)
    warnings: tuple[tuple[str, str], ...] = ()

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
        text = json.dumps(self.as_record(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def as_record(self) -> dict[str, Any]:  # JSON values of many types
        """Return the plan as plain JSON values."""
        return dict(record(self))


def make_plan(source: Path | Probed, wish: Wish, limits: Limits | None = None, choices: Choices | None = None) -> Plan:
    """Decide everything about a job.

    Args:
        source: the file, or what probing it found.
        wish: what was asked for.
        limits: what is refused.
        choices: where measurements of engines are remembered; None measures nothing.

    Raises:
        BadRequest and its kinds: the wish contradicts itself.
        SourceError and its kinds: the source cannot be used, or already has the size asked for.
        ModelMissing: no such model.
    """
    probed = source if isinstance(source, Probed) else probe_with_index(source)
    info = probed.info
    _within_limits(info.size, limits or Limits(), "source")
    fitted = fit_to(info.size, target_of(wish.task, wish.to, wish.scale, wish.fit))
    _within_limits(fitted.canvas, limits or Limits(), "output")
    choice = choose_model(info, probed.index, wish.model)
    passes = _passes(info.size, fitted, choice.cards)
    working = working_of(passes[0].card, wish.engine, wish.precision, info.size, choices)
    spec = _spec(info, fitted.canvas)
    settings = choose_encoder(info, wish, spec)
    window, refused = _kept(probed, wish)
    segments = cut(probed.index, info, window, wish.segment_seconds)
    return Plan(
        source=info,
        passes=passes,
        model_because=choice.why,
        engine=working.engine,
        precision=working.precision,
        picture=fitted.picture,
        target=fitted.canvas,
        fit=wish.fit or ("scale" if wish.task is None and wish.to is None else "contain"),
        encoder=settings,
        spec=spec,
        container=wish.container,
        window=window,
        refused=refused,
        segments=segments,
        last_duration=probed.index.last_duration,
        lanes=1,
        batch=_batch(info.size),
        decoder_threads=wish.threads,
        frame_count=_frame_count(probed, segments),
        made_with=_made_with(working.engine),
        warnings=(
            *info.warnings,
            *_left_out(refused, wish),
            *_size_warnings(info, fitted, passes),
            *_time_warnings(info, window, wish),
        ),
    )


def _made_with(engine: str) -> dict[str, str]:
    """Return the versions that the bytes depend on."""
    names = ["upscale-server", "av", "openvino"]
    if engine in ("onnxruntime", "cuda", "tensorrt"):
        names.append("onnxruntime" if engine == "onnxruntime" else "onnxruntime-gpu")
    if engine in ("torch", "torch-cuda"):
        names += ["torch", "spandrel"]
    return {name: version(name) for name in names}


def _within_limits(size: Size, limits: Limits, what: str) -> None:
    longest = limits.max_source_side if what == "source" else limits.max_output_side
    name = "MAX_SOURCE_SIDE" if what == "source" else "MAX_OUTPUT_SIDE"
    if max(size.width, size.height) > longest:
        raise TooManyPixels(f"{what} is {size}; the longest side allowed is {longest}, see UPSCALE_LIMITS__{name}")
    if size.pixels > limits.max_pixels * (1 if what == "source" else 4):
        raise TooManyPixels(
            f"{what} is {size} ({size.pixels / 1e6:.1f} MP); the limit is {limits.max_pixels / 1e6:.1f} MP for a "
            "source and four times that for an output, see UPSCALE_LIMITS__MAX_PIXELS"
        )


def _passes(source: Size, fitted: Fitted, cards: dict[int, ModelCard]) -> tuple[Pass, ...]:
    passes: list[Pass] = []
    size = source
    for scale in passes_for(fitted.enlargement, cards):
        passes.append(Pass(cards[scale], size, size.times(scale)))
        size = size.times(scale)
    return tuple(passes)


def _spec(info: VideoInfo, size: Size) -> VideoSpec:
    return VideoSpec(
        size=size,
        time_base=info.time_base,
        average_rate=info.average_rate,
        sample_aspect_ratio=info.sample_aspect_ratio,
        display_matrix=info.display_matrix,
        colour=info.colour,
        hdr=info.hdr,
    )


def _kept(probed: Probed, wish: Wish) -> tuple[Window, tuple[Refused, ...]]:
    """Return the time that is kept, and the tracks that the container cannot hold."""
    _gaps_fit(probed, wish)
    path, picture = Path(probed.info.path), probed.info.stream_index
    refused = tuple(refused_by(path, picture, wish.container))
    window = _window(probed.info, probed.index, wish)
    refused += tuple(without_keyframe(path, picture, window))
    if window.start is None:
        window = replace(window, delay=_delay(probed, wish.container, frozenset(one.index for one in refused)))
    return window, refused


def _window(info: VideoInfo, index: PacketIndex, wish: Wish) -> Window:
    """Return the kept time; a trimmed job starts on the first frame at or after the moment asked for."""
    if wish.start_seconds is None and wish.duration_seconds is None:
        return Window()
    if not index.reliable:
        raise BadRequest("the source's packets have no reliable times; it cannot be trimmed")
    start, duration = wish.start_seconds or 0.0, wish.duration_seconds
    if not 0 <= start < math.inf:
        raise BadRequest(f"start is {start} seconds; expected 0 or more")
    if duration is not None and not 0 < duration < math.inf:
        raise BadRequest(f"duration is {duration} seconds; expected more than 0")
    moment = index.pts[0] * info.time_base + Fraction(start).limit_denominator(1_000_000)
    first = next((pts for pts in index.pts if pts * info.time_base >= moment), None)
    if first is None:
        raise BadRequest(f"start is {start} seconds; the video is {info.duration_seconds:.3f} long")
    begin = first * info.time_base
    end = None if duration is None else begin + Fraction(duration).limit_denominator(1_000_000)
    return Window(begin if start else None, end)


def _gaps_fit(probed: Probed, wish: Wish) -> None:
    """Refuse a pause between two pictures that QuickTime's 32 bits cannot count."""
    longest = max((later - earlier for earlier, later in pairwise(probed.index.pts)), default=0)
    ticks = longest * probed.info.time_base.numerator
    if wish.container in ("mp4", "mov") and ticks > _LONGEST_QUICKTIME_STEP:
        raise UnsupportedFormat(
            f"two pictures are {float(longest * probed.info.time_base):.0f} s apart; {wish.container} counts up to "
            f"{float(_LONGEST_QUICKTIME_STEP / Fraction(probed.info.time_base.denominator)):.0f} s in this time base",
            hint="choose an .mkv output",
        )


def _delay(probed: Probed, container: str, left_out: frozenset[int]) -> Fraction:
    """Return by how much everything must start later because the output has no time before zero.

    QuickTime's edit lists hide what lies before zero; Matroska counts an encoder's priming samples (CodecDelay) where
    the source said how many. That is right for priming, and wrong for pictures and for other containers' sound.
    """
    info = probed.info
    to_matroska = container in _NO_NEGATIVE_TIME
    hidden_in_source = "matroska" in info.container or ("mov" in info.container and not to_matroska)
    first_picture = probed.index.pts[0] * info.time_base if probed.index.pts else Fraction(0)
    if probed.index.untimed_first and probed.index.pts:
        first_picture -= probed.index.untimed_first / info.average_rate
    earliest = first_picture if hidden_in_source else earliest_time(Path(info.path), left_out)
    return max(Fraction(0), -min(earliest, first_picture))


def _frame_count(probed: Probed, segments: tuple[Segment, ...]) -> int:
    if not probed.index.reliable:
        return probed.info.frame_count
    whole = Segment(0, segments[0].start_pts, segments[-1].end_pts, None)
    return sum(whole.holds(pts) for pts in probed.index.pts)


def _batch(size: Size) -> int:
    """Return frames per call: enough to fill a call of small pictures, few enough to keep memory flat."""
    return max(1, min(8, 1_000_000 // size.pixels))


def _left_out(refused: tuple[Refused, ...], wish: Wish) -> list[tuple[str, str]]:
    other = "" if wish.container == "matroska" or not refused else "; .mkv may hold it"
    return [("stream_left_out", f"{one.kind} stream {one.index} ({one.codec}) {one.why}{other}") for one in refused]


def _size_warnings(info: VideoInfo, fitted: Fitted, passes: tuple[Pass, ...]) -> list[tuple[str, str]]:
    found = []
    done = passes[-1].size_out
    leftover = fitted.picture.width / done.width
    if leftover > LEFTOVER:
        found.append(("lanczos_finish", f"the network reaches {done}; Lanczos enlarges the rest by {leftover:.2f}"))
    aspect = Fraction(fitted.picture.width * info.size.height, fitted.picture.height * info.size.width)
    if abs(aspect - 1) > Fraction(1, 200):
        found.append(("aspect_rounded", f"even sides change the aspect ratio by {abs(float(aspect) - 1):.1%}"))
    return found


def _time_warnings(info: VideoInfo, window: Window, wish: Wish) -> list[tuple[str, str]]:
    found = []
    if wish.container in _NO_NEGATIVE_TIME and 1000 % info.time_base.denominator:
        found.append(("times_rounded", "Matroska counts milliseconds; frame times are rounded to the nearest"))
    if window.delay:
        late = f"{float(window.delay):.3f} s"
        found.append(("times_delayed", f"{wish.container} shows no time before zero; everything starts {late} later"))
    return found
