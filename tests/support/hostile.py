"""How long attacks last, and where the figures of the longest are kept, with the machine and the commit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from benchmarks.machine import describe

LENGTHS = ("short", "full", "long")
"""Inside `make test`, in `make test-hostile`, and in `make test-hostile-long`."""

Amount = Callable[[int, int, int], int]
"""Picks the number for this run's length: short, full, long."""

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "hostile"


def write_result(name: str, figures: dict[str, object]) -> None:
    """Keep the figures of one attack as JSON, each in a file of its own: several processes may write."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    about = {"attack": name, **figures, "machine": describe()}
    (RESULTS / f"{name}.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
