"""The output held against its source: every frame, time, track, tag; a broken hard rule fails the job.

Both files are read and decoded again from the beginning, in one piece, whatever segments the output was made of; the
decoder is the same. It judges; it repairs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

from upscale_server.audit_frames import Findings, Way, compare_frames
from upscale_server.audit_tracks import compare_tracks
from upscale_server.errors import NothingToUpscale
from upscale_server.events import Observer, ignore
from upscale_server.geometry import Target, fit_to
from upscale_server.media.admission import MOST_PIXELS
from upscale_server.media.colour_names import chroma_name, matrix_name, primaries_name, range_name, transfer_name
from upscale_server.media.formats import bits_of, subsampling_of
from upscale_server.media.probe import Probed, probe_with_index
from upscale_server.media.track_facts import TrackFacts, facts_of_tracks
from upscale_server.media.tracks import PacketPlace, Window, refused_by
from upscale_server.media.types import Size, VideoInfo
from upscale_server.plan import Plan

_ASPECT_TOLERANCE = Fraction(1, 200)
_LIMITED = 1

MOST_BIAS = 1.5
MOST_LUMA_CELL = 12.0
MOST_CHROMA = 5.0
MOST_CHROMA_CELL = 24.0
LEAST_DETAIL = 28.0
"""How far the worst frame may be from its source, in levels of 8 bits, and in dB of PSNR-Y at the source's size.

Measured over 114 generated clips (tiny, hard-edged) and real footage with the default CRF, the worst honest values are
0.23, 3.0, 3.7, 20.6 (test bars in 10 bits, full colours side by side) and 36.8 dB; a swap of U and V, a wrong range, a
shift by eight samples, a black corner, noise or blur exceed at least one bound."""
_COARSE_CRF = {"libx264": 35, "libx265": 35, "h264_nvenc": 35, "hevc_nvenc": 35}
_COARSE_CRF_AV1 = 48
_COARSE = 3.0
_COARSE_DB = 8.0
_SQUEEZED = 0.6
"""From these CRFs on, who asked for blocks gets them, and the bounds widen (measured at the last CRF: 24 levels,
26.7 dB); so they do for RGB networks, which have no room for colours outside the RGB cube, and for an output that
nearly fills the size it was given: there detail is what the limit was paid with, and is told, not judged."""
_FEW_BLOCKS = 64 * 64
"""Below so many pixels, a frame of noise keeps its detail at no usual CRF (17x33 of it: 25.5 dB)."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One promise: whether it was kept, what was expected and what was found. Soft rules only inform."""

    name: str
    ok: bool
    expected: str
    found: str
    hard: bool = True


@dataclass(frozen=True, slots=True)
class Audit:
    """The rules in the order they were checked."""

    rules: tuple[Rule, ...]

    @property
    def ok(self) -> bool:
        """Tell whether every hard rule holds."""
        return all(rule.ok for rule in self.rules if rule.hard)

    @property
    def only_coarse(self) -> bool:
        """Tell whether it is broken, and only by how far colours and brightness are from the source's."""
        broken = [rule.name for rule in self.rules if rule.hard and not rule.ok]
        return bool(broken) and all(name.startswith(("luma", "chroma,")) for name in broken)

    @property
    def only_pictures(self) -> bool:
        """Tell whether it is broken, and only by what frames show."""
        broken = [rule.name for rule in self.rules if rule.hard and not rule.ok]
        return bool(broken) and all(name.startswith(("luma", "chroma,", "detail", "frame order")) for name in broken)

    @property
    def faults(self) -> str:
        """Return the broken hard rules as one line."""
        broken = [rule for rule in self.rules if rule.hard and not rule.ok]
        return "; ".join(f"{rule.name}: expected {rule.expected}, found {rule.found}" for rule in broken)


@dataclass(frozen=True, slots=True)
class Promise:
    """What may differ between source and output, because the plan said so."""

    window: Window = field(default_factory=Window)
    size: Size | None = None
    picture: Size | None = None
    left_out: frozenset[int] = frozenset()
    pixel_format: str = ""
    passed_over: frozenset[PacketPlace] = frozenset()
    coarse: bool = False
    squeezed: bool = False
    range: int | None = None
    threads: int = 0


def audit(
    plan: Plan, output: Path, passed_over: frozenset[PacketPlace] = frozenset(), observer: Observer = ignore
) -> Audit:
    """Hold a job's output against its source and plan; damaged packets that were passed over do not count."""
    promise = Promise(
        window=plan.window,
        size=plan.target,
        picture=plan.picture,
        left_out=frozenset(refused.index for refused in plan.refused),
        pixel_format=plan.encoder.pixel_format,
        passed_over=passed_over,
        coarse=plan.encoder.crf >= _COARSE_CRF.get(plan.encoder.codec, _COARSE_CRF_AV1)
        or plan.passes[0].card.domain == "rgb",
        squeezed=is_squeezed(plan, output),
        range=plan.spec.colour.range,
    )
    a = probe_with_index(Path(plan.source.path), plan.source.size.pixels)
    b = probe_with_index(output, max(MOST_PIXELS, plan.target.pixels))
    found = _compare(a, b, promise, observer)
    if found.ok or not plan.decoder_threads:
        return found
    # What a decoder makes of damage depends on how many threads it has: those that made the output are tried last.
    return _compare(a, b, replace(promise, threads=plan.decoder_threads), observer)


def is_squeezed(plan: Plan, output: Path) -> bool:
    """Tell whether an output nearly fills the size that it was given, so that the limit and not the CRF shaped it."""
    return plan.max_bytes is not None and output.stat().st_size > plan.max_bytes * _SQUEEZED


def verify(source: Path, output: Path, observer: Observer = ignore) -> Audit:
    """Hold any file against the one it claims to be made from, at any size.

    Raises:
        SourceError and its kinds: one of the files cannot be read at all.
    """
    a, b = probe_with_index(source), probe_with_index(output)
    left_out = frozenset(one.index for one in refused_by(source, a.info.stream_index, _muxer_of(b.info)))
    return _compare(a, b, Promise(picture=_picture_inside(a.info, b.info.size), left_out=left_out), observer)


def _muxer_of(info: VideoInfo) -> str:
    """Return the muxer for files like this one, as far as it matters for what they can hold."""
    return "matroska" if "matroska" in info.container else "mp4"


def _picture_inside(info: VideoInfo, canvas: Size) -> Size:
    """Return the size of the source's picture in a canvas of another shape, which then has bars."""
    if abs(Fraction(canvas.width * info.size.height, canvas.height * info.size.width) - 1) <= _ASPECT_TOLERANCE:
        return canvas
    try:
        return fit_to(info.size, Target(box=canvas)).picture
    except NothingToUpscale:
        return canvas


def _compare(a: Probed, b: Probed, promise: Promise, observer: Observer) -> Audit:
    frames = compare_frames(a, b, Way(promise.window, promise.picture or b.info.size, promise.threads), observer)
    tracks_a = facts_of_tracks(Path(a.info.path), a.info.stream_index, promise.window, promise.passed_over)
    tracks_b = facts_of_tracks(Path(b.info.path), b.info.stream_index, Window())
    return Audit(
        (
            *_frame_rules(frames),
            *_content_rules(frames, promise),
            *_picture_rules(a.info, b.info, promise),
            *_track_rules(tracks_a, tracks_b, promise),
        )
    )


def _frame_rules(frames: Findings) -> list[Rule]:
    count = f"{frames.found} frames"
    if frames.missing or frames.extra:
        count += f" ({frames.missing} missing, {frames.extra} with a time the source does not have)"
    timely = not frames.missing and not frames.extra
    ordered = not frames.misplaced
    found = frames.example or "the same"
    return [
        Rule("frame count", frames.found == frames.expected, f"{frames.expected} frames", count),
        Rule("frame times", timely, "each source time once", "the same" if timely else found),
        Rule("frame order", ordered, "each at its own time", "the same" if ordered else f"{frames.misplaced}: {found}"),
    ]


def _content_rules(frames: Findings, promise: Promise) -> list[Rule]:
    coarse = promise.coarse or promise.squeezed
    wider = _COARSE if coarse else 1.0
    least = LEAST_DETAIL - (_COARSE_DB if coarse else 0.0)
    enough = frames.detail_psnr >= least
    return [
        _at_most("luma, mean of a frame", MOST_BIAS * wider, frames.luma_bias),
        _at_most("luma, a part of a frame", MOST_LUMA_CELL * wider, frames.luma_cell),
        _at_most("chroma, mean of a frame", MOST_CHROMA * wider, frames.chroma),
        _at_most("chroma, a part of a frame", MOST_CHROMA_CELL * wider, frames.chroma_cell),
        Rule("detail", enough, f"at least {least:g} dB", f"{frames.detail_psnr:.1f} dB", hard=_shows_detail(promise)),
    ]


def _shows_detail(promise: Promise) -> bool:
    """Tell whether detail is judged: not where the limit was paid with it, nor in a picture of a few blocks."""
    small = promise.size is not None and promise.size.pixels < _FEW_BLOCKS
    return not (promise.squeezed or small)


def _at_most(name: str, bound: float, found: float) -> Rule:
    return Rule(name, found <= bound, f"at most {bound:g} levels off", f"{found:.2f}")


def _picture_rules(a: VideoInfo, b: VideoInfo, promise: Promise) -> list[Rule]:
    rules = []
    if promise.size is not None:
        rules.append(_same("size", promise.size, b.size))
    if promise.picture in (None, b.size):
        rules.append(_aspect(a, b))
    chroma = subsampling_of(promise.pixel_format or a.pixel_format)
    deep = bits_of(promise.pixel_format or a.pixel_format)
    spread = promise.range or a.colour.range or _LIMITED
    rules += [
        _same("sample aspect ratio", a.sample_aspect_ratio or 1, b.sample_aspect_ratio or 1),
        _same("rotation", a.display_matrix or "none", b.display_matrix or "none"),
        Rule("bits", b.bits >= deep, f"{deep}", f"{b.bits}"),
        _same("chroma", chroma_name(chroma), chroma_name(subsampling_of(b.pixel_format))),
        _same("colour primaries", primaries_name(a.colour.primaries), primaries_name(b.colour.primaries)),
        _same("colour transfer", transfer_name(a.colour.transfer), transfer_name(b.colour.transfer)),
        _same("colour matrix", matrix_name(a.colour.matrix), matrix_name(b.colour.matrix)),
        _same("colour range", range_name(spread), range_name(b.colour.range or _LIMITED)),
        _same("chroma location", a.colour.chroma_location or "left", b.colour.chroma_location or "left"),
        _same("mastering display", a.hdr.mastering_display or "none", b.hdr.mastering_display or "none"),
        _same("content light level", a.hdr.content_light or "none", b.hdr.content_light or "none"),
    ]
    return rules


def _aspect(a: VideoInfo, b: VideoInfo) -> Rule:
    expected, found = (Fraction(info.size.width, info.size.height) * (info.sample_aspect_ratio or 1) for info in (a, b))
    # Rounding a side to an even number moves it by at most one sample, which is more than 0.5 % of a tiny picture.
    tolerance = max(_ASPECT_TOLERANCE, Fraction(1, min(b.size.width, b.size.height)))
    return Rule(
        "display aspect", abs(found / expected - 1) <= tolerance, f"{float(expected):.4f}", f"{float(found):.4f}"
    )


def _same(name: str, expected: object, found: object) -> Rule:
    return Rule(name, expected == found, str(expected), str(found))


def _track_rules(a: TrackFacts, b: TrackFacts, promise: Promise) -> list[Rule]:
    return [Rule(name, ok, expected, found) for name, ok, expected, found in compare_tracks(a, b, promise.left_out)]
