"""The time of day of a server and all its processes, moved while they run; what counts seconds is left alone.

Two ways: in Python, which works everywhere, and below it by Debian's libfaketime, where that is installed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.everywhere import write_everywhere

_HOW = "apt-get install libfaketime"
_CODE = """
import time

def _moved(real, factor, file={file!r}):
    def now():
        with open(file) as said:
            return real() + factor(float(said.read() or 0))
    return now

time.time, time.time_ns = _moved(time.time, float), _moved(time.time_ns, lambda seconds: int(seconds * 1e9))
"""


class MovedClock:
    """A clock that can be set; `environment` is what a server is started with."""

    def __init__(self, file: Path, environment: dict[str, str], text: str) -> None:
        self.environment = environment
        self._file = file
        self._text = text
        self.jump(0)

    def jump(self, seconds: int) -> None:
        """Let it be so many seconds later than it is, or earlier."""
        part = self._file.with_suffix(".part")
        part.write_text(self._text.format(seconds))
        part.rename(self._file)


def in_python(folder: Path) -> MovedClock:
    """Return a clock that Python's own functions go by, in every process of ours."""
    folder.mkdir()
    file = folder / "seconds"
    return MovedClock(file, write_everywhere(folder / "modules", _CODE.format(file=str(file))), "{}")


def below_python(folder: Path) -> MovedClock:
    """Return a clock that everything in a process goes by, libraries and the file system's times among them."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        pytest.skip(f"libfaketime is not installed: {_HOW}")
    folder.mkdir()
    file = folder / "seconds"
    environment = {
        "LD_PRELOAD": str(found[0]), "FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1",
    }  # fmt: skip
    return MovedClock(file, environment, "{:+d}\n")


CLOCKS: dict[str, Callable[[Path], MovedClock]] = {"python": in_python, "libfaketime": below_python}
