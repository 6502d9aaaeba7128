"""What a job will take before it is done: time, size, memory and disk, each with where the figure is from.

It reckons with what was measured and remembered; it opens no file and runs nothing. A figure that nothing supports is
None and called unknown.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import Any

from upscale_server.calibration import Basis, Calibration, Predicted, Timing
from upscale_server.measured import Measured, output_megapixels
from upscale_server.media.encoders import DEFAULTS
from upscale_server.media.formats import bits_of, subsampling_of
from upscale_server.media.types import record
from upscale_server.models.choices import Candidate, Choices
from upscale_server.plan import Plan


@dataclass(frozen=True, slots=True)
class Bases:
    """Where the figures are from.

    `measured`: three one-second pieces of this very source went through model and encoder. `calibrated`: from this
    machine's own finished jobs. `rough`: from general figures. `unknown`: there is none.
    """

    seconds: Basis
    byte_count: Basis


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a job is expected to take; errors are relative, ±. `jobs_known` finished jobs worked in the same way."""

    seconds: float | None
    seconds_error: float | None
    byte_count: int | None
    byte_count_error: float | None
    memory_bytes: int | None
    disk_bytes: int | None
    basis: Bases
    jobs_known: int

    def as_record(self) -> dict[str, Any]:  # JSON values of several types
        """Return the estimate as plain JSON values."""
        return dict(record(self))

    @property
    def predicted(self) -> Predicted:
        """Return what will be held against the finished job."""
        return Predicted(self.seconds, self.byte_count, self.basis.seconds, self.basis.byte_count)


_PIECES_TO_WHOLE = 1.04
"""Pictures weigh more in a long video than in a piece: an encoder that sees nothing follow saves on a piece's last
frames. Measured on ten clips, HEVC; where this encoder's own finished jobs show their factor, that is taken."""
_LEAST_ERROR = 0.1
_MOST_APART = 2.0
"""How far the source's own distribution of bytes may move a figure: a source can be odd in a way that says nothing."""
_ROUGH_ERROR = 0.5
_CRF_STEPS = 6
"""So many steps of CRF double the bytes, by the encoders' design."""
_TIMES_SOURCE = {"libx264": 4.3, "libx265": 3.1, "libsvtav1": 2.6}
"""Bytes of the picture over those of its source where the pixels are four times as many, with the default CRF."""
_BY_PIXELS = 0.75
"""The power of the number of pixels that bytes grow with: larger pictures are smoother."""
_ENCODE_CORE_SECONDS = {"libx264": 0.05, "libx265": 0.12, "libsvtav1": 0.06}
"""Core seconds for a million output pixels with the default preset, decoding, joining and audit included."""
_LANCZOS_CORE_SECONDS = 0.02
_BASE_BYTES = 230 << 20
"""The interpreter, its libraries and a small network."""
_FRAMES_HELD = {"libx264": 60, "libx265": 50, "libsvtav1": 80}
"""Output frames that an encoder and the windows between the stages hold at once."""


def estimate_of(plan: Plan, calibration: Calibration, measured: Measured | None = None) -> Estimate:
    """Return what a job is expected to take.

    Args:
        plan: of the job.
        calibration: this machine's finished jobs.
        measured: what its own pieces showed, None where none were made (`calibration.measured` may know them).
    """
    timing = calibration.predict(plan, measured)
    if timing.seconds is None:
        timing = _rough_time(plan, Choices(calibration.path.with_name("choices.json")))
    size = _measured_size(plan, calibration, measured) if measured else _rough_size(plan, calibration)
    return Estimate(
        seconds=None if timing.seconds is None else round(timing.seconds, 1),
        seconds_error=None if timing.error is None else round(timing.error, 2),
        byte_count=size.byte_count,
        byte_count_error=None if size.error is None else round(size.error, 2),
        memory_bytes=_memory(plan),
        disk_bytes=None if size.byte_count is None else 2 * size.byte_count,  # the segments, and the file they make
        basis=Bases(timing.basis, size.basis),
        jobs_known=timing.jobs_known,
    )


def picture_bytes(plan: Plan, measured: Measured) -> int:
    """Return what the pieces make of the whole picture.

    Keyframes are counted apart: a piece begins with one, a job has one for each segment and GOP. The other frames are
    taken for what the pieces' are, once frame by frame, once by what the source spends on them: the mean of both was
    nearer than either (benchmarks/LOG.md).
    """
    leads = _keyframes(plan)
    lead = statistics.mean(one.lead_bytes for one in measured.pieces)
    rest = sum(one.byte_count - one.lead_bytes for one in measured.pieces)
    frames = sum(one.frame_count - 1 for one in measured.pieces)
    by_frames = rest / frames * max(0, plan.frame_count - leads) if frames else 0.0
    return round(lead * leads + (by_frames + _by_source(plan, measured, rest, by_frames)) / 2)


def _by_source(plan: Plan, measured: Measured, rest: int, by_frames: float) -> float:
    """Return the bytes of all frames but keyframes if they are spent where the source spends its own."""
    spent = sum(one.source_bytes for one in measured.pieces)
    if not spent or not plan.samples.source_bytes:
        return by_frames
    by_source = rest * plan.samples.source_bytes / spent
    return min(max(by_source, by_frames / _MOST_APART), by_frames * _MOST_APART)


def _keyframes(plan: Plan) -> int:
    """Return how many keyframes the encoder has to make; those at cuts are among the other frames of the pieces."""
    segments = len(plan.segments)
    return segments * max(1, math.ceil(plan.frame_count / segments / plan.encoder.gop_frames))


@dataclass(frozen=True, slots=True)
class _Weight:
    """A size, and how far it may be off."""

    byte_count: int | None
    error: float | None
    basis: Basis


def _measured_size(plan: Plan, calibration: Calibration, measured: Measured) -> _Weight:
    factor = calibration.size_factor(plan) or _PIECES_TO_WHOLE
    byte_count = _within(plan, picture_bytes(plan, measured) * factor)
    rates = [(one.byte_count - one.lead_bytes) / max(1, one.frame_count - 1) for one in measured.pieces]
    spread = statistics.stdev(rates) / statistics.mean(rates) if len(rates) > 1 and any(rates) else 0.0
    return _Weight(byte_count, max(_LEAST_ERROR, spread / len(rates)), "measured")


def _rough_size(plan: Plan, calibration: Calibration) -> _Weight:
    """Return the size by the source's own: what is hard for one encoder is hard for the other."""
    times = calibration.bytes_over_source(plan)
    if times is None:
        usual = _TIMES_SOURCE.get(plan.encoder.codec, _TIMES_SOURCE["libx265"])
        larger = plan.target.pixels / plan.source.size.pixels / 4
        default = DEFAULTS[plan.encoder.codec][0]
        times = usual * larger**_BY_PIXELS * 2 ** ((default - plan.encoder.crf) / _CRF_STEPS)
    source = source_picture_bytes(plan)
    return _Weight(_within(plan, source * times), _ROUGH_ERROR, "rough") if source else _Weight(None, None, "unknown")


def source_picture_bytes(plan: Plan) -> int:
    """Return the bytes of the source's picture as far as it is kept."""
    part = min(1.0, plan.frame_count / max(1, plan.source.frame_count))
    return max(0, round(plan.source.byte_count * part) - plan.samples.other_bytes)


def _within(plan: Plan, picture: float) -> int:
    """Return the bytes of the whole file with a picture of so many."""
    whole = round(picture) + plan.samples.other_bytes + plan.padding
    return whole if plan.max_bytes is None else min(whole, plan.max_bytes)


def _rough_time(plan: Plan, choices: Choices) -> Timing:
    """Return the time from what was measured of the network when its engine was chosen, and general figures."""
    network = 0.0
    for one in plan.passes:
        way = Candidate(plan.engine, plan.precision)
        rate = choices.seconds_per_megapixel(one.card.name, one.card.scale, way) if one.card.path else 0.0
        if rate is None:
            return Timing()
        network += rate * one.size_in.pixels * plan.frame_count / 1e6
    core_seconds = _ENCODE_CORE_SECONDS.get(plan.encoder.codec, 0.0) + _LANCZOS_CORE_SECONDS
    others = output_megapixels(plan) * core_seconds / plan.encoder.threads
    return Timing(network + others, _ROUGH_ERROR, "rough")


def _memory(plan: Plan) -> int:
    """Return the memory that a job of one lane holds at most."""
    across, down = subsampling_of(plan.encoder.pixel_format)
    samples = 1 + (2 / (across * down) if across else 0)
    frame = plan.target.pixels * samples * (2 if bits_of(plan.encoder.pixel_format) > 8 else 1)
    return round(_BASE_BYTES + frame * (_FRAMES_HELD.get(plan.encoder.codec, 50) + 2 * plan.lanes * plan.batch))
