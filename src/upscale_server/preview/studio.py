"""Where a preview's work is done: here, or in other processes that may open strangers' files.

The promise and its simplest keeper; the server's stands in `jobs`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from upscale_server.events import Observer
from upscale_server.media.excerpt import Excerpt, write_excerpt
from upscale_server.models.choices import Choices
from upscale_server.pipeline import Executor
from upscale_server.plan import Plan, make_plan
from upscale_server.quality import Quality, measure
from upscale_server.wish import Limits, Wish


class Studio(Protocol):
    """What making a preview needs done; nothing else of it opens media."""

    @property
    def executor(self) -> Executor:
        """Return what runs segments."""

    def plan(self, source: Path, wish: Wish) -> Plan:
        """Decide about a source, as `make_plan`."""

    def write_excerpt(self, excerpt: Excerpt, path: Path, observer: Observer) -> None:
        """Write an exact excerpt, as `media.excerpt`."""

    def measure(self, reference: Path, distorted: Path, observer: Observer) -> Quality:
        """Compare two videos, as `quality.measure`."""


@dataclass(frozen=True, slots=True)
class LocalStudio:
    """Does everything in this process."""

    executor: Executor
    limits: Limits
    choices: Choices | None = None

    def plan(self, source: Path, wish: Wish) -> Plan:
        """Decide about a source."""
        return make_plan(source, wish, self.limits, self.choices)

    def write_excerpt(self, excerpt: Excerpt, path: Path, observer: Observer) -> None:
        """Write an exact excerpt."""
        write_excerpt(excerpt, path, observer)

    def measure(self, reference: Path, distorted: Path, observer: Observer) -> Quality:
        """Compare two videos."""
        return measure(reference, distorted, observer=observer)
