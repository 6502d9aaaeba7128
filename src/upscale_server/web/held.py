"""Sends an answer while something is still held for it, so that answers which nobody reads do not pile up.

How slowly a client may read is the guard's to bound: it drops one that is too slow, and with it what was held.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Self

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send


class HeldResponse(Response):
    """An answer that lets go of what it holds when the client has taken it, or is gone."""

    def __init__(self, content: bytes, headers: dict[str, str], media_type: str) -> None:
        super().__init__(content, headers=headers, media_type=media_type)
        self._held = ExitStack()

    def hold(self, held: ExitStack) -> Self:
        """Take over what is held: to be done last, for only an answer that is sent lets go of it."""
        self._held = held
        return self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""

        async def send_and_wait(message: Message) -> None:
            if message["type"] != "http.response.body":
                await send(message)
                return
            # uvicorn takes in a body of any size at once; what follows it waits until the client has read nearly all.
            await send({**message, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        with self._held:
            await super().__call__(scope, receive, send_and_wait)
