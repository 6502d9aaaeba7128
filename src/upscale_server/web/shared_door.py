"""Accepts connections from a socket that several processes listen on, the less busy ones first.

It balances and nothing else; what a connection costs is bounded by `guard`, and how a server ends stands in `serve`.

asyncio's own accepting takes up to a backlog of connections at once, so that one process would get them all while the
others sleep. Here each takes one at a time, and the more it has to do the longer it lets the others go first.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

import uvicorn
from fastapi import FastAPI

from upscale_server.web.app import Service
from upscale_server.web.serve import DrainingServer, config_of

_STEP_SECONDS = 0.005
"""What each picture in a process is worth: an idle process needs less than this to take a connection."""
_LONGEST_SECONDS = 0.05
_OUT_OF_FILES_SECONDS = 0.5

Load = Callable[[], int]


class Acceptor:
    """Takes connections one by one until it is closed; in uvicorn's eyes one of asyncio's servers."""

    def __init__(self, door: socket.socket, protocol: Callable[[], asyncio.Protocol], load: Load) -> None:
        """Begin.

        Args:
            door: a listening socket; it is closed at the end.
            protocol: makes what speaks with a connection.
            load: how much this process has to do; 0 where there are no others.
        """
        self._door = door
        self._number = door.fileno()  # the socket forgets it when it is closed
        self._door.settimeout(0)
        self._protocol = protocol
        self._load = load
        self._task = asyncio.get_running_loop().create_task(self._accept())

    def close(self) -> None:
        """Take no more connections; safe to call twice."""
        self._task.cancel()
        asyncio.get_running_loop().remove_reader(self._number)
        self._door.close()

    async def wait_closed(self) -> None:
        """Wait until that has happened."""
        with suppress(asyncio.CancelledError):
            await self._task

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._readable(loop)
            load = self._load()
            if load:
                await asyncio.sleep(min(_LONGEST_SECONDS, load * _STEP_SECONDS))
            try:
                connection, _ = self._door.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                continue  # another process took it, or the caller went
            except OSError:  # no file left; those who wait stay in the door's queue
                await asyncio.sleep(_OUT_OF_FILES_SECONDS)
                continue
            connection.settimeout(0)
            with suppress(OSError):
                await loop.connect_accepted_socket(self._protocol, connection)

    async def _readable(self, loop: asyncio.AbstractEventLoop) -> None:
        ready = asyncio.Event()
        loop.add_reader(self._number, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(self._number)


class SharedServer(DrainingServer):
    """A server that shares its door."""

    def __init__(self, config: uvicorn.Config, service: Service, door: socket.socket, load: Load) -> None:
        super().__init__(config, service)
        self._door = door
        self._load = load

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, and then let callers in."""
        await super().startup(sockets=sockets)
        config = self.config

        def protocol() -> asyncio.Protocol:
            state = {"server_state": self.server_state, "app_state": self.lifespan.state}
            return config.http_protocol_class(config=config, **state)  # type: ignore[call-arg]

        self.servers.append(Acceptor(self._door, protocol, self._load))  # type: ignore[arg-type]


def serve_shared(app: FastAPI, door: socket.socket, load: Load) -> None:
    """Serve until a signal, then drain.

    Args:
        app: what answers; its service is drained.
        door: a listening socket that others may listen on, too; it is closed at the end.
        load: how much this process has to do; 0 where there are no others.
    """
    SharedServer(config_of(app), app.state.service, door, load).run(sockets=[])
