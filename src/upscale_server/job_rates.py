"""From finished jobs to what the next one takes: medians in which the most alike count most.

Arithmetic only; it opens nothing and remembers nothing.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from upscale_server.job_record import JobRecord
from upscale_server.measured import output_megapixels
from upscale_server.plan import Plan

_LEAST_ERROR = 0.1
"""No figure is promised nearer: the same job twice differs by some percent."""
_FEW = 3
_FEW_ERROR = 0.35
_FEW_PIECES_ERROR = 0.25
"""Said where fewer jobs are known than show a spread."""
_ENOUGH_FOR_A_SLOPE = 5
_MOST = 0.8
"""Part of the known jobs that lies within the error that is said."""


@dataclass(frozen=True, slots=True)
class Rate:
    """What a unit of work takes, and how far single jobs were from that."""

    value: float
    error: float


def _rate(job: JobRecord, work: float) -> float:
    """Return the seconds that a unit of work took on each lane that was busy, once it had begun."""
    return max(1e-9, (job.seconds or 0.0) - (job.start_seconds or 0.0)) * job.at_work / work


def rate_of_pieces(jobs: Sequence[JobRecord], plan: Plan, at_work: float) -> Rate | None:
    """Return what whole jobs took of what their pieces said, once they had begun; None without a job."""
    rates = [_rate(one, one.frames * (one.piece_seconds or 0.0)) for one in jobs]
    return _typical(jobs, rates, _weights(jobs, plan, at_work), _FEW_PIECES_ERROR)


def rate_of_pixels(jobs: Sequence[JobRecord], plan: Plan, at_work: float, picture_bytes: int | None) -> Rate | None:
    """Return the seconds for a million output pixels, with what bits take beside where jobs show that.

    Measured with x265: 0.14 core seconds for a million pixels and 0.6 for a megabit, from the easiest clip to the
    hardest; with others the bits hardly matter. The slope is the median of all pairs' (Theil and Sen).
    """
    rates = [_rate(one, one.megapixels) for one in jobs]
    bits = [one.megabits / one.megapixels for one in jobs]
    slope = 0.0
    if picture_bytes is not None and len(jobs) >= _ENOUGH_FOR_A_SLOPE:
        pairs = combinations(zip(bits, rates, strict=True), 2)
        slopes = [(one[1] - other[1]) / (one[0] - other[0]) for one, other in pairs if one[0] != other[0]]
        slope = max(0.0, statistics.median(slopes)) if slopes else 0.0
    expected = (picture_bytes or 0) * 8 / 1e6 / output_megapixels(plan)
    at_expected = [max(rate / 3, rate + slope * (expected - its)) for rate, its in zip(rates, bits, strict=True)]
    return _typical(jobs, at_expected, _weights(jobs, plan, at_work), _FEW_ERROR)


def _typical(
    jobs: Sequence[JobRecord], rates: Sequence[float], weights: Sequence[float], error_of_few: float
) -> Rate | None:
    """Return the median of the jobs' rates in which the most alike count most; None without a job."""
    if not jobs:
        return None
    value = weighted(rates, weights, 0.5)
    if len(jobs) < _FEW:
        return Rate(value, error_of_few)
    return Rate(value, max(_LEAST_ERROR, weighted([abs(rate / value - 1) for rate in rates], weights, _MOST)))


def _weights(jobs: Sequence[JobRecord], plan: Plan, at_work: float) -> list[float]:
    """Return how much each job says about a plan that keeps so many lanes busy.

    Frames of half or double the size count half, because the network's calls and the encoder's threads fill
    differently; and so do jobs on half or double as many lanes, which take memory and caches from each other. A job
    shorter than the plan counts for its part: its beginning and its end are in its rate.
    """
    return [
        _likeness(one.pixels / plan.target.pixels) * _likeness(one.at_work / at_work) * length_of(one, plan)
        for one in jobs
    ]


def length_of(job: JobRecord, plan: Plan) -> float:
    """Return how much of a plan's length a job has, 1 at most; never nothing."""
    return min(1.0, job.frames / max(1, plan.frame_count))


def _likeness(ratio: float) -> float:
    return 1 / (1 + abs(math.log2(ratio)))


def weighted(values: Sequence[float], weights: Sequence[float], part: float) -> float:
    """Return the value below which lies a part of the weight."""
    in_order = sorted(zip(values, weights, strict=True))
    reached = 0.0
    for value, weight in in_order:
        reached += weight
        if reached >= part * sum(weights):
            return value
    return in_order[-1][0]
