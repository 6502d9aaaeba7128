"""Every command, field and message of the document that started the video server, against a started one."""

from __future__ import annotations

import asyncio
import json
import shlex
import shutil
import subprocess
import sys
import types
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Self

import av
import httpx
import pytest

from tests.compat.conftest import Sources
from tests.support.killing import wait_until
from tests.support.server import Server

DOCUMENTED = "http://localhost:29115"
TASKS = {"SD2HD": (1920, 1080), "SD24K": (3840, 2160), "HD24K": (3840, 2160), "4K28K": (7680, 4320)}
PROBLEM = ["type", "title", "status", "detail", "code", "retryable", "request_id", "hint"]

HEALTH = f"curl {DOCUMENTED}/health"
STATS = f"curl {DOCUMENTED}/stats"
UPSCALE = rf"""curl -X POST {DOCUMENTED}/upscale-video \
  -H "Content-Type: application/json" \
  -d '{{
    "payload_url": "https://example.com/video.mp4",
    "task_type": "HD24K",
    "maximum_optimized_size_mb": 100
  }}'"""

MINER = """
async def video_upscaler(payload_url: str, task_type: str) -> str | None:
    url = f"http://localhost:29115/upscale-video"
    headers = {"Content-Type": "application/json"}
    data = {
        "payload_url": payload_url,
        "task_type": task_type,
        "maximum_optimized_size_mb": 100
    }

    async with aiohttp.ClientSession() as session:
        async with session.post(url, headers=headers, data=json.dumps(data)) as response:
            if response.status == 200:
                result = await response.json()
                return result.get("optimized_video_url")
    return None
"""


def curl(command: str, server: Server) -> Any:  # noqa: ANN401 - any JSON value
    """Run a documented command with this server's address in place of the documented one."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed here")
    words = shlex.split(command.replace("\\\n", " ").replace(DOCUMENTED, server.url))
    done = subprocess.run([*words, "--silent", "--noproxy", "*"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def size_of(content: bytes, folder: Path) -> tuple[int, int, int]:
    """Return width, height and number of pictures of a result."""
    path = folder / "result.mp4"
    path.write_bytes(content)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream.width, stream.height, sum(1 for _ in container.decode(stream))


def test_the_documented_health_command_answers_the_documented_fields(server: Server) -> None:
    """Status, workers ready, their ceiling and the four tasks, in the documented words."""
    answer = curl(HEALTH, server)

    assert ["status", "workers_ready", "max_workers", "supported_tasks"] == list(answer)
    assert ("healthy", 12, ["SD2HD", "SD24K", "HD24K", "4K28K"]) == (
        answer["status"],
        answer["max_workers"],
        answer["supported_tasks"],
    )
    assert 1 <= answer["workers_ready"] <= 12


def test_the_documented_stats_command_answers_the_documented_tables(server: Server) -> None:
    """The two mappings are those of the document; beside them stands what was measured."""
    answer = curl(STATS, server)

    assert 12 == answer["max_workers"]
    assert {"SD2HD": 10, "SD24K": 8, "HD24K": 12, "4K28K": 8} == answer["task_worker_mapping"]
    assert {
        "SD2HD": ["854x480", "1920x1080", 2],
        "SD24K": ["854x480", "3840x2160", 4],
        "HD24K": ["1920x1080", "3840x2160", 2],
        "4K28K": ["3840x2160", "7680x4320", 2],
    } == answer["task_resolution_mapping"]
    assert set(TASKS) == set(answer["task_lanes"])
    assert all(1 <= lanes <= answer["workers_ready"] for lanes in answer["task_lanes"].values())
    assert {"engine", "device", "model"} <= set(answer)


def test_the_documented_upscale_command_works_with_an_address_that_can_be_fetched(
    server: Server, sources: Sources
) -> None:
    """The command as it stands, its example address replaced, gives a link and the documented facts."""
    answer = curl(UPSCALE.replace("https://example.com/video.mp4", sources.address("small.mp4")), server)

    assert {"optimized_video_url", "uploaded_video_url", "processing_time", "task_type", "file_size_mb"} <= set(answer)
    assert "HD24K" == answer["task_type"]


@pytest.mark.parametrize("task", TASKS)
def test_each_task_gives_a_link_to_a_file_of_its_size(
    http: httpx.Client, sources: Sources, task: str, tmp_path: Path
) -> None:
    """Both generations of callers find their link, the size said is the file's, and every picture is there."""
    reply = http.post("/upscale-video", json={"payload_url": sources.address("small.mp4"), "task_type": task})

    assert 200 == reply.status_code, reply.text
    answer = reply.json()
    assert answer["optimized_video_url"] == answer["uploaded_video_url"]
    assert 0 < answer["processing_time"]
    content = httpx.get(answer["optimized_video_url"], trust_env=False).content
    assert pytest.approx(len(content) / 2**20, abs=0.01) == answer["file_size_mb"]  # two decimals are enough to read
    assert (*TASKS[task], 3) == size_of(content, tmp_path)


def test_a_portrait_source_turns_the_box_of_its_task(http: httpx.Client, sources: Sources, tmp_path: Path) -> None:
    """A standing picture is not squeezed into a lying box."""
    reply = http.post("/upscale-video", json={"payload_url": sources.address("portrait.mp4"), "task_type": "SD2HD"})

    content = httpx.get(reply.json()["optimized_video_url"], trust_env=False).content

    assert (1080, 1920, 3) == size_of(content, tmp_path)


def test_the_miners_function_works_as_printed(
    server: Server, sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The snippet of the document, untouched but for the port, returns the link of a result."""
    stand_in = types.ModuleType("aiohttp")
    stand_in.ClientSession = _Session  # type: ignore[attr-defined] - a module made here
    monkeypatch.setitem(sys.modules, "aiohttp", stand_in)
    room: dict[str, Any] = {"aiohttp": stand_in, "json": json}
    exec(MINER.replace(DOCUMENTED, server.url), room)  # noqa: S102 - the document's own program

    link = asyncio.run(room["video_upscaler"](sources.address("small.mp4"), "SD2HD"))

    assert (1920, 1080, 3) == size_of(httpx.get(link, trust_env=False).content, tmp_path)


def test_the_miners_function_sees_a_failure_as_none(
    server: Server, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks at the status alone; a failure must therefore never be a 200."""
    stand_in = types.ModuleType("aiohttp")
    stand_in.ClientSession = _Session  # type: ignore[attr-defined] - a module made here
    monkeypatch.setitem(sys.modules, "aiohttp", stand_in)
    room: dict[str, Any] = {"aiohttp": stand_in, "json": json}
    exec(MINER.replace(DOCUMENTED, server.url), room)  # noqa: S102 - the document's own program

    assert None is asyncio.run(room["video_upscaler"](sources.address("gone.mp4"), "SD2HD"))


class _Session:
    """As much of aiohttp's session as the snippet uses, over httpx: the same bytes go over the wire."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    def post(self, url: str, *, headers: dict[str, str], data: str) -> _Reply:
        """Prepare a request."""
        return _Reply(url, headers, data)


class _Reply:
    """As much of aiohttp's response as the snippet uses."""

    def __init__(self, url: str, headers: dict[str, str], text: str) -> None:
        self._request = (url, headers, text)
        self.status = 0
        self._value: Any = None

    async def __aenter__(self) -> Self:
        url, headers, text = self._request
        async with httpx.AsyncClient(timeout=100.0, trust_env=False) as client:
            reply = await client.post(url, headers=headers, content=text)
        self.status, self._value = reply.status_code, reply.json()
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def json(self) -> Any:  # noqa: ANN401 - any JSON value
        """Return the answer."""
        return self._value


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"payload_url": "{small}", "task_type": "HD28K"}, 400, "unknown_task"),
        ({"payload_url": "{small}"}, 400, "bad_request"),
        ({"task_type": "HD24K"}, 400, "bad_request"),
        ({"payload_url": "{small}", "task_type": "HD24K", "colour": "red"}, 400, "bad_request"),
        ({"payload_url": "{small}", "task_type": "HD24K", "maximum_optimized_size_mb": 0}, 400, "bad_request"),
        ({"payload_url": "{small}", "task_type": "HD24K", "maximum_optimized_size_mb": -1}, 400, "bad_request"),
        ({"payload_url": "{small}", "task_type": "HD24K", "maximum_optimized_size_mb": "big"}, 400, "bad_request"),
        ({"payload_url": "not an address", "task_type": "HD24K"}, 400, "bad_url"),
        ({"payload_url": "file:///etc/passwd", "task_type": "HD24K"}, 400, "bad_scheme"),
        ({"payload_url": "ftp://example.com/a.mp4", "task_type": "HD24K"}, 400, "bad_scheme"),
        ({"payload_url": "http://10.0.0.1/a.mp4", "task_type": "HD24K"}, 403, "source_forbidden"),
        ({"payload_url": "http://[::ffff:169.254.169.254]/", "task_type": "HD24K"}, 403, "source_forbidden"),
        ({"payload_url": "{gone}", "task_type": "HD24K"}, 422, "source_not_found"),
        ({"payload_url": "{page}", "task_type": "HD24K"}, 415, "not_media"),
        ({"payload_url": "{full-hd}", "task_type": "SD2HD"}, 422, "nothing_to_upscale"),
        (
            {"payload_url": "{small}", "task_type": "SD2HD", "maximum_optimized_size_mb": 0.001},
            422,
            "output_too_large",
        ),
    ],
)
def test_failures_have_their_status_and_the_documented_problem_body(
    http: httpx.Client, sources: Sources, body: dict[str, Any], status: int, code: str
) -> None:
    """A failure is never 200; its body is RFC 9457 with `detail` as a string and our own fields beside it."""
    url = str(body.get("payload_url", ""))
    if url.startswith("{"):
        body = {**body, "payload_url": sources.address(f"{url[1:-1]}.mp4")}

    reply = http.post("/upscale-video", json=body)

    assert (status, code) == (reply.status_code, reply.json()["code"]), reply.text
    assert PROBLEM == list(reply.json())
    assert "application/problem+json" == reply.headers["content-type"].split(";")[0]
    assert status == reply.json()["status"]
    assert isinstance(reply.json()["detail"], str)
    assert reply.json()["request_id"] == reply.headers["x-request-id"]


def test_output_too_large_says_what_was_reached(http: httpx.Client, sources: Sources) -> None:
    """The promise of a size is kept or refused with the size that could be had."""
    asked = {"payload_url": sources.address("small.mp4"), "task_type": "SD2HD", "maximum_optimized_size_mb": 0.001}

    detail = http.post("/upscale-video", json=asked).json()["detail"]

    assert "byte" in detail or "MB" in detail or "MiB" in detail
    assert any(character.isdigit() for character in detail)


def test_the_result_is_at_most_as_large_as_asked(http: httpx.Client, sources: Sources) -> None:
    """A bound that can be kept is kept."""
    asked = {"payload_url": sources.address("long.mp4"), "task_type": "SD2HD"}
    free = http.post("/upscale-video", json=asked).json()["file_size_mb"]

    bound = round(free / 2, 3)
    reply = http.post("/upscale-video", json={**asked, "maximum_optimized_size_mb": bound})

    assert 200 == reply.status_code, reply.text
    content = httpx.get(reply.json()["optimized_video_url"], trust_env=False).content
    assert len(content) <= bound * 2**20


def test_a_caller_that_hangs_up_does_not_lose_the_job(http: httpx.Client, sources: Sources) -> None:
    """Callers give up after their own time; the job goes on and can be found."""
    before = {job["id"] for job in http.get("/v1/jobs").json()["jobs"]}
    asked = {"payload_url": sources.address("long.mp4"), "task_type": "SD2HD"}
    caller = HTTPConnection(http.base_url.netloc.decode(), timeout=60)
    caller.request("POST", "/upscale-video", json.dumps(asked), {"Content-Type": "application/json"})
    wait_until(lambda: any(job["id"] not in before for job in http.get("/v1/jobs").json()["jobs"]))

    caller.close()

    mine = next(job for job in http.get("/v1/jobs").json()["jobs"] if job["id"] not in before)

    with http.stream("GET", f"/v1/jobs/{mine['id']}/events") as events:
        states = [json.loads(line[5:])["state"] for line in events.iter_lines() if line.startswith("data:")]
    assert "succeeded" == states[-1]


def test_a_result_can_be_read_in_parts(http: httpx.Client, sources: Sources) -> None:
    """Players and scorers seek: Range, ETag and a file name that is safe."""
    asked = {"payload_url": sources.address("small.mp4"), "task_type": "SD2HD"}
    url = http.post("/upscale-video", json=asked).json()["optimized_video_url"]
    whole = httpx.get(url, trust_env=False)

    part = httpx.get(url, headers={"Range": "bytes=100-199"}, trust_env=False)

    assert 206 == part.status_code
    assert whole.content[100:200] == part.content
    assert f"bytes 100-199/{len(whole.content)}" == part.headers["content-range"]
    assert whole.headers["etag"] == part.headers["etag"]
    assert "bytes" == whole.headers["accept-ranges"]
    assert "small_upscaled.mp4" in whole.headers["content-disposition"]


def test_a_link_that_was_changed_is_refused(http: httpx.Client, sources: Sources) -> None:
    """The signature covers the address and its expiry."""
    asked = {"payload_url": sources.address("small.mp4"), "task_type": "SD2HD"}
    url = httpx.URL(http.post("/upscale-video", json=asked).json()["optimized_video_url"])

    longer = url.copy_merge_params({"expires": str(int(url.params["expires"]) + 1)})

    assert 403 == httpx.get(longer, trust_env=False).status_code


def test_links_begin_with_the_hosts_own_name_only_where_it_is_ours(http: httpx.Client, sources: Sources) -> None:
    """A link made for a stranger's Host header would send a caller's result anywhere."""
    asked = {"payload_url": sources.address("small.mp4"), "task_type": "SD2HD"}

    reply = http.post("/upscale-video", json=asked, headers={"Host": "evil.example"})

    assert reply.status_code == 403
    assert "UPSCALE_ALLOWED_HOSTS" in reply.text
