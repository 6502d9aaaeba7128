"""What a job will take before it is done: time, size, memory and disk, each with where the figure is from.

It reckons with what was measured and remembered; it opens no file and runs nothing. A figure that nothing supports is
None and called unknown.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import Any

from upscale_server.calibration import Calibration, Timing
from upscale_server.job_record import Basis, Predicted
from upscale_server.measured import Measured, output_megapixels
from upscale_server.media.encoders import DEFAULTS, PRESETS
from upscale_server.media.formats import bits_of, subsampling_of
from upscale_server.models.choices import Candidate, Choices
from upscale_server.plan import Plan
from upscale_server.records import record


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


_PIECES_TO_WHOLE = {"libx264": 1.10, "libx265": 1.06, "libsvtav1": 1.06}
"""Pictures weigh more in a whole video than its pieces say: an encoder saves on frames that nothing follows, as far as
it looks ahead, and a piece is little more than that (x264 looks ahead by 40 frames, x265 here by 15). Medians of eleven
real clips with HEVC, five with H.264, four with AV1; where this encoder's own jobs show their factor, that is taken."""
_BY_SOURCE = 0.75
"""Part of the belief that bytes are spent where the source spends its own: on the same clips the error's spread was 4 %
that way and 9 % frame by frame, which does not depend on what the source's encoder was told."""
_LEAST_ERROR = 0.1
_MOST_APART = 2.0
"""How far the source's own distribution of bytes may move a figure: a source can be odd in a way that says nothing."""
_ROUGH_ERROR = 0.5
_CRF_STEPS = 6
"""So many steps of CRF double the bytes, by the encoders' design."""
_TIMES_SOURCE = {"libx264": 4.2, "libx265": 3.0, "libsvtav1": 2.7}
"""Bytes of the picture over those of its source where the pixels are four times as many, with the default CRF: medians
of nine strongly compressed real clips, which lay within a third of that."""
_BY_PIXELS = 0.6
"""The power of the number of pixels that bytes grow with: larger pictures are smoother."""
_MOST_BITS_A_PIXEL = {"libx264": 0.7, "libx265": 0.5, "libsvtav1": 0.45}
"""Twice what the hardest of those clips took: a hardly compressed source does not make its output larger."""
_MOST_FROM_USUAL = 3.0
"""How far finished jobs may move a rough size: theirs may have been sources of quite another kind, tiny ones or hardly
compressed, and how a source was compressed is not remembered."""
_CORE_SECONDS = {"libx264": 0.10, "libx265": 0.14, "libsvtav1": 0.09}
"""For a million output pixels with the default preset, all but the network: measured on a machine with AVX-512."""
_PRESET_STEP = 1.6
"""What a slower preset takes more, about."""
_BASE_BYTES = 150 << 20
_NETWORK_BYTES = 110 << 20
"""The interpreter with its libraries, and a built-in network with its engine."""
_BYTES_A_PIXEL = {"libx264": 225, "libx265": 225, "libsvtav1": 300}
"""Bytes for each pixel of an output frame of 8 bits and 4:2:0, in the encoder and in the windows between the stages:
so the peak memory of twenty jobs from 404x720 to 3840x2160 is met within 15 % (HEVC, H.264) and 30 % (AV1)."""


def estimate_of(plan: Plan, calibration: Calibration, measured: Measured | None = None, *, lanes: int = 1) -> Estimate:
    """Return what a job is expected to take.

    Args:
        plan: of the job.
        calibration: this machine's finished jobs.
        measured: what its own pieces showed, None where none were made (`calibration.measured` may know them).
        lanes: that this job may have.
    """
    size = _measured_size(plan, calibration, measured) if measured else _rough_size(plan, calibration)
    picture = None if size.byte_count is None else max(0, size.byte_count - plan.samples.other_bytes - plan.padding)
    timing = calibration.predict(plan, measured, picture, lanes=lanes)
    if timing.seconds is None:
        timing = _rough_time(plan, Choices(calibration.path.with_name("choices.json")))
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
    taken for what the pieces' are, partly frame by frame, mostly by what the source spends on them.
    """
    leads = _keyframes(plan)
    lead = statistics.mean(one.lead_bytes for one in measured.pieces)
    rest = sum(one.byte_count - one.lead_bytes for one in measured.pieces)
    frames = sum(one.frame_count - 1 for one in measured.pieces)
    by_frames = rest / frames * max(0, plan.frame_count - leads) if frames else 0.0
    by_source = _by_source(plan, measured, rest, by_frames)
    return round(lead * leads + (1 - _BY_SOURCE) * by_frames + _BY_SOURCE * by_source)


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
    factor = calibration.size_factor(plan) or _PIECES_TO_WHOLE.get(plan.encoder.codec, 1.0)
    byte_count = _within(plan, picture_bytes(plan, measured) * factor)
    rates = [(one.byte_count - one.lead_bytes) / max(1, one.frame_count - 1) for one in measured.pieces]
    spread = statistics.stdev(rates) / statistics.mean(rates) if len(rates) > 1 and any(rates) else 0.0
    return _Weight(byte_count, max(_LEAST_ERROR, spread / len(rates)), "measured")


def _rough_size(plan: Plan, calibration: Calibration) -> _Weight:
    """Return the size by the source's own: what is hard for one encoder is hard for the other."""
    source, codec = source_picture_bytes(plan), plan.encoder.codec
    if not source:
        return _Weight(None, None, "unknown")
    finer = 2 ** ((DEFAULTS[codec][0] - plan.encoder.crf) / _CRF_STEPS)
    larger = (plan.target.pixels / plan.source.size.pixels / 4) ** _BY_PIXELS
    most = _MOST_BITS_A_PIXEL.get(codec, _MOST_BITS_A_PIXEL["libx265"]) * output_megapixels(plan) * 1e6 / 8
    usual = min(_TIMES_SOURCE.get(codec, _TIMES_SOURCE["libx265"]) * larger * source, most) * finer
    times = calibration.bytes_over_source(plan)
    if times is not None:  # this machine's sources may be others than the general ones, within reason
        usual = min(max(source * times, usual / _MOST_FROM_USUAL), usual * _MOST_FROM_USUAL)
    return _Weight(_within(plan, usual), _ROUGH_ERROR, "rough")


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
    others = output_megapixels(plan) * _core_seconds(plan) / plan.encoder.threads
    return Timing(network + others, _ROUGH_ERROR, "rough")


def _core_seconds(plan: Plan) -> float:
    """Return what a core takes for a million output pixels, the network aside; graphics cards encode beside it."""
    codec, presets = plan.encoder.codec, PRESETS[plan.encoder.codec]
    slower = presets.index(plan.encoder.preset) - presets.index(DEFAULTS[codec][1])
    if codec == "libsvtav1":  # its presets are numbered the other way round
        slower = -slower
    return _CORE_SECONDS[codec] * _PRESET_STEP**slower if codec in _CORE_SECONDS else min(_CORE_SECONDS.values()) / 2


def _memory(plan: Plan) -> int:
    """Return the memory that a job of one lane holds at most."""
    across, down = subsampling_of(plan.encoder.pixel_format)
    samples = 1 + (2 / (across * down) if across else 0)
    wider = samples / 1.5 * (2 if bits_of(plan.encoder.pixel_format) > 8 else 1)
    pictures = plan.target.pixels * _BYTES_A_PIXEL.get(plan.encoder.codec, _BYTES_A_PIXEL["libx265"]) * wider
    networks = _NETWORK_BYTES * sum(bool(one.card.path) for one in plan.passes)
    return round(_BASE_BYTES + networks + pictures)
