"""A download ends as the whole file or not at all, however often the connection breaks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from upscale_server.client import Client, download
from upscale_server.errors import Gone, ServerUnreachable

WHOLE = bytes(range(256)) * 40
Answering = Callable[[httpx.Request], httpx.Response]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_FIRST_PAUSE_SECONDS", 0.0)


class _Breaking(httpx.SyncByteStream):
    """Sends so many bytes and then breaks; None sends all."""

    def __init__(self, content: bytes, breaks_after: int | None) -> None:
        self._content, self._breaks_after = content, breaks_after

    def __iter__(self) -> Iterator[bytes]:
        yield self._content[: self._breaks_after]
        if self._breaks_after is not None:
            raise httpx.ReadError("connection reset")


class Store:
    """A server of one object with Range and If-Range; its first answers break after so many bytes."""

    def __init__(self, content: bytes = WHOLE, etag: str = '"one"', breaks: tuple[int, ...] = ()) -> None:
        self.content, self.etag = content, etag
        self._breaks = iter(breaks)
        self.got: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer as RFC 9110 says."""
        self.got.append(request)
        wanted = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))
        begin = int(wanted[1]) if wanted and request.headers.get("if-range", self.etag) == self.etag else 0
        if begin > len(self.content):
            return httpx.Response(416)
        rest = self.content[begin:]
        headers = {"ETag": self.etag, "Content-Length": str(len(rest))}
        if begin:
            headers["Content-Range"] = f"bytes {begin}-{len(self.content) - 1}/{len(self.content)}"
        return httpx.Response(206 if begin else 200, headers=headers, stream=_Breaking(rest, next(self._breaks, None)))


def client(answering: Answering, api_key: str | None = None) -> Client:
    """Return a client whose server is a function."""
    return Client("http://server.test", api_key, transport=httpx.MockTransport(answering))


def test_a_download_writes_the_whole_file_and_tells_its_progress(tmp_path: Path) -> None:
    """The bytes are the object's, and the watcher saw the last of them and the total."""
    seen: list[tuple[int, int | None]] = []

    with client(Store()) as one:
        path = one.download("/files/a", tmp_path / "a.mp4", lambda here, total: seen.append((here, total)))

    assert WHOLE == path.read_bytes()
    assert (len(WHOLE), len(WHOLE)) == seen[-1]
    assert ["a.mp4"] == [one.name for one in tmp_path.iterdir()]


def test_a_broken_connection_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """The second request asks for the rest of the same object."""
    store = Store(breaks=(1000, 500))

    with client(store) as one:
        path = one.download("/files/a", tmp_path / "a.mp4")

    assert WHOLE == path.read_bytes()
    assert [None, "bytes=1000-", "bytes=1500-"] == [request.headers.get("range") for request in store.got]


def test_a_later_call_goes_on_with_the_part_of_an_earlier_one(tmp_path: Path) -> None:
    """A process that was stopped has not downloaded for nothing."""
    broken = Store(breaks=(1000, *[0] * download.ATTEMPTS))
    with client(broken) as one, pytest.raises(ServerUnreachable, match="connection reset"):
        one.download("/files/a", tmp_path / "a.mp4")
    again = Store()

    with client(again) as one:
        path = one.download("/files/a", tmp_path / "a.mp4")

    assert WHOLE == path.read_bytes()
    assert ["bytes=1000-"] == [request.headers.get("range") for request in again.got]
    assert ["a.mp4"] == [one.name for one in tmp_path.iterdir()]


def test_an_object_that_changed_meanwhile_is_fetched_whole(tmp_path: Path) -> None:
    """Bytes of two versions never meet in one file."""
    with client(Store(breaks=(1000, *[0] * download.ATTEMPTS))) as one, pytest.raises(ServerUnreachable):
        one.download("/files/a", tmp_path / "a.mp4")
    newer = Store(content=WHOLE[::-1], etag='"two"')

    with client(newer) as one:
        path = one.download("/files/a", tmp_path / "a.mp4")

    assert WHOLE[::-1] == path.read_bytes()


def test_a_weak_etag_is_not_trusted_for_a_rest(tmp_path: Path) -> None:
    """It does not promise equal bytes, so the download begins anew."""
    store = Store(etag='W/"one"', breaks=(1000,))

    with client(store) as one:
        path = one.download("/files/a", tmp_path / "a.mp4")

    assert WHOLE == path.read_bytes()
    assert [None, None] == [request.headers.get("range") for request in store.got]


def test_an_error_answer_is_the_servers_error_and_leaves_no_file(tmp_path: Path) -> None:
    """An expired link is `gone`, not a small file with a JSON text in it."""
    problem = Gone("the link has expired").as_record("r")

    with client(lambda _: httpx.Response(410, json=problem)) as one, pytest.raises(Gone):
        one.download("/files/a", tmp_path / "a.mp4")

    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("/v1/jobs/a1/output", "Bearer secret"),
        ("http://server.test/files/a", "Bearer secret"),
        ("http://s3.test/bucket/a?signature=x", None),
        ("http://server.test:9000/bucket/a", None),
    ],
)
def test_the_key_goes_to_our_own_server_alone(tmp_path: Path, url: str, key: str | None) -> None:
    """A link into an object store does not carry our key there."""
    store = Store()

    with client(store, "secret") as one:
        one.download(url, tmp_path / "a.mp4")

    assert key == store.got[0].headers.get("authorization")
