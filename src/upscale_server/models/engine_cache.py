"""Engines that take minutes to build, kept in a folder under everything that they are true for.

It keeps files and knows no runtime. What is kept is sealed with the hash of every file: a folder that was damaged, or
that a killed build left half, is removed and built again, and never handed to a library that might trust it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from upscale_server.errors import StorageError, UpscaleError

_SEAL = "sealed.json"
_LOCK = ".lock"
Opened = TypeVar("Opened")


@dataclass(frozen=True, slots=True)
class EngineKey:
    """What a built engine is true for; `library` and `device` are names with versions."""

    model_sha256: str
    height: int
    width: int
    precision: str
    library: str
    device: str

    @property
    def name(self) -> str:
        """Return the key as a folder's name."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:24]


class EngineCache:
    """The built engines of one state folder; safe for several processes at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def folder(self) -> Path:
        """Return where the engines are."""
        return self._folder

    def find(self, key: EngineKey) -> Path | None:
        """Return the folder of a built engine, or None; what is damaged is removed."""
        folder = self._folder / key.name
        if not folder.is_dir():
            return None
        if _seal_of(folder) == _read_seal(folder):
            return folder
        self.discard(key)
        return None

    def discard(self, key: EngineKey) -> None:
        """Remove an engine."""
        shutil.rmtree(self._folder / key.name, ignore_errors=True)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other process builds here; a lock that ends with its process.

        Raises:
            OSError: the folder cannot be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / _LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def building(self, key: EngineKey) -> Iterator[Path]:
        """Give a folder to build in; without an error it takes its place, sealed.

        Raises:
            StorageError: the folder cannot be written.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            staging = Path(tempfile.mkdtemp(prefix=".building-", dir=self._folder))
        except OSError as err:
            raise StorageError(f"{self._folder} cannot be written: {(err.strerror or str(err)).lower()}") from err
        try:
            yield staging
            (staging / _SEAL).write_text(json.dumps(_seal_of(staging)), encoding="utf-8")
            if self.find(key) is None:
                with contextlib.suppress(OSError):  # another process was faster
                    os.replace(staging, self._folder / key.name)  # noqa: PTH105 - the one call that is atomic
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def opened(self, key: EngineKey, build: Callable[[Path], None], open_in: Callable[[Path], Opened]) -> Opened:
        """Open an engine, built now where it is not there; one that is whole and does not open is built once more.

        Args:
            key: what it is for.
            build: fills an empty folder.
            open_in: opens what a folder holds.

        Raises:
            UpscaleError and its kinds: from building, or from opening what was just built.
        """
        folder = self.find(key)
        if folder is not None:
            try:
                return open_in(folder)
            except UpscaleError:  # sealed here, and still refused: by a driver that was changed, for one
                self.discard(key)
        with self.building(key) as staging:
            build(staging)
        return open_in(self._folder / key.name)


def _seal_of(folder: Path) -> dict[str, str]:
    """Return the hash of every file but the seal."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != _SEAL]
    return {str(path.relative_to(folder)): _sha256(path) for path in files}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_seal(folder: Path) -> object:
    try:
        return json.loads((folder / _SEAL).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
