"""One request to an image server: what is sent, what an answer means, and that only whole pictures are kept."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.support.image_server import (
    Answer,
    broken_off,
    busy,
    cut_picture,
    hang_up,
    loading,
    no_picture,
    page,
    problem,
    standing_in,
)
from upscale_server.client.images import ImageServer, Miss, Missed, Wish, format_of, missed_by
from upscale_server.client.picture_reply import Received
from upscale_server.errors import BadRequest, NotMedia, ServerUnreachable, StorageError


def picture(folder: Path, name: str = "in.png") -> Path:
    """Make a small picture."""
    path = folder / name
    Image.new("RGB", (10, 6), (200, 30, 30)).save(path)
    return path


def encoded(kind: str) -> bytes:
    """Return a picture of 8x4 in a format."""
    body = io.BytesIO()
    Image.new("RGB", (8, 4)).save(body, kind)
    return body.getvalue()


def upscaled(url: str, source: Path, wish: Wish = Wish(), key: str | None = None) -> Received:  # noqa: B008 - frozen
    """Send a picture once; the result lies beside it as `out`."""
    with ImageServer(url, key) as server:
        return server.upscale(source, source.parent / "out", wish)


def answering(content: bytes, **headers: str) -> ImageServer:
    """Return a client of a server that always answers 200 with these bytes."""
    named = {"content-type": "image/png", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return ImageServer(
        "http://server.test",
        transport=httpx.MockTransport(lambda _: httpx.Response(200, headers=named, content=content)),
    )


def test_the_picture_travels_as_the_field_file_with_the_documented_parameters(tmp_path: Path) -> None:
    """`POST /upscale?upscale=4&process_size=256`, the name and the key; what is not asked for is not sent."""
    with standing_in() as server:
        got = upscaled(server.url, picture(tmp_path, "ein bild ü.png"), Wish(4, 256), "secret")
        upscaled(server.url, picture(tmp_path), Wish(), "secret")

    assert [{"upscale": "4", "process_size": "256"}, {}] == server.asked
    assert ["Bearer secret", "Bearer secret"] == server.keys
    assert ["ein bild ü.png", "in.png"] == server.names
    assert ("40x24", "stand-in") == (got.size, got.model)
    with Image.open(tmp_path / "out") as image:
        assert (20, 12) == image.size  # the second one, by the server's own default


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (busy, Miss.BUSY),
        (loading, Miss.BUSY),
        (problem(503, "draining", retryable=True), Miss.BUSY),
        (problem(503, "model_missing"), Miss.BROKEN),
        (problem(500, "internal"), Miss.BROKEN),
        (problem(507, "out_of_memory", retryable=True), Miss.BROKEN),
        (problem(404, "not_found"), Miss.BROKEN),
        (problem(400, "bad_scale"), Miss.FINAL),
        (problem(401, "unauthorized"), Miss.FINAL),
        (problem(413, "too_many_pixels"), Miss.FINAL),
        (problem(415, "not_media"), Miss.FINAL),
        (page, Miss.BROKEN),
        (no_picture, Miss.BROKEN),
        (cut_picture, Miss.BROKEN),
        (broken_off, Miss.DOWN),
        (hang_up, Miss.DOWN),
    ],
)
def test_each_answer_has_one_meaning_for_the_next_try(tmp_path: Path, answer: Answer, kind: Miss) -> None:
    """Wait, ask another server, ask nobody: the answer alone decides."""
    with standing_in(answer) as server, pytest.raises(Missed) as raised:
        upscaled(server.url, picture(tmp_path))

    assert kind is raised.value.kind


def test_a_proxy_with_nobody_behind_it_is_a_server_that_is_down() -> None:
    """502 with a web page passes when a worker is back; 404 with one does not."""
    assert Miss.DOWN is missed_by(foreign(502)).kind
    assert Miss.BROKEN is missed_by(foreign(404)).kind


def test_retry_after_is_taken_in_seconds() -> None:
    """A number counts; a date or nonsense is a short pause."""
    assert 7.0 == missed_by(foreign(429, "7")).seconds
    assert 1.0 == missed_by(foreign(429, "Wed, 21 Oct 2026 07:28:00 GMT")).seconds


def foreign(status: int, retry_after: str = "") -> httpx.Response:
    """Return an answer that is not in our words."""
    request = httpx.Request("POST", "http://server.test/upscale")
    headers = {"retry-after": retry_after} if retry_after else {}
    return httpx.Response(status, headers=headers, text="<h1>nginx</h1>", request=request)


def test_a_page_in_place_of_a_picture_is_named_with_its_beginning(tmp_path: Path) -> None:
    """The message has the address, the type and what was there."""
    with standing_in(page) as server, pytest.raises(Missed) as raised:
        upscaled(server.url, picture(tmp_path))

    assert f"{server.url}/upscale answered with text/html and not with a picture" in raised.value.error.detail
    assert "It works!" in raised.value.error.detail
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["png", "webp", "jpeg"])
def test_a_whole_picture_passes_and_a_shorter_one_does_not(tmp_path: Path, kind: str) -> None:
    """One byte less at the end is told, in each format that servers write."""
    whole = encoded(kind)

    got = answering(whole).upscale(picture(tmp_path), tmp_path / "out", Wish())

    assert len(whole) == got.bytes
    with pytest.raises(Missed, match="end is missing"):
        answering(whole[:-1]).upscale(picture(tmp_path), tmp_path / "out", Wish())


def test_a_header_that_contradicts_the_picture_is_not_believed(tmp_path: Path) -> None:
    """X-Output-Size and the PNG must agree."""
    with pytest.raises(Missed, match="said X-Output-Size: 9x9 and sent a picture of 8x4"):
        answering(encoded("png"), x_output_size="9x9").upscale(picture(tmp_path), tmp_path / "out", Wish())


def test_an_endless_page_is_not_read_to_its_end(tmp_path: Path) -> None:
    """A wrong server cannot keep the client busy."""
    sent = 0

    def pages() -> object:
        nonlocal sent
        while True:
            sent += 1
            yield b"x" * 10_000

    transport = httpx.MockTransport(
        lambda _: httpx.Response(200, headers={"content-type": "text/html"}, content=pages())
    )  # type: ignore[arg-type]

    with pytest.raises(Missed, match="text/html"):
        ImageServer("http://server.test", transport=transport).upscale(picture(tmp_path), tmp_path / "out", Wish())

    assert 7 == sent  # 65 536 bytes in steps of 10 000


def test_a_source_that_cannot_be_read_and_a_place_that_cannot_be_written_are_final(tmp_path: Path) -> None:
    """No other server would help."""
    with pytest.raises(Missed, match="cannot be read") as gone:
        answering(b"").upscale(tmp_path / "gone.png", tmp_path / "out", Wish())
    with pytest.raises(Missed) as unwritable:
        answering(encoded("png")).upscale(picture(tmp_path), tmp_path / "no folder" / "out", Wish())

    assert Miss.FINAL is gone.value.kind
    assert Miss.FINAL is unwritable.value.kind
    assert isinstance(unwritable.value.error, StorageError)


@pytest.mark.slow
def test_nobody_there_is_told_from_a_connection_that_broke(tmp_path: Path) -> None:
    """Only the latter can be the picture's doing."""
    with standing_in() as gone:
        pass
    with pytest.raises(Missed, match=f"{gone.url} does not answer: connection refused") as refused:
        upscaled(gone.url, picture(tmp_path))
    with standing_in(hang_up) as server, pytest.raises(Missed, match="broke the connection") as broke:
        upscaled(server.url, picture(tmp_path))

    assert not refused.value.began
    assert broke.value.began


@pytest.mark.slow
def test_our_own_video_server_is_told_from_an_image_server(tmp_path: Path) -> None:
    """It has a route of the same name, which refuses a form; without `/info` it is said to be another server."""
    with standing_in(problem(400, "bad_request")) as video:
        video.has_info = False
        with pytest.raises(Missed, match=f"{video.url} is no image server") as other:
            upscaled(video.url, picture(tmp_path))
    with standing_in(problem(400, "bad_request")) as server, pytest.raises(Missed, match="refused with") as ours:
        upscaled(server.url, picture(tmp_path))

    assert (Miss.BROKEN, Miss.FINAL) == (other.value.kind, ours.value.kind)


def test_control_routes_give_the_servers_own_words() -> None:
    """`/health`, `/info`, `/stats` as they are; a page in their place is an error."""
    with standing_in() as server, ImageServer(server.url) as client:
        assert "ok" == client.ask("/health")["status"]
        assert "TSD-SR Worker Server" == client.ask("/info")["name"]
    with ImageServer(server.url) as client, pytest.raises(ServerUnreachable, match="does not answer"):
        client.ask("/health")
    with pytest.raises(ServerUnreachable, match="not JSON"):
        answering(b"<html>", content_type="text/html").ask("/health")
    with pytest.raises(ServerUnreachable, match="expected an object"):
        answering(b"[]").ask("/health")


def test_an_address_that_is_none_is_refused() -> None:
    """Before anything is sent."""
    for wrong in ("ftp://server.test:1", "http://", "http://[::1"):
        with pytest.raises(BadRequest):
            ImageServer(wrong)


def test_the_results_suffix_is_the_format_that_is_asked_for() -> None:
    """PNG is every server's own; others are asked for by name, and an unknown one is refused at once."""
    assert (None, "webp", "jpeg", "jpeg") == tuple(map(format_of, map(Path, ("a.PNG", "a.webp", "a.jpg", "a.jpeg"))))
    with pytest.raises(BadRequest, match=r"ends with '\.tiff'"):
        format_of(Path("a.tiff"))


def test_refusals_keep_their_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the server names is raised as ours, and a proxy of the environment is not asked about loopback."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with standing_in(problem(415, "not_media")) as server, pytest.raises(Missed) as raised:
        upscaled(server.url, picture(tmp_path))

    assert isinstance(raised.value.error, NotMedia)


def test_far_servers_are_watched_for_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that lost its power would otherwise be waited for an hour; TCP's own probes notice it."""
    seen: list[object] = []
    real: Callable[..., httpx.HTTPTransport] = httpx.HTTPTransport

    def noted(**options: object) -> httpx.HTTPTransport:
        seen.append(options.get("socket_options"))
        return real(**options)

    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.setattr(httpx, "HTTPTransport", noted)

    ImageServer("http://server.test").close()

    assert any(seen)
