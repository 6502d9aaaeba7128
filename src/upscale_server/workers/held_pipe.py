"""The child's end of its pipe: orders come in, events and answers go out, and a closed pipe ends the process.

A thread of its own listens, so that a stop is heard while an order is worked on, and so that no worker outlives its
server: the server's death, however it came, closes the pipe.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection

from upscale_server.errors import Canceled
from upscale_server.events import Event, FramesDone
from upscale_server.workers.messages import Answer, Heard, Hello, Numbered, Stop

LEAST_SECONDS_BETWEEN = 0.1
"""Between two messages about progress: ten a second look smooth, and hundreds of lanes cost nothing."""

MOST_SILENT_SECONDS = 1.0
"""Between two signs of life where tiles go by and no frame ends; a setting may ask for one every few seconds."""


class HeldPipe:
    """Orders in, events out; it starts its thread and lives as long as the process."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._orders: queue.SimpleQueue[Numbered] = queue.SimpleQueue()
        self._sending = threading.Lock()
        self._newest_stop = 0
        self._current = 0
        self._sent = time.monotonic()
        threading.Thread(target=self._listen, name="held-pipe", daemon=True).start()
        self.send(Hello(os.getpid()))

    def orders(self) -> Iterator[Numbered]:
        """Yield orders as they come, for ever: the process ends when its server closes the pipe."""
        while True:
            numbered = self._orders.get()
            self._current = numbered.number
            yield numbered

    def send(self, message: Hello | Heard | Answer) -> None:
        """Say something; a server that is gone ends this process."""
        with self._sending:
            self._sent = time.monotonic()
            try:
                self._pipe.send(message)
            except OSError:
                os._exit(0)

    def check(self) -> None:
        """Raise where the current order was stopped, else be heard of: called between tiles and at every event.

        A frame may take longer than a process may be silent; a tile does not.

        Raises:
            Canceled: it was.
        """
        if self._newest_stop >= self._current:
            raise Canceled("stopped")
        if time.monotonic() - self._sent >= MOST_SILENT_SECONDS:
            self.send(Heard(()))

    def _listen(self) -> None:
        while True:
            try:
                message = self._pipe.recv()
            except (EOFError, OSError):
                # Not sys.exit: other threads may be inside a codec or a network, which nothing interrupts.
                os._exit(0)
            if isinstance(message, Stop):
                self._newest_stop = message.number
            else:
                self._orders.put(message)


class Telling:
    """An observer that sends what happens, frames added up, at most ten times a second; and stops a stopped order."""

    def __init__(self, pipe: HeldPipe) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()
        self._frames = 0
        self._events: list[Event] = []
        self._sent = 0.0

    def __call__(self, event: Event) -> None:
        """Take note of an event.

        Raises:
            Canceled: the order was stopped.
        """
        self._pipe.check()
        with self._lock:
            if isinstance(event, FramesDone):
                self._frames += event.count
            else:
                self._add_frames()
                self._events.append(event)
            if time.monotonic() - self._sent >= LEAST_SECONDS_BETWEEN:
                self._flush()

    def flush(self) -> None:
        """Send what was not sent yet."""
        with self._lock:
            self._flush()

    def _add_frames(self) -> None:
        """Put the frames so far before what comes next: a phase's frames belong to it."""
        if self._frames:
            self._events.append(FramesDone(self._frames))
            self._frames = 0

    def _flush(self) -> None:
        self._add_frames()
        if self._events:
            self._pipe.send(Heard(tuple(self._events)))
            self._events.clear()
            self._sent = time.monotonic()
