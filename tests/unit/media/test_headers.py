"""What headers say is read from FFmpeg's log, which is one for the whole process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import av.logging
import pytest

from upscale_server.media import headers

A_MOMENT_SECONDS = 0.3
"""Enough for a thread that nobody holds up; one that waits for its turn only makes the test so much longer."""


def test_two_readers_at_once_leave_the_log_as_it_was(bundled_clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that stays on takes the interpreter's lock for each line, and who closes a decoder may hold it."""
    before, first_is_in, second_is_in, first_may_end = av.logging.get_level(), *(threading.Event() for _ in range(3))
    first = threading.Thread(target=headers.read_headers, args=(bundled_clip, 0))
    second = threading.Thread(target=headers.read_headers, args=(bundled_clip, 0))

    def trace(*_: object) -> Iterator[str]:
        if threading.current_thread() is first:
            first_is_in.set()
            first_may_end.wait()
        else:
            second_is_in.set()
            first.join()
        yield ""

    monkeypatch.setattr(headers, "_trace", trace)
    first.start()
    first_is_in.wait()
    second.start()
    second_is_in.wait(A_MOMENT_SECONDS)
    first_may_end.set()
    first.join()
    second.join()

    assert av.logging.get_level() == before
