"""What subnet miners send, today's lists and yesterday's single path, and what they read from the answer."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import httpx
import pytest

from tests.compat.conftest import LONG_SECONDS, Sources
from tests.support.server import Server, running

REPLY = [
    "success", "output_paths", "output_urls", "errors", "output_path", "output_url", "error", "processing_time",
    "queue_position", "active_tasks", "queued_tasks",
]  # fmt: skip


@pytest.fixture
def local_clip(shared_root: Path, sources: Sources, request: pytest.FixtureRequest) -> Iterator[Path]:
    """Give a clip under the shared root, of this test alone."""
    folder = shared_root / request.node.name.replace("[", "-").replace("]", "")
    folder.mkdir()
    path = folder / "in.mp4"
    shutil.copy(sources.folder / "round-1.mp4", path)
    yield path
    shutil.rmtree(folder)


def size_of(path: Path) -> tuple[int, int, int]:
    """Return width, height and number of pictures."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream.width, stream.height, sum(1 for _ in container.decode(stream))


def test_addresses_in_give_addresses_out_in_their_order(http: httpx.Client, sources: Sources, tmp_path: Path) -> None:
    """Lists stay aligned with the request, the scalars are their first items, sizes are exactly the factor."""
    asked = {
        "video_paths": [sources.address("round-1.mp4"), sources.address("round-2.mp4")],
        "scale": 2,
        "task_id": "round-7",
    }

    reply = http.post("/upscale", json=asked)

    answer = reply.json()
    assert (200, True, ["", ""]) == (reply.status_code, answer["success"], answer["errors"]), answer
    assert REPLY == list(answer)
    assert ["", ""] == answer["output_paths"]
    assert (answer["output_urls"][0], "", "") == (answer["output_url"], answer["output_path"], answer["error"])
    for url, size in zip(answer["output_urls"], [(320, 180, 12), (352, 200, 12)], strict=True):
        (tmp_path / "out.mp4").write_bytes(httpx.get(url, trust_env=False).content)
        assert size == size_of(tmp_path / "out.mp4")


def test_a_path_in_gives_a_path_out_under_the_same_root(
    http: httpx.Client, local_clip: Path, shared_root: Path
) -> None:
    """Local callers get a file beside their own and may delete both."""
    reply = http.post("/upscale", json={"video_paths": [str(local_clip)], "scale": 4, "task_id": "r"})

    answer = reply.json()
    assert answer["success"], answer
    assert [""] == answer["output_urls"]
    found = Path(answer["output_paths"][0])
    assert shared_root in found.resolve().parents
    assert (640, 360, 12) == size_of(found)
    assert local_clip.exists()


def test_a_named_output_path_is_used(http: httpx.Client, local_clip: Path) -> None:
    """The caller may say where the result goes."""
    wanted = local_clip.with_name("out.mp4")
    asked = {"video_paths": [str(local_clip)], "output_paths": [str(wanted)], "scale": 2, "task_id": "r"}

    answer = http.post("/upscale", json=asked).json()

    assert [str(wanted)] == answer["output_paths"], answer
    assert (320, 180, 12) == size_of(wanted)


def test_the_older_single_path_is_understood(http: httpx.Client, local_clip: Path) -> None:
    """V2 callers send `video_path` and read `output_path`."""
    answer = http.post("/upscale", json={"video_path": str(local_clip), "scale": 2, "task_id": "r"}).json()

    assert answer["success"], answer
    assert (320, 180, 12) == size_of(Path(answer["output_path"]))


@pytest.mark.parametrize("codec", ["hevc", "av1"])
def test_the_codec_is_the_one_asked_for(http: httpx.Client, sources: Sources, tmp_path: Path, codec: str) -> None:
    """HEVC in profile Main, or AV1."""
    asked = {"video_paths": [sources.address("round-1.mp4")], "scale": 2, "task_id": "r", "codec": codec}

    answer = http.post("/upscale", json=asked).json()

    assert answer["success"], answer
    (tmp_path / "out.mp4").write_bytes(httpx.get(answer["output_url"], trust_env=False).content)
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.video[0]
        assert codec in {
            stream.codec_context.name.replace("libdav1d", "av1"),
            stream.codec_context.codec.canonical_name,
        }
        assert "yuv420p" == stream.codec_context.pix_fmt


def test_an_item_that_fails_does_not_fail_the_others(http: httpx.Client, sources: Sources) -> None:
    """Under status 200 the failed item has its error, the other its result, and success is all()."""
    asked = {
        "video_paths": [sources.address("gone.mp4"), sources.address("round-1.mp4")],
        "scale": 2,
        "task_id": "r",
    }

    reply = http.post("/upscale", json=asked)

    answer = reply.json()
    assert (200, False) == (reply.status_code, answer["success"])
    assert "" == answer["output_urls"][0]
    assert answer["errors"][0]
    assert answer["output_urls"][1]
    assert "" == answer["errors"][1]
    assert answer["errors"][0] == answer["error"]


@pytest.mark.parametrize(
    "change",
    [
        {"scale": 3},
        {"scale": 0},
        {"scale": "2"},
        {"scale": None},
        {"video_paths": []},
        {"video_paths": [""]},
        {"video_paths": None},
        {"video_paths": ["{clip}"] * 6},
        {"codec": "vp9"},
        {"unknown": 1},
        {"deadline_seconds": -1},
        {"output_paths": ["a.mp4", "b.mp4"]},
    ],
)
def test_a_malformed_request_is_a_400(http: httpx.Client, sources: Sources, change: dict[str, Any]) -> None:
    """What could never be done is refused as a whole."""
    clip = sources.address("round-1.mp4")
    asked: dict[str, Any] = {"video_paths": [clip], "scale": 2, "task_id": "r", **change}
    if asked["video_paths"]:
        asked["video_paths"] = [one.replace("{clip}", clip) for one in asked["video_paths"]]

    reply = http.post("/upscale", json={name: value for name, value in asked.items() if value is not None})

    assert 400 == reply.status_code, reply.text


@pytest.mark.parametrize(
    "path", ["../in.mp4", "/etc/passwd", "{root}/../etc/passwd", "{root}/missing.mp4", "{root}/link.mp4"]
)
def test_a_path_outside_the_shared_root_is_not_opened(http: httpx.Client, shared_root: Path, path: str) -> None:
    """No `..`, no symlink out of it, nothing that is not there; the answer is no result, whatever its form."""
    link = shared_root / "link.mp4"
    link.unlink(missing_ok=True)
    link.symlink_to("/etc/passwd")

    reply = http.post(
        "/upscale", json={"video_paths": [path.replace("{root}", str(shared_root))], "scale": 2, "task_id": "r"}
    )

    assert not (reply.status_code == 200 and reply.json()["success"])
    assert "root:" not in reply.text


def test_an_output_that_exists_is_not_replaced(http: httpx.Client, local_clip: Path) -> None:
    """Nothing of a caller's is ever overwritten."""
    taken = local_clip.with_name("taken.mp4")
    taken.write_text("mine")
    asked = {"video_paths": [str(local_clip)], "output_paths": [str(taken)], "scale": 2, "task_id": "r"}

    reply = http.post("/upscale", json=asked)

    assert not (reply.status_code == 200 and reply.json()["success"])
    assert "mine" == taken.read_text()


def test_two_rounds_at_once_wait_for_each_other(server: Server, sources: Sources) -> None:
    """Ten calls find room, all succeed, and no two results have the same number of bytes."""
    replies: list[httpx.Response] = []
    asked = {"video_paths": [sources.address("round-1.mp4")], "scale": 2, "task_id": "r"}

    def call() -> None:
        replies.append(httpx.post(f"{server.url}/upscale", json=asked, timeout=LONG_SECONDS, trust_env=False))

    callers = [threading.Thread(target=call) for _ in range(10)]
    for one in callers:
        one.start()
    for one in callers:
        one.join()

    assert [True] * 10 == [reply.json()["success"] for reply in replies]
    sizes = [httpx.head(reply.json()["output_url"], trust_env=False).headers["content-length"] for reply in replies]
    assert 10 == len(set(sizes)), sizes


def test_the_queue_answers_counts(http: httpx.Client) -> None:
    """`GET /queue` says how many run and wait, under the names of the reply of `/upscale`."""
    answer = http.get("/queue").json()

    assert {"active_tasks", "queued_tasks"} <= set(answer)
    assert all(isinstance(value, int) and value >= 0 for value in answer.values())
    assert 16 <= answer["room"]


@pytest.fixture(scope="module")
def miner(tmp_path_factory: pytest.TempPathFactory, shared_root: Path) -> Iterator[Server]:
    """Give a server with the subnet's face switched on and room for one waiting job."""
    environment = {
        "MODEL_PATH": "lanczos",
        "UPSCALE_SUBNET__ENABLED": "true",
        "UPSCALE_SUBNET__SHARED_ROOT": str(shared_root),
        "UPSCALE_JOBS__ROOM": "1",
    }
    with running(tmp_path_factory.mktemp("miner"), environment=environment) as one:
        yield one


def test_health_says_ok_and_shows_the_folders_where_the_subnet_is_enabled(miner: Server, shared_root: Path) -> None:
    """The container's check reads `ok`; the miner reads where files are exchanged and how full the queue is."""
    answer = httpx.get(f"{miner.url}/health", trust_env=False).json()

    assert "ok" == answer["status"]
    folders = answer["competition_local_io"]
    assert ["remote_io_disabled", "input_root", "output_root"] == list(folders)
    assert (str(shared_root), str(shared_root)) == (folders["input_root"], folders["output_root"])
    assert {"active_tasks", "queued_tasks"} <= set(answer["queue"])
    assert {"workers_ready", "max_workers", "supported_tasks"} <= set(answer)


def test_more_than_the_room_is_refused_with_retry_after(miner: Server, sources: Sources) -> None:
    """A full queue is 429 and says when to come back; nothing of the refused call is begun."""
    asked = {"video_paths": [sources.address("round-1.mp4")] * 5, "scale": 2, "task_id": "r"}

    reply = httpx.post(f"{miner.url}/upscale", json=asked, timeout=LONG_SECONDS, trust_env=False)

    assert (429, "queue_full", True) == (reply.status_code, reply.json()["code"], reply.json()["retryable"])
    assert 0 < int(reply.headers["retry-after"])
