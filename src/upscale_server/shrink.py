"""A second try for an output that came out over its limit: the same pictures, encoded smaller.

It changes the encoder's settings and nothing else; trying again is the caller's business.
"""

from __future__ import annotations

import math
from dataclasses import replace

from upscale_server.media.encoders import CRF_MAX
from upscale_server.plan import Plan

_STEPS_A_HALVING = {"libsvtav1": 9.0, "av1_nvenc": 9.0}
_STEPS = 6.0
"""CRF steps that halve the bytes: 6 by the design of H.264's and HEVC's quantizers, about 9 of AV1's 63."""
_EXTRA_STEPS = 2
_AIM = 0.92
"""Part of the limit that the second round aims at: a third costs more than a few percent of quality."""
_LEAST_KBIT = 16
_UNKNOWN = 1.25
"""Taken for the excess when the size reached was not told."""


def smaller(plan: Plan, reached_bytes: int) -> Plan | None:
    """Return a plan whose output will be smaller, or None when nothing smaller is sensible.

    Args:
        plan: the plan whose output was too large.
        reached_bytes: the size it came to; 0 when that is not known.
    """
    if plan.max_bytes is None or 0 < reached_bytes <= plan.max_bytes:
        return None  # within its limit and refused all the same: the picture does not bear fewer bytes
    encoder, worst = plan.encoder, CRF_MAX[plan.encoder.codec]
    excess = 1 + max(1, reached_bytes - plan.max_bytes) / _planned_bytes(plan) if reached_bytes else _UNKNOWN
    steps = _STEPS_A_HALVING.get(encoder.codec, _STEPS) * math.log2(excess / _AIM)
    if encoder.crf >= worst or encoder.crf + steps > worst + _STEPS:
        return None  # the coarsest picture there is would still be too large
    rate = max(_LEAST_KBIT, int(encoder.rate_kbit * _AIM / excess))
    buffer = max(1, int(encoder.buffer_kbit * rate / max(1, encoder.rate_kbit)))
    crf = min(worst, encoder.crf + math.ceil(steps) + _EXTRA_STEPS)
    return replace(plan, encoder=replace(encoder, crf=crf, rate_kbit=rate, buffer_kbit=buffer))


def _planned_bytes(plan: Plan) -> float:
    """Return what the picture was to have at most: the excess is its own, whatever sound lies beside it."""
    seconds = plan.frame_count / float(plan.source.average_rate)
    encoder = plan.encoder
    return max(1.0, (encoder.rate_kbit * seconds + encoder.buffer_kbit * len(plan.segments)) * 125)
