"""Thousands of requests made from the servers' own descriptions, right and wrong: none is answered with a 5xx."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.hostile import Amount
from tests.support.image_served import image_settings, serving_images
from tests.support.served import LookingPool, serving, settings_in
from upscale_server.server_settings import Fetch, Jobs, Previews
from upscale_server.service import VideoService

api_cases = pytest.importorskip("tests.support.api_cases", reason="schemathesis is not installed here")

NOBODY = Fetch(allowed_networks=("127.0.0.0/8",), allowed_hosts=("127.0.0.1",), attempts=1, connect_seconds=1)
"""No name is ever looked up, and nothing but this machine is dialled."""
Report = Callable[[str, dict[str, object]], None]


def test_no_request_breaks_the_video_server(tmp_path: Path, amount: Amount, report: Report) -> None:
    """Routes of jobs, plans, sources, previews and miners, with what their shapes allow and with what they do not."""
    settings = settings_in(tmp_path, fetch=NOBODY, jobs=Jobs(room=100_000, wait_seconds=1), previews=Previews(room=100))
    with serving(VideoService(settings, LookingPool())) as served:
        found = api_cases.attack(served.url, amount(100, 1_000, 5_000))
        alive = served.client.get("/livez").status_code

    report("schemathesis_video", {"requests": found.sent, "statuses": dict(found.statuses), "5xx": len(found.broken)})
    assert [] == found.broken
    assert found.sent >= amount(100, 1_000, 5_000)
    assert 200 == alive


def test_no_request_breaks_the_image_server(tmp_path: Path, amount: Amount, report: Report) -> None:
    """Forms that are none, pictures that are none, and words that do not exist."""
    with serving_images(image_settings(tmp_path)) as served:
        found = api_cases.attack(served.url, amount(100, 1_000, 5_000))
        alive = served.client.get("/livez").status_code

    report("schemathesis_image", {"requests": found.sent, "statuses": dict(found.statuses), "5xx": len(found.broken)})
    assert [] == found.broken
    assert found.sent >= amount(100, 1_000, 5_000)
    assert 200 == alive


def test_a_broken_route_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tooth: where one list fails, the attack says so."""
    settings = settings_in(tmp_path, fetch=NOBODY, jobs=Jobs(wait_seconds=1))
    service = VideoService(settings, LookingPool())
    monkeypatch.setattr(service, "jobs", None)
    with serving(service) as served:
        found = api_cases.attack(served.url, 50)

    assert "GET /v1/jobs " in str(found.broken)
