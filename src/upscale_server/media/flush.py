"""Taking the last packets out of an encoder, which may never give them.

x265 can wait for itself at its end: a frame's thread asks which frame is the last, hears that none is yet, is told
before it begins to wait for that, and then waits (`RateControl::rateControlEnd` and `setFinalFrameCount`). It is rare,
it lasts for ever, and nothing interrupts it; so it is noticed here, and the segment is done again by who asked for it.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet

from av.packet import Packet
from av.video.stream import VideoStream

from upscale_server.errors import UpscaleError

MOST_IDLE_SECONDS = 60
_LOOK_SECONDS = 1.0
_BUSY = 0.02
"""Processor seconds of this process in each of these: less is no encoding, not even on a machine that is overloaded."""


class EncoderStuck(UpscaleError):
    """The encoder waits for itself and will never end; its threads cannot be ended either."""


def last_packets(stream: VideoStream) -> list[Packet[VideoStream]]:
    """Return what is still inside an encoder.

    Raises:
        EncoderStuck: it has not come to its end and nothing in this process was busy for a minute.
    """
    found: Future[list[Packet[VideoStream]]] = Future()
    threading.Thread(target=_flush, args=(stream, found), name="flush", daemon=True).start()
    idle = 0
    while idle < MOST_IDLE_SECONDS:  # counted in looks: a process that was stopped for an hour was not idle
        spent = time.process_time()
        try:
            return found.result(_LOOK_SECONDS)
        except NotYet:
            idle = 0 if time.process_time() - spent > _BUSY else idle + 1
    raise EncoderStuck(f"the encoder gave no last packet, and was idle for {MOST_IDLE_SECONDS} s")


def _flush(stream: VideoStream, found: Future[list[Packet[VideoStream]]]) -> None:
    try:
        found.set_result(stream.encode(None))
    except BaseException as err:  # noqa: BLE001 - raised again where the result is waited for
        found.set_exception(err)
