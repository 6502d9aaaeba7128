"""Every decision about a job, made once and before any work, so that it can be read, tested and kept.

It chooses sizes, model, passes, encoder and segments; it upscales nothing and opens no weights.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field, replace
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any

from upscale_server.errors import BadRequest, HdrNotCarried, TooManyPixels, UnsupportedFormat
from upscale_server.geometry import LEFTOVER, Fitted, fit_to, passes_for, target_of
from upscale_server.media.encode import (
    CARRIES_HDR10,
    DEFAULTS,
    PIXEL_FORMATS,
    EncoderSettings,
    VideoSpec,
    encoder_accepts,
    encoder_named,
)
from upscale_server.media.formats import WORKING, bits_of, subsampling_of
from upscale_server.media.index import PacketIndex
from upscale_server.media.probe import Probed, probe_with_index
from upscale_server.media.tracks import Refused, Window, earliest_time, refused_by
from upscale_server.media.types import Segment, Size, VideoInfo, record
from upscale_server.models.card import ModelCard
from upscale_server.models.catalogue import family
from upscale_server.models.select import working_of

_NO_NEGATIVE_TIME = ("matroska", "webm")
_HDR_TRANSFERS = (16, 18)  # H.273: PQ and HLG
_CODECS_HELD = {
    "mp4": ("libx264", "libx265", "libsvtav1", "h264_nvenc", "hevc_nvenc", "av1_nvenc"),
    "mov": ("libx264", "libx265", "h264_nvenc", "hevc_nvenc"),
    "webm": ("libsvtav1", "av1_nvenc"),
}
_LATE_KEYFRAME = 0.5
"""A segment may grow by this part of its length to end on a keyframe."""
_SHORTEST_REST = 0.2
"""A rest shorter than this part of a segment joins the one before."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is refused before any work; values in samples."""

    max_source_side: int = 16_384
    max_pixels: int = 35_389_440
    max_output_side: int = 16_384


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user asked for; None leaves the choice to the plan."""

    task: str | None = None
    to: str | None = None
    scale: int | None = None
    fit: str | None = None
    model: str | None = None
    engine: str = "auto"
    precision: str = "auto"
    codec: str = "hevc"
    crf: int | None = None
    preset: str | None = None
    pixel_format: str | None = None
    start_seconds: float | None = None
    duration_seconds: float | None = None
    threads: int = 0
    segment_seconds: float = 10.0
    container: str = "mp4"


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
    def digest(self) -> str:
        """Return the name under which unfinished work is found again: equal plans make equal bytes."""
        text = json.dumps(self.as_record(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def as_record(self) -> dict[str, Any]:  # JSON values of many types
        """Return the plan as plain JSON values."""
        return dict(record(self))


def make_plan(source: Path | Probed, wish: Wish, limits: Limits | None = None) -> Plan:
    """Decide everything about a job.

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
    passes = _passes(info.size, fitted, wish)
    working = working_of(passes[0].card, wish.engine, wish.precision)
    spec = _spec(info, fitted.canvas)
    settings = _encoder(info, wish, spec)
    refused = tuple(refused_by(Path(info.path), info.stream_index, wish.container))
    window = _window(info, probed.index, wish)
    if window.start is None:
        window = replace(window, delay=_delay(probed, wish.container, frozenset(one.index for one in refused)))
    segments = cut(probed.index, info, window, wish.segment_seconds)
    return Plan(
        source=info,
        passes=passes,
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
        frame_count=sum(any(segment.holds(pts) for segment in segments) for pts in probed.index.pts),
        made_with={name: version(name) for name in ("upscale-server", "av", "openvino")},
        warnings=(
            *info.warnings,
            *_left_out(refused, wish),
            *_size_warnings(info, fitted, passes),
            *_time_warnings(info, window, wish),
        ),
    )


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


def _passes(source: Size, fitted: Fitted, wish: Wish) -> tuple[Pass, ...]:
    cards = family(wish.model)
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


def _encoder(info: VideoInfo, wish: Wish, spec: VideoSpec) -> EncoderSettings:
    codec = encoder_named(wish.codec)
    held = _CODECS_HELD.get(wish.container, tuple(DEFAULTS))
    if codec not in held:
        raise BadRequest(f"a {wish.container} file cannot hold {wish.codec}; it holds {', '.join(held)}")
    crf, preset = DEFAULTS[codec]
    settings = EncoderSettings(
        codec=codec,
        pixel_format=_pixel_format(info, wish, codec, spec.size),
        crf=crf if wish.crf is None else wish.crf,
        preset=wish.preset or preset,
        threads=wish.threads or _cores(),
        gop_frames=max(12, min(300, round(5 * info.average_rate))),
    )
    _carries_hdr(info, settings)
    encoder_accepts(settings, spec)
    return settings


def _pixel_format(info: VideoInfo, wish: Wish, codec: str, size: Size) -> str:
    chosen = wish.pixel_format or info.pixel_format
    if chosen not in WORKING:
        raise BadRequest(f"pixel format is {chosen!r}; expected one of {', '.join(sorted(WORKING))}")
    if chosen not in PIXEL_FORMATS[codec]:
        raise UnsupportedFormat(
            f"{codec} cannot keep {chosen}; it takes {', '.join(PIXEL_FORMATS[codec])}",
            hint="choose --codec hevc, or name a --pixel-format to convert to",
        )
    across, down = subsampling_of(chosen)
    if (across and size.width % across) or (down and size.height % down):
        raise UnsupportedFormat(
            f"output is {size}; {chosen} needs sides that are multiples of {across} and {down}",
            hint="choose another size, or --pixel-format yuv444p",
        )
    return chosen


def _carries_hdr(info: VideoInfo, settings: EncoderSettings) -> None:
    is_hdr = info.colour.transfer in _HDR_TRANSFERS
    if is_hdr and bits_of(settings.pixel_format) < info.bits:
        raise HdrNotCarried(f"the source is HDR of {info.bits} bits; {settings.pixel_format} has 8")
    if (info.hdr.mastering_display or info.hdr.content_light) and settings.codec not in CARRIES_HDR10:
        raise HdrNotCarried(
            f"{settings.codec} cannot carry HDR10 metadata here; {', '.join(CARRIES_HDR10)} can",
            hint="choose --codec hevc",
        )


def _window(info: VideoInfo, index: PacketIndex, wish: Wish) -> Window:
    """Return the kept time; a trimmed job starts on the first frame at or after the moment asked for."""
    if wish.start_seconds is None and wish.duration_seconds is None:
        return Window()
    if not index.reliable:
        raise BadRequest("the source's packets have no reliable times; it cannot be trimmed")
    if (wish.start_seconds or 0) < 0 or (wish.duration_seconds is not None and wish.duration_seconds <= 0):
        raise BadRequest(
            f"start is {wish.start_seconds} and duration {wish.duration_seconds} seconds; expected 0 or more, and more"
        )
    moment = index.pts[0] * info.time_base + Fraction(wish.start_seconds or 0).limit_denominator(1_000_000)
    first = next((pts for pts in index.pts if pts * info.time_base >= moment), None)
    if first is None:
        raise BadRequest(f"start is {wish.start_seconds} seconds; the video is {info.duration_seconds:.3f} long")
    start = first * info.time_base if wish.start_seconds else None
    if wish.duration_seconds is None:
        return Window(start)
    return Window(start, first * info.time_base + Fraction(wish.duration_seconds).limit_denominator(1_000_000))


def _delay(probed: Probed, container: str, left_out: frozenset[int]) -> Fraction:
    """Return by how much everything must start later because the output has no time before zero.

    QuickTime's edit lists hide what lies before zero; Matroska counts an encoder's priming samples (CodecDelay) where
    the source said how many. That is right for priming, and wrong for pictures and for other containers' sound.
    """
    info = probed.info
    to_matroska = container in _NO_NEGATIVE_TIME
    hidden_in_source = "matroska" in info.container or ("mov" in info.container and not to_matroska)
    first_picture = probed.index.pts[0] * info.time_base if probed.index.pts else Fraction(0)
    if probed.index.untimed_first:
        first_picture -= probed.index.untimed_first / info.average_rate
    earliest = first_picture if hidden_in_source else earliest_time(Path(info.path), left_out)
    return max(Fraction(0), -min(earliest, first_picture))


def cut(index: PacketIndex, info: VideoInfo, window: Window, seconds: float) -> tuple[Segment, ...]:
    """Cut the kept time into segments of about `seconds`, on keyframes where one is near.

    A stream without reliable times is one segment.
    """
    first = _ticks(window.start, info.time_base)
    last = _ticks(window.end, info.time_base)
    if not index.reliable:
        return (Segment(0, first, last, None),)
    kept = [pts for pts in index.pts if (first is None or pts >= first) and (last is None or pts < last)]
    starts: list[int | None] = [first, *_cuts(kept, index.keyframes, float(seconds / info.time_base))]
    ends = [*starts[1:], last]
    steps_back = 1 if info.interlaced or "mpegts" in info.container else 0
    return tuple(
        Segment(place, start, end, None if start is None else index.keyframe_before(start, steps=steps_back))
        for place, (start, end) in enumerate(zip(starts, ends, strict=True))
    )


def _ticks(seconds: Fraction | None, time_base: Fraction) -> int | None:
    """Return the first tick at or after a moment."""
    return None if seconds is None else -int(-seconds // time_base)


def _cuts(kept: list[int], keyframes: tuple[int, ...], length: float) -> list[int]:
    """Return where the second and later segments start."""
    cuts: list[int] = []
    start = kept[0] if kept else 0
    for pts in kept:
        if pts - start < length or kept[-1] - pts < length * _SHORTEST_REST:
            continue
        late = next((key for key in keyframes if key >= pts), None)
        near = late is not None and late - start <= length * (1 + _LATE_KEYFRAME)
        if near and late is not None and late != pts:
            continue  # the loop comes to the keyframe by itself
        cuts.append(pts)
        start = pts
    return cuts


def _batch(size: Size) -> int:
    """Return frames per call: enough to fill a call of small pictures, few enough to keep memory flat."""
    return max(1, min(8, 1_000_000 // size.pixels))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def _left_out(refused: tuple[Refused, ...], wish: Wish) -> list[tuple[str, str]]:
    other = "" if wish.container == "matroska" else "; .mkv may hold it"
    return [
        ("stream_left_out", f"{one.kind} stream {one.index} ({one.codec}) cannot be held by {wish.container}{other}")
        for one in refused
    ]


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
