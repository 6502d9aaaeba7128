"""Answers what is now when the image server's figures are read: pictures, its model, memory and disk.

It tells of this process alone; `web` puts the processes of a server together.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from upscale_server.metrics import Metrics, Reading
from upscale_server.service.figures import GpuMemory, disk_readings, is_ready
from upscale_server.service.labels import model_label
from upscale_server.service.picture_facts import Facts
from upscale_server.settings import Settings

OUTCOMES = ("succeeded", "failed", "canceled")


class Counted(Protocol):
    """Pictures now."""

    waiting: int
    running: int


class Asked(Protocol):
    """What is asked of the image server."""

    settings: Settings
    load_seconds: float

    @property
    def counts(self) -> Counted:
        """Return how many pictures there are."""

    @property
    def facts(self) -> Facts | None:
        """Return what runs, once it is loaded."""

    def check_ready(self) -> None:
        """Return where a picture would be worked on now."""


def image_metrics(service: Asked) -> Metrics:
    """Return the figures of one process of the image server; its counters of pictures begin at 0."""
    gpu = GpuMemory()
    disk = {"state": service.settings.state_dir / "image"}
    metrics = Metrics("image", lambda: _image(service), gpu.readings, lambda: disk_readings(disk))
    for outcome in OUTCOMES:
        metrics.add("upscale_pictures_total", 0, outcome)
    return metrics


def _image(service: Asked) -> Iterator[Reading]:
    yield Reading("upscale_ready", float(is_ready(service.check_ready)))
    yield Reading("upscale_pictures", service.counts.waiting, ("waiting",))
    yield Reading("upscale_pictures", service.counts.running, ("running",))
    facts = service.facts
    if facts is not None:
        yield Reading("upscale_model_loaded", 1, (model_label(facts.name),))
        yield Reading("upscale_model_load_seconds", service.load_seconds, (model_label(facts.name),))
