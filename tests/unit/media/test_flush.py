"""The end of an encoder: what it still holds comes out, and one that waits for itself is noticed."""

from __future__ import annotations

import threading
import time
from typing import cast

import pytest
from av.video.stream import VideoStream

from upscale_server.media import flush
from upscale_server.media.flush import EncoderStuck, last_packets


class _Encoder:
    """Stands for a stream at its end."""

    def __init__(self, *, works: bool) -> None:
        self.let_go = threading.Event()
        self._works = works

    def encode(self, frame: object) -> list[object]:
        """Give one packet once it may."""
        assert frame is None
        while not self.let_go.wait(0.0 if self._works else 600):
            sum(range(1000))
        return ["packet"]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flush, "MOST_IDLE_SECONDS", 3)
    monkeypatch.setattr(flush, "_LOOK_SECONDS", 0.1)
    monkeypatch.setattr(flush, "_BUSY", 0.0005)  # a machine whose other programs want all of it leaves that much


@pytest.mark.slow
def test_encoder_that_waits_for_itself_is_given_up() -> None:
    """Idle for so many looks: it will never end."""
    stuck = _Encoder(works=False)

    with pytest.raises(EncoderStuck, match="idle for 3 s"):
        last_packets(cast("VideoStream", stuck))
    stuck.let_go.set()


@pytest.mark.slow
def test_encoder_that_works_is_waited_for() -> None:
    """Ten times as long as an idle one may take, and no packet is lost."""
    slow = _Encoder(works=True)
    threading.Timer(3.0, slow.let_go.set).start()
    began = time.process_time()

    assert ["packet"] == last_packets(cast("VideoStream", slow))
    assert time.process_time() - began > 0


def test_failure_of_the_encoder_is_raised_here() -> None:
    """With its own kind: a full disk is no defect."""

    class Failing:
        def encode(self, _frame: object) -> list[object]:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        last_packets(cast("VideoStream", Failing()))
