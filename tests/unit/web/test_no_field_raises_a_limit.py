"""What an operator bounds no caller can raise: not by a field of a body, of a form or of a query, on either server.

And what belongs to one key is not there for another: every route with a name in it is asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.image_served import ImagesServed, image_settings, picture_file, serving_images
from tests.support.served import IdlePool, Served, serving, settings_in
from upscale_server.server_settings import Previews
from upscale_server.service import VideoService
from upscale_server.settings import Limits, Settings
from upscale_server.web.limits import IMAGE_GROUPS, VIDEO_GROUPS, in_force
from upscale_server.wire_image import UpscaledBatch

URL = "http://127.0.0.1:9/clip.mp4"
OWN_WORDS = {"upscale", "process_size"}
"""Settings of the image server that are defaults of a request's own word and no bound."""
BODIES = {
    "/v1/jobs": {"payload_url": URL, "scale": 2},
    "/v1/plan": {"payload_url": URL, "scale": 2},
    "/v1/sources": {"payload_url": URL},
    "/v1/previews": {"payload_url": URL, "scale": 2, "models": ["fast"]},
    "/upscale-video": {"payload_url": URL, "task_type": "SD2HD"},
    "/upscale": {"video_paths": [URL], "scale": 2, "task_id": "t"},
}


def words_of(groups: tuple[str, ...]) -> list[str]:
    """Return every name by which a caller might try to set a limit."""
    names = in_force(Settings(), groups)
    own = {name.rpartition("__")[2].lower() for name in names} - OWN_WORDS
    return sorted(own | set(names) | {"limits", "http", "quotas", "timeout", "max_size"})


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImagesServed]:
    """Give an image server of small limits."""
    settings = image_settings(tmp_path_factory.mktemp("images"), image={"max_bytes": 4096, "batch_files": 2})
    with serving_images(settings) as served:
        yield served


@pytest.mark.parametrize("path", BODIES)
def test_no_field_of_a_body_is_a_limit(refusing: Served, path: str) -> None:
    """Each name is refused as unknown, whatever stands beside it."""
    for word in words_of(VIDEO_GROUPS):
        reply = refusing.client.post(path, json={**BODIES[path], word: 10**12})
        assert 400 == reply.status_code, (word, reply.text)
        assert word in reply.json()["detail"], reply.text


@pytest.mark.slow
def test_no_parameter_of_an_upload_is_a_limit(refusing: Served) -> None:
    """As a query beside the file, and as a field of its form."""
    for word in words_of(VIDEO_GROUPS):
        query = refusing.client.post(f"/v1/jobs?scale=2&{word}=9", content=b"x", headers={"Content-Type": "video/mp4"})
        form = refusing.client.post("/v1/jobs", files={"file": b"x"}, data={"scale": "2", word: "9"})
        assert [400, 400] == [query.status_code, form.status_code], (word, query.text, form.text)


@pytest.mark.slow
@pytest.mark.parametrize("field", ["query", "form"])
def test_no_word_of_a_picture_is_a_limit(images: ImagesServed, field: str) -> None:
    """The image server knows its five words and no other."""
    for word in words_of(IMAGE_GROUPS):
        given = {"params": {word: "9"}} if field == "query" else {"data": {word: "9"}}
        reply = images.client.post("/upscale", files={"file": picture_file()}, **given)  # type: ignore[arg-type]  # two kinds
        assert 400 == reply.status_code, (word, reply.text)


@pytest.mark.slow
def test_words_that_exist_stay_below_the_servers_limits(tmp_path: Path) -> None:
    """A larger output, a longer preview, more models than the server allows are refused, naming the setting."""
    small = Limits(max_output_side=640, max_pixels=100_000)
    settings = settings_in(tmp_path, limits=small, previews=Previews(most_seconds=2, most_models=1))
    with serving(VideoService(settings, IdlePool())) as served:
        job = served.client.post("/v1/jobs", json={"payload_url": URL, "target": "4000x4000", "fit": "exact"})
        task = served.client.post("/upscale-video", json={"payload_url": URL, "task_type": "4K28K"})
        preview = {"payload_url": URL, "scale": 2, "models": ["fast"], "seconds": 3}
        long = served.client.post("/v1/previews", json=preview)
        many = served.client.post("/v1/previews", json=preview | {"seconds": 1, "models": ["fast", "lanczos"]})

    assert (413, True) == (job.status_code, "UPSCALE_LIMITS__MAX_OUTPUT_SIDE" in job.text)
    assert (413, True) == (task.status_code, "UPSCALE_LIMITS__MAX_OUTPUT_SIDE" in task.text)
    assert (400, True) == (long.status_code, "UPSCALE_PREVIEWS__MOST_SECONDS" in long.text)
    assert (400, True) == (many.status_code, "UPSCALE_PREVIEWS__MOST_MODELS" in many.text)


def test_pictures_stay_below_the_servers_limits(images: ImagesServed) -> None:
    """Too many bytes are too many in a batch, too, and a third file is one too many."""
    large = b"x" * 5000
    one = images.client.post("/upscale", files={"file": large})
    batch = images.client.post("/upscale_batch", files=[("files", ("a.png", large))])
    many = images.client.post("/upscale_batch", files=[("files", (f"{n}.png", b"x")) for n in range(3)])

    assert 413 == one.status_code
    assert "UPSCALE_IMAGE__MAX_BYTES" in str(UpscaledBatch.model_validate(batch.json()).results[0].error)
    assert (400, True) == (many.status_code, "UPSCALE_IMAGE__BATCH_FILES" in many.text)


def named_routes(served: Served) -> list[tuple[str, str]]:
    """Return method and path of every route that has something's name in it."""
    paths = served.client.get("/openapi.json", headers={"X-API-Key": "mine-key"}).json()["paths"]
    found = [(method, path) for path, methods in paths.items() for method in methods if re.search(r"{\w+_id}", path)]
    assert len(found) >= 15
    return found


def asked(served: Served, method: str, path: str, name: str, key: str) -> httpx.Response:
    """Ask a route about something of this name with a key."""
    filled = re.sub(r"{\w+}", "0", re.sub(r"{\w+_id}", name, path))
    return served.client.request(method, filled, headers={"X-API-Key": key}, timeout=30)


@pytest.mark.slow
def test_what_is_another_keys_is_not_there(tmp_path: Path) -> None:
    """Every route answers 404 about another key's job, as about one that never was; its owner is answered otherwise."""
    settings = settings_in(tmp_path, api_keys="mine-key,other-key")
    with serving(VideoService(settings, IdlePool())) as served:
        mine = {"X-API-Key": "mine-key"}
        job = served.client.post("/v1/jobs", json=BODIES["/v1/jobs"], headers=mine).json()["id"]
        routes = named_routes(served)
        others = {(method, path): asked(served, method, path, job, "other-key") for method, path in routes}
        shown = served.client.get(f"/v1/jobs/{job}", headers=mine)
        listed = served.client.get("/v1/jobs", headers={"X-API-Key": "other-key"})

    assert {} == {route: reply.text for route, reply in others.items() if 404 != reply.status_code}
    assert 200 == shown.status_code
    assert [] == listed.json()["jobs"]


@pytest.mark.slow
def test_the_owners_check_alone_keeps_others_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tooth: without it another key sees the job."""
    settings = settings_in(tmp_path, api_keys="mine-key,other-key")
    service = VideoService(settings, IdlePool())
    monkeypatch.setattr(service, "job", lambda job_id, _owner="": service._store.get(job_id))
    with serving(service) as served:
        job = served.client.post("/v1/jobs", json=BODIES["/v1/jobs"], headers={"X-API-Key": "mine-key"}).json()["id"]

        assert 200 == served.client.get(f"/v1/jobs/{job}", headers={"X-API-Key": "other-key"}).status_code
