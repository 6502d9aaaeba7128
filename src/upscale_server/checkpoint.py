"""Which segments are done: one finished file and one marker each, so that work survives any death.

A marker is written last, after the segment's bytes are on the disk; a segment without one was never made. Nothing
here knows what is inside a segment.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from upscale_server.disk import check_room, naming_write_faults
from upscale_server.media.encode import PacketTime


@dataclass(frozen=True, slots=True)
class Done:
    """What a finished segment is and what making it met.

    `packet_bytes` are those of its packets without the container, `lead_bytes` of the first one, a keyframe.
    """

    index: int
    times: tuple[PacketTime, ...]
    byte_count: int
    sha256: str
    packets_failed: int = 0
    frames_damaged: int = 0
    frames_deinterlaced: int = 0
    times_repaired: int = 0
    frames_redone: int = 0
    decode_seconds: float = 0.0
    upscale_seconds: float = 0.0
    encode_seconds: float = 0.0
    packet_bytes: int = 0
    lead_bytes: int = 0


class WorkDir:
    """The folder of one job's unfinished work; what another plan left there does not count.

    `proxies` is where each segment's copy for watching goes, None where none is made.
    """

    def __init__(self, path: Path, plan_digest: str, proxies: Path | None = None) -> None:
        self.path = path.absolute()  # FFmpeg takes a relative name such as `http:x` for an address
        self.proxies = proxies and proxies.absolute()
        self._plan_digest = plan_digest
        with naming_write_faults(path):
            path.mkdir(parents=True, exist_ok=True)

    def segment_path(self, index: int) -> Path:
        """Return where a finished segment lies."""
        return self.path / f"segment-{index:05d}.mkv"

    @contextmanager
    def writing(self, index: int) -> Iterator[Path]:
        """Give a path to write a segment to; it takes its final name when the block ends without an error.

        Raises:
            DiskFull, StorageError: there is no room for it, or no folder.
        """
        self.check_room()
        part = self.segment_path(index).with_suffix(".part.mkv")
        try:
            yield part
            with naming_write_faults(part):
                _sync(part)
                part.replace(self.segment_path(index))
        finally:
            part.unlink(missing_ok=True)

    def check_room(self, needed_bytes: int = 0) -> None:
        """Refuse to go on where the disk would not keep its reserve; segments may grow to hours in one piece.

        Raises:
            DiskFull, StorageError: as `disk.check_room`.
        """
        check_room(self.path, needed_bytes)

    def mark(self, done: Done) -> None:
        """Record a segment as finished; from here on it is never made again."""
        marker = self._marker(done.index)
        part = marker.with_suffix(".part")
        with naming_write_faults(marker):
            part.write_text(json.dumps({"plan": self._plan_digest, **asdict(done)}))
            _sync(part)
            part.replace(marker)
            _sync(self.path)

    def find(self, index: int) -> Done | None:
        """Return a finished segment, or None where it is missing, damaged or of another size than marked."""
        try:
            values = json.loads(self._marker(index).read_text())
            if values.pop("plan") != self._plan_digest or values["index"] != index:
                return None
            done = Done(**{**values, "times": tuple(PacketTime(**time) for time in values["times"])})
        except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
            return None
        path = self.segment_path(index)
        if not path.is_file() or path.stat().st_size != done.byte_count or digest_of(path) != done.sha256:
            return None
        return done

    def _marker(self, index: int) -> Path:
        return self.path / f"segment-{index:05d}.json"


def digest_of(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Wait until a file or folder is on the disk, past the system's cache."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
