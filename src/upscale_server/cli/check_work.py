"""Proof of the device that a machine brings to a cluster: its network loaded, held against f32 and timed on it.

What it measures is remembered, so that the lanes that come after it need not measure again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing

from upscale_server.cli.checks import REINSTALL, Check, tried
from upscale_server.settings import load_settings

_FRAMES = 5


def device_checks() -> Iterator[Check]:
    """Run the machine's model as its lanes would."""
    yield tried("device", _device, REINSTALL)


def _device() -> Check:
    import numpy as np

    from upscale_server.cli.serving import model_of
    from upscale_server.models.at_hand import choices_of
    from upscale_server.models.catalogue import family
    from upscale_server.models.choices import Candidate
    from upscale_server.models.select import choose
    from upscale_server.models.ways import load_way
    from upscale_server.workers.worker import WARM_SIZE, warm_up

    settings = load_settings()
    settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    cards, choices = family(model_of(settings)), choices_of(settings)
    card = cards[min(cards)]
    chosen = choose(card, Candidate("auto", "auto"), WARM_SIZE, choices)
    colours = () if card.domain == "luma" else (3,)
    frame = np.full((1, WARM_SIZE.height, WARM_SIZE.width, *colours), 128, np.uint8)
    with closing(load_way(card, chosen, WARM_SIZE, choices)) as upscaler:
        warm_up(upscaler, WARM_SIZE)
        began = time.perf_counter()
        for _ in range(_FRAMES):
            upscaler.upscale(frame)
        seconds = (time.perf_counter() - began) / _FRAMES
        works = upscaler.working
    speed = f"a frame of {WARM_SIZE} in {seconds * 1000:.1f} ms, self-test {works.self_test_psnr:.1f} dB"
    return Check(
        "device", "ok", f"{works.device} with {works.engine} in {works.precision}: {card.name} ×{card.scale}, {speed}"
    )
