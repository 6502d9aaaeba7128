"""What was measured to be fastest here, and what memory allowed, kept in files, so that each is found out once.

It remembers; measuring and choosing belong to `select`, stepping down to `ladder`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from upscale_server.models.engine_builds import EngineBuilds
from upscale_server.models.engine_cache import EngineCache
from upscale_server.models.remembered import Remembered, is_figure
from upscale_server.models.working_point import WorkingPoint


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to run a network: the names that `load` takes."""

    engine: str
    precision: str


class Choices:
    """The remembered choices of one state folder, and beside them the working points and the measured paces.

    With `builds`, engines that take minutes are built in the background and chosen from the next plan on.
    """

    def __init__(self, path: Path, builds: EngineBuilds | None = None) -> None:
        self.builds = builds
        self._file = Remembered(path)
        self.points = Points(path.with_name("working_points.json"))
        self.paces = Remembered(path.with_name("paces.json"))

    def alone(self) -> AbstractContextManager[None]:
        """Measure while nobody else does: servers that start at once choose the same, and do not load the machine."""
        return self._file.alone()

    def recall(self, key: str) -> Candidate | None:
        """Return what was chosen under a key, or None where nothing readable is remembered."""
        found = self._file.get(key)
        engine, precision = found.get("engine"), found.get("precision")
        return Candidate(engine, precision) if isinstance(engine, str) and isinstance(precision, str) else None

    def seconds_per_megapixel(self, model: str, scale: int, way: Candidate) -> float | None:
        """Return what a network was measured to take for a million LR pixels in a way; None where it never was."""
        found = [
            one["seconds"] / one["pixels"] * 1e6
            for record in self._file.all().values()
            if (record.get("model"), record.get("scale")) == (model, scale)
            for one in _measured_in(record)
            if (one.get("engine"), one.get("precision")) == (way.engine, way.precision) and not one.get("fault")
        ]
        return min(found, default=None)

    def chosen_for(self, model: str, scale: int) -> tuple[Candidate, ...]:
        """Return the ways that were chosen for a network, at whatever size; none where it never ran here."""
        records = self._file.all().values()
        known = (one for one in records if (one.get("model"), one.get("scale")) == (model, scale))
        return tuple(dict.fromkeys(Candidate(str(one.get("engine")), str(one.get("precision"))) for one in known))

    def remember(self, key: str, chosen: Candidate, facts: dict[str, Any]) -> None:  # JSON values of many types
        """Keep a choice, and beside it the facts it was made from, for the person who reads the file."""
        self._file.put(key, {"engine": chosen.engine, "precision": chosen.precision, **facts})


def _measured_in(record: dict[str, Any]) -> list[dict[str, Any]]:  # JSON values of many types
    """Return what was measured, as far as it can be reckoned with: the file may have been written by anybody."""
    found = record.get("measured")
    every = found if isinstance(found, list) else []
    known = [one for one in every if isinstance(one, dict)]
    return [one for one in known if all(is_figure(one.get(name)) for name in ("seconds", "pixels")) and one["pixels"]]


def builds_beside(path: Path) -> EngineBuilds:
    """Return the built engines that are kept beside a memory of choices."""
    return EngineBuilds(EngineCache(path.with_name("tensorrt")))


class Points:
    """The working points that memory forced; without a path they are forgotten with the process."""

    def __init__(self, path: Path | None = None) -> None:
        self._file = None if path is None else Remembered(path)
        self._held: dict[str, WorkingPoint] = {}

    def recall(self, key: str) -> WorkingPoint | None:
        """Return the working point of a key, or None where memory has sufficed so far or the record is unreadable."""
        if key in self._held or self._file is None:
            return self._held.get(key)
        return WorkingPoint.of_record(self._file.get(key))

    def remember(self, key: str, point: WorkingPoint) -> None:
        """Keep a working point."""
        self._held[key] = point
        if self._file is not None:
            self._file.put(key, asdict(point))
