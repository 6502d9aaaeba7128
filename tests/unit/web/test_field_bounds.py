"""Values that no job could be done with are a 400 at the door, never a failure inside."""

from __future__ import annotations

import json

import pytest

from tests.support.served import Served
from upscale_server.errors import ModelMissing, ModelsNotLoaded
from upscale_server.web.faults import retry_after

URL = "http://127.0.0.1/v.mp4"
SIZE = "maximum_optimized_size_mb"


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/upscale", {"video_paths": 5, "video_path": "h", "scale": 2}, "video_path"),
        ("/upscale", {"video_paths": {"a": 1}, "video_path": "h", "scale": 2}, "video_path"),
        ("/upscale", {"video_paths": "h", "video_path": "h", "scale": 2}, "video_path"),
        ("/upscale", {"video_paths": [URL], "output_paths": 5, "output_path": "h", "scale": 2}, "output_path"),
        ("/upscale", {"video_paths": [URL], "scale": 2, "deadline_seconds": 1e308}, "deadline_seconds"),
        ("/upscale-video", {"payload_url": URL, "task_type": "SD2HD", SIZE: 1e308}, SIZE),
        ("/upscale-video", {"payload_url": URL, "task_type": "SD2HD", SIZE: 1e-9}, SIZE),
        ("/upscale-video", {"payload_url": URL, "task_type": "S" * 50_000}, "task_type"),
        ("/v1/jobs", {"payload_url": URL, SIZE: 1e308}, SIZE),
        ("/v1/jobs", {"payload_url": URL, SIZE: 10**400}, SIZE),
        ("/v1/jobs", {"payload_url": URL, SIZE: 1e-9}, SIZE),
        ("/v1/jobs", {"payload_url": URL, "target": "1" * 50_000}, "target"),
        ("/v1/jobs", {"payload_url": URL, "target": "1x1"}, "target"),
        ("/v1/jobs", {"payload_url": URL, "target": "99999x99999"}, "target"),
        ("/v1/jobs", {"payload_url": URL, "\ud800": 1}, "unicode"),
        ("/upscale-video", {"payload_url": URL, "task_type": "\ud800"}, "task_type"),
        ("/upscale", {"video_paths": [URL], "scale": 2, "\ud800": 1}, "unicode"),
        ("/v1/jobs", {"payload_url": URL, "scale": 10**300}, "scale"),
        ("/v1/jobs", {"payload_url": "http://127.0.0.1/\ud800.mp4"}, "payload_url"),
    ],
)
def test_a_value_beyond_every_use_is_refused_by_name(refusing: Served, path: str, body: object, field: str) -> None:
    """400, the field is named, the answer is short, and nothing is queued."""
    reply = refusing.post_raw(path, json.dumps(body))

    assert 400 == reply.status_code, reply.text
    assert field in reply.json()["detail"]
    assert 2000 > len(reply.content)
    assert 0 == refusing.service.counts().queued


@pytest.mark.parametrize("megabytes", [1, 0.5, 100, 2**20])
def test_sizes_that_make_sense_are_taken(served: Served, megabytes: float) -> None:
    """Whole and broken numbers, small and large."""
    assert 202 == served.client.post("/v1/jobs", json={"payload_url": URL, SIZE: megabytes}).status_code


def test_a_parameter_that_does_not_exist_is_refused(refusing: Served) -> None:
    """A misspelt cursor would otherwise give the first page for ever."""
    reply = refusing.client.get("/v1/jobs", params={"cursor": "zzz"})

    assert 400 == reply.status_code
    assert '"cursor"' in reply.json()["detail"]


def test_what_asking_again_does_not_mend_names_no_time_to_wait() -> None:
    """A client that obeys Retry-After would ask for ever."""
    assert retry_after(ModelMissing("the file of the server's model is gone")) is None
    assert retry_after(ModelsNotLoaded("the server is starting")) is not None


def test_the_documentation_shows_calls_to_this_server(refusing: Served) -> None:
    """An example can be pasted as it stands."""
    assert f"curl -X POST {refusing.url}/upscale-video " in refusing.client.get("/docs").text
