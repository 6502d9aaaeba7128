"""Builds engines in the background, one at a time, while a slower one serves.

It knows neither models nor runtimes. A plan that is under way keeps its engine: bytes depend on it. What was built is
offered to the next plan (`select`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from upscale_server.errors import UpscaleError
from upscale_server.models.engine_cache import EngineCache, EngineKey

Build = Callable[[Path], None]


class EngineBuilds:
    """Wanted engines, each built once; a context manager that waits for nothing."""

    def __init__(self, cache: EngineCache) -> None:
        self._cache = cache
        self._one_at_a_time = threading.Lock()
        self._wanted: dict[EngineKey, threading.Thread] = {}
        self._faults: dict[EngineKey, str] = {}

    @property
    def folder(self) -> Path:
        """Return where built engines are kept."""
        return self._cache.folder

    def offer(self, key: EngineKey, build: Build) -> bool:
        """Tell whether an engine is there; otherwise begin to build it, unless that failed or is under way."""
        if self._cache.find(key) is not None:
            return True
        if key not in self._wanted:
            # A daemon: a command that has done its work does not wait for minutes.
            self._wanted[key] = threading.Thread(target=self._build, args=(key, build), daemon=True)
            self._wanted[key].start()
        return False

    def fault(self, key: EngineKey) -> str:
        """Return why an engine could not be built; empty where nothing went wrong so far."""
        return self._faults.get(key, "")

    def wait(self, timeout_seconds: float | None = None) -> None:
        """Wait for what was begun."""
        for thread in list(self._wanted.values()):
            thread.join(timeout_seconds)

    def _build(self, key: EngineKey, build: Build) -> None:
        try:
            with self._one_at_a_time, self._cache.alone():
                if self._cache.find(key) is None:  # another process may have built it meanwhile
                    with self._cache.building(key) as staging:
                        build(staging)
        except (UpscaleError, OSError, RuntimeError) as err:
            self._faults[key] = str(err)
