"""The door counts and logs every request, also one whose answer breaks off."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.support.scrape import read
from upscale_server.errors import UpscaleError
from upscale_server.metrics import Metrics
from upscale_server.web.auth import Keys
from upscale_server.web.doorway import Doorway, Rules
from upscale_server.web.own_names import OwnNames

SCOPE = {
    "type": "http", "method": "GET", "path": "/v1/jobs", "raw_path": b"/v1/jobs", "query_string": b"",
    "headers": [(b"host", b"localhost")], "server": ("127.0.0.1", 80),
}  # fmt: skip


@pytest.mark.parametrize(
    ("raised", "told", "code"),
    [
        (RuntimeError("a defect"), UpscaleError, "500"),
        (UpscaleError("gone"), UpscaleError, "500"),
        (asyncio.CancelledError(), asyncio.CancelledError, "499"),
    ],
)
def test_an_answer_that_breaks_off_is_counted_and_logged(
    raised: BaseException, told: type[BaseException], code: str
) -> None:
    """Its head said 200; the client has no whole answer, and neither the figures nor the log say that it has."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:  # noqa: ANN401 - as ASGI
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise raised

    metrics = Metrics("video")
    door = Doorway(app, Rules(Keys(()), OwnNames(frozenset())), metrics)
    with capture_logs() as lines, pytest.raises(told):
        asyncio.run(door(dict(SCOPE), _nothing, _nothing))

    assert 1 == read(metrics.text().decode()).value(
        "upscale_http_requests_total", route="none", method="GET", code=code
    )
    assert [(int(code), True)] == [(one["status"], one["broken"]) for one in lines if one["event"] == "request"]


async def _nothing(*_message: object) -> Any:  # noqa: ANN401 - as ASGI
    return None
