"""What was asked for, as the plan takes it.

It checks nothing: the plan does.
"""

from __future__ import annotations

from dataclasses import replace

from upscale_server.budget import numbered_padding
from upscale_server.jobs.job import Asked, Job
from upscale_server.models.added import path_of
from upscale_server.settings import Settings
from upscale_server.wish import Wish

FALLBACK_MODEL = "lanczos"
"""What makes a valid result when the deadline comes before the network's."""


def wish_of(job: Job, settings: Settings) -> Wish:
    """Return a job's wish; the server's own model is taken where none was asked for."""
    wish = wish_for(job.asked, settings)
    return replace(wish, padding=numbered_padding(job.number)) if job.asked.profile == "subnet" else wish


def wish_for(asked: Asked, settings: Settings) -> Wish:
    """Return what is asked for before there is a job, whose number alone is missing."""
    return Wish(
        task=asked.task,
        to=asked.to,
        scale=asked.scale,
        fit=asked.fit,
        model=path_of(asked.model or settings.model_path or None, settings.state_dir / "models"),
        codec=asked.codec,
        crf=asked.crf,
        profile=asked.profile,
        allow_partial=asked.allow_partial,
        max_bytes=None if asked.maximum_mb is None else int(asked.maximum_mb * 2**20),
    )


def hasty(wish: Wish) -> Wish:
    """Return the wish for the same output in the least time: no network, and the encoder's quickest preset.

    x265's own choice takes three quarters of the time once no network does; SVT-AV1's default is quick already.
    """
    preset = "ultrafast" if wish.codec in ("h264", "hevc") else wish.preset
    return replace(wish, model=FALLBACK_MODEL, preset=preset)
