"""One file of the corpus: what it is, and what a server may do with it.

`ok` must succeed (valid, if odd), `reject` must be refused as the caller's fault, `either` may end both ways; none may
crash anything, hang, or leave something behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import av.error

Expect = Literal["ok", "reject", "either"]

UNWRITTEN: dict[str, str] = {}
"""Why which file could not be written here: encoders differ between releases and machines, and it shall not pass
unnoticed. Three are never written: FFV1 knows no picture as small as theirs."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file; groups of videos begin with `v_`, those of pictures with `i_`."""

    group: str
    name: str
    content: bytes
    expect: Expect = "either"

    @property
    def path(self) -> str:
        """Return group and name."""
        return f"{self.group}/{self.name}"


def where_possible(group: str, name: str, make: Callable[[], bytes], expect: Expect = "either") -> Iterator[Entry]:
    """Yield a file that this FFmpeg can write, or note in `UNWRITTEN` why it cannot."""
    try:
        yield Entry(group, name, make(), expect)
    except (av.error.FFmpegError, ValueError, OSError) as err:
        UNWRITTEN[f"{group}/{name}"] = repr(err)
