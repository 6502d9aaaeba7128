"""The routes of the image server: what is asked, what is refused, who waits, and what is left behind."""

from __future__ import annotations

import io
import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from pydantic import SecretStr

from tests.support.image_served import (
    WAIT_SECONDS,
    Gate,
    ImagesServed,
    image_settings,
    opened,
    picture_file,
    serving_images,
)
from tests.support.killing import wait_until
from upscale_server.errors import ModelInvalid
from upscale_server.service import image
from upscale_server.service.picture_models import PictureModels, open_models
from upscale_server.service.picture_results import PictureResults
from upscale_server.settings import Limits, Settings
from upscale_server.web import image_form, uploads
from upscale_server.web.spool import MEMORY_BYTES, Spool

WHOLE = picture_file(300, 300)
CUT = WHOLE[: len(WHOLE) // 2]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImagesServed]:
    """Give a server for the tests that change nothing of it."""
    limits = Limits(max_image_pixels=100_000, max_source_side=2000, max_output_side=4000)
    small = {"max_bytes": 200_000, "batch_bytes": 500_000, "batch_files": 5}
    settings = image_settings(tmp_path_factory.mktemp("images"), image=small, limits=limits)
    with serving_images(settings) as served:
        yield served


def everything_under(folder: Path) -> list[Path]:
    """Return the files in the folders of a server, without what it keeps for itself."""
    return [path for path in folder.rglob("*") if path.is_file() and path.name != "links.key"]


@pytest.mark.slow
@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 37), (37, 1), (17, 23), (64, 48)])
def test_output_is_exactly_input_times_the_factor(images: ImagesServed, factor: int, width: int, height: int) -> None:
    """Every size, thin ones too; the header says what the file holds."""
    reply = images.upscale(picture_file(width, height), upscale=factor)

    assert 200 == reply.status_code, reply.text
    assert f"{width * factor}x{height * factor}" == reply.headers["x-output-size"]
    assert (width * factor, height * factor) == opened(reply.content).size


@pytest.mark.slow
def test_the_picture_is_the_enlarged_one(images: ImagesServed) -> None:
    """What comes back, made small again, is what was sent."""
    sent = picture_file(64, 48)

    reply = images.upscale(sent)

    small = opened(reply.content).resize((64, 48), Image.Resampling.BOX)
    difference = np.abs(np.asarray(small).astype(int) - np.asarray(opened(sent)).astype(int))
    assert difference.mean() < 2  # of 255: a gradient enlarged and made small moves by the kernels' edges alone


def test_the_answer_tells_the_milliseconds_of_each_step(images: ImagesServed) -> None:
    """In the form of Server-Timing (W3C), so that browsers show it; waiting is not in it."""
    steps = [one.strip().split(";dur=") for one in images.upscale(WHOLE).headers["server-timing"].split(",")]

    assert ["read", "enlarge", "write"] == [name for name, _ in steps]
    assert all(float(milliseconds) >= 0 for _, milliseconds in steps)
    assert sum(float(milliseconds) for _, milliseconds in steps) > 0


@pytest.mark.slow
def test_the_same_request_gives_the_same_bytes(images: ImagesServed) -> None:
    """Twice the same, although pictures share threads."""
    sent = picture_file(64, 48, mode="RGBA")

    replies = [images.upscale(sent, upscale=4).content for _ in range(3)]

    assert 1 == len(set(replies))


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ({"upscale": 3}, "bad_scale", "upscale is 3; expected 2 or 4"),
        ({"upscale": "two"}, "bad_scale", 'upscale is "two"; expected 2 or 4'),
        ({"upscale": "-2"}, "bad_scale", "expected 2 or 4"),
        ({"process_size": 63}, "bad_process_size", "process_size is 63; expected 64 to 256"),
        ({"process_size": 257}, "bad_process_size", "process_size is 257; expected 64 to 256"),
        ({"process_size": ""}, "bad_process_size", "expected 64 to 256"),
        ({"format": "gif"}, "bad_request", "expected one of png, webp, jpeg"),
        ({"bits": 12}, "bad_request", "expected 8, or 16 with png"),
        ({"bits": 16, "format": "jpeg"}, "bad_request", "expected 8, or 16 with png"),
        ({"seed": 1}, "bad_request", "draws nothing by chance"),
        ({"seed": "x"}, "bad_request", "a whole number"),
        ({"sharpen": 1}, "bad_request", 'field "sharpen" does not exist'),
    ],
)
def test_a_wrong_word_is_a_400_with_its_code(images: ImagesServed, words: dict[str, Any], code: str, says: str) -> None:
    """Each value that is not on offer is named, with what was expected."""
    reply = images.upscale(picture_file(), **words)

    assert (400, code) == (reply.status_code, reply.json()["code"])
    assert says in reply.json()["detail"]


@pytest.mark.parametrize("size", [64, 256])
def test_the_ends_of_process_size_are_on_offer(images: ImagesServed, size: int) -> None:
    """64 and 256 themselves."""
    assert 200 == images.upscale(picture_file(), process_size=size).status_code


def test_words_may_be_fields_of_the_form(images: ImagesServed) -> None:
    """`-F upscale=4` does what `?upscale=4` does; both at once are refused."""
    files = {"file": ("in.png", picture_file(10, 10))}

    assert "40x40" == images.client.post("/upscale", files=files, data={"upscale": "4"}).headers["x-output-size"]
    twice = images.client.post("/upscale", files=files, data={"upscale": "4"}, params={"upscale": 4})
    assert (400, True) == (twice.status_code, "there twice" in twice.json()["detail"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"no picture at all", 415, "not_media"),
        (b"", 415, "not_media"),
        (b"%PDF-1.7 and so on", 415, "unsupported_format"),
        (CUT, 422, "source_truncated"),
        (picture_file(400, 400), 413, "too_many_pixels"),
        (picture_file(2001, 4), 413, "too_many_pixels"),
        (bytes(200_001), 413, "source_too_large"),
    ],
)
def test_what_cannot_be_enlarged_is_named(images: ImagesServed, content: bytes, status: int, code: str) -> None:
    """Status and code of the table; the file's name is in the words."""
    reply = images.upscale(content, "some/where/cat.png")

    assert (status, code) == (reply.status_code, reply.json()["code"]), reply.text
    assert "cat.png" in reply.json()["detail"] or code == "source_too_large"
    assert "some/where" not in reply.json()["detail"]


def test_what_would_become_too_large_is_refused_on_the_header(images: ImagesServed) -> None:
    """A side of the result beyond the limit, of a file whose pixels are not even there."""
    whole = picture_file(1500, 10)
    head = whole[: whole.index(b"IDAT") + 20]

    reply = images.upscale(head, upscale=4)

    assert (413, "too_many_pixels") == (reply.status_code, reply.json()["code"])
    assert "would become 6000x40" in reply.json()["detail"]


@pytest.mark.slow
def test_a_bomb_is_refused_before_it_is_decoded(images: ImagesServed) -> None:
    """A file of a few kilobytes that holds a hundred megapixels."""
    output = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(output, "PNG")

    reply = images.upscale(output.getvalue())

    assert (413, "too_many_pixels") == (reply.status_code, reply.json()["code"])


def test_a_body_that_is_no_form_says_how_to_send_one(images: ImagesServed) -> None:
    """A raw body, a form without the file, the file in another field, two files."""
    raw = images.client.post("/upscale", content=picture_file(), headers={"Content-Type": "image/png"})
    empty = images.client.post("/upscale", data={"upscale": "2"}, files={})
    other = images.client.post("/upscale", files={"image": ("in.png", picture_file())})
    two = images.client.post("/upscale", files=[("file", ("a.png", b"a")), ("file", ("b.png", b"b"))])

    assert [400] * 4 == [one.status_code for one in (raw, empty, other, two)]
    assert "curl -F 'file=@input.png'" in raw.json()["hint"]
    assert "expected one, in `file`" in other.json()["detail"]
    assert "expected one, in `file`" in two.json()["detail"]


@pytest.mark.slow
def test_a_batch_of_good_corrupt_huge_and_empty_files(images: ImagesServed) -> None:
    """One bad picture is one entry with an error, in its place; the others are files that can be read."""
    sent = [
        ("a.png", picture_file(10, 10)),
        ("b.png", CUT),
        ("c.png", picture_file(400, 400)),
        ("d.png", b""),
        ("e.jpg", picture_file(8, 6, "JPEG")),
    ]

    reply = images.client.post("/upscale_batch", files=[("files", one) for one in sent], params={"upscale": 4})
    body = reply.json()

    assert (200, 5, 2) == (reply.status_code, body["total"], body["successful"])
    assert [name for name, _ in sent] == [one["filename"] for one in body["results"]]
    assert [None, "source_truncated", "too_many_pixels", "not_media", None] == [
        one.get("code") for one in body["results"]
    ]
    for one, size in ((body["results"][0], "40x40"), (body["results"][4], "32x24")):
        file = Path(one["temp_path"])
        assert size == one["output_size"]
        assert "x".join(map(str, opened(file.read_bytes()).size)) == size
        assert file.stat().st_size / 2**20 == one["file_size_mb"]
        fetched = images.client.get(one["url"])
        assert (file.read_bytes(), "image/png") == (fetched.content, fetched.headers["content-type"])


def test_a_picture_of_a_batch_that_is_too_large_is_one_error(images: ImagesServed) -> None:
    """Its bytes are let go as they come, and the next one is read."""
    sent = [("big.bin", bytes(300_000)), ("a.png", picture_file(4, 4))]

    body = images.client.post("/upscale_batch", files=[("files", one) for one in sent]).json()

    assert ["source_too_large", None] == [one.get("code") for one in body["results"]]
    assert 1 == body["successful"]


def test_a_batch_is_bounded_as_a_whole(images: ImagesServed) -> None:
    """Too many files, and too many bytes together."""
    many = images.client.post("/upscale_batch", files=[("files", (f"{n}.png", b"x")) for n in range(6)])
    heavy = images.client.post("/upscale_batch", files=[("files", (f"{n}.png", bytes(190_000))) for n in range(4)])

    assert (400, True) == (many.status_code, "UPSCALE_IMAGE__BATCH_FILES" in many.json()["detail"])
    assert (413, True) == (heavy.status_code, "UPSCALE_IMAGE__BATCH_BYTES" in heavy.json()["detail"])


@pytest.mark.slow
def test_a_link_that_was_changed_or_is_over_gives_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another name under the same signature is refused; after its time the link and then the file are gone."""
    with serving_images(image_settings(tmp_path, image={"result_seconds": 60})) as images:
        files = [("files", ("a.png", picture_file(4, 4)))]
        one, two = (images.client.post("/upscale_batch", files=files).json()["results"][0] for _ in range(2))
        swapped = one["url"].replace(Path(one["temp_path"]).name, Path(two["temp_path"]).name)

        assert 403 == images.client.get(swapped).status_code
        now = Path(one["temp_path"]).stat().st_mtime
        monkeypatch.setattr("time.time", lambda: now + 61)
        assert 410 == images.client.get(one["url"]).status_code
        assert 2 == images.service.results.sweep()

    assert [] == everything_under(tmp_path)


@pytest.mark.slow
def test_results_are_removed_although_their_folder_was_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep that finds no folder is followed by others; the one after its return removes what is too old."""
    swept = threading.Semaphore(0)
    sweep = PictureResults.sweep

    def counted(results: PictureResults) -> int:
        try:
            return sweep(results)
        finally:
            swept.release()

    monkeypatch.setattr(image, "_LONGEST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(PictureResults, "sweep", counted)
    with serving_images(image_settings(tmp_path, image={"result_seconds": 60})) as images:
        folder, away = images.service.output_dir, tmp_path / "away"
        old = folder / "old.png"
        old.touch()
        folder.rename(away)
        for _ in range(3):  # one may be under way while the folder goes; two more begin without it
            assert swept.acquire(timeout=WAIT_SECONDS)
        os.utime(away / "old.png", (0, 0))
        away.rename(folder)
        while swept.acquire(blocking=False):
            pass  # those that ended before it was back
        for _ in range(2):  # as above
            assert swept.acquire(timeout=WAIT_SECONDS)

        assert not old.exists()


@pytest.mark.slow
def test_failed_requests_leave_nothing(tmp_path: Path) -> None:
    """Neither a broken form nor a refused picture nor a refused word leaves a file, and uploads touch the disk."""
    large = picture_file(1200, 1200, "BMP")  # more than is kept in memory
    with serving_images(image_settings(tmp_path, limits=Limits(max_image_pixels=1000))) as images:
        for _ in range(5):
            assert 413 == images.upscale(large).status_code
            assert 400 == images.upscale(large, upscale=7).status_code
            assert 413 == images.client.post("/upscale", files={"file": ("a", large)}).status_code
            broken = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + large
            reply = images.client.post(
                "/upscale", content=broken, headers={"Content-Type": "multipart/form-data; boundary=b"}
            )
            assert (400, "the form ends before its last boundary") == (reply.status_code, reply.json()["detail"])

        assert [] == everything_under(tmp_path)
        assert {"waiting": 0, "running": 0} == {
            name: images.client.get("/stats").json()[name] for name in ("waiting", "running")
        }


@pytest.mark.slow
def test_many_requests_leave_no_file(tmp_path: Path) -> None:
    """Sixty pictures and ten batches; only the batches' results are there, and they are named in the answers."""
    with serving_images(image_settings(tmp_path)) as images:
        for _ in range(60):
            assert 200 == images.upscale(picture_file(8, 8)).status_code
        files = [("files", ("a.png", picture_file(8, 8))), ("files", ("b.png", b"no"))]
        answers = [images.client.post("/upscale_batch", files=files).json() for _ in range(10)]

        kept = {one["results"][0]["temp_path"] for one in answers}
        assert kept == {str(path) for path in everything_under(tmp_path)}


@pytest.mark.slow
def test_small_files_of_a_batch_wait_on_the_disk_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty of 100 kB cost no more memory than one of 3 MB, and each is the one that was sent."""
    most, take = [0], Spool.take

    def watched(spool: Spool, content: bytes) -> None:
        take(spool, content)
        most[0] = max(most[0], len(spool._waiting))

    monkeypatch.setattr(Spool, "take", watched)
    small = [picture_file(20 + number, 30) + bytes(100_000) for number in range(30)]  # readers stop at a PNG's end
    with serving_images(image_settings(tmp_path)) as images:
        files = [("files", (f"{number}.png", content)) for number, content in enumerate(small)]
        results = images.client.post("/upscale_batch", files=files).json()["results"]

    assert [f"{2 * (20 + number)}x60" for number in range(30)] == [one.get("output_size") for one in results]
    assert most[0] < MEMORY_BYTES + 500_000  # one piece from the network more


@pytest.mark.slow
@pytest.mark.parametrize("is_announced", [True, False], ids=["announced", "in chunks"])
def test_pictures_never_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_announced: bool) -> None:
    """507 where 64 MiB would not stay free; what needs no disk is still served, and nothing stays."""
    monkeypatch.setattr(uploads, "_free", lambda _folder: uploads.SPARE_BYTES + 1_000_000)
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    large = head + picture_file(1200, 1200, "BMP") + b"\r\n--b--\r\n"
    form = {"Content-Type": "multipart/form-data; boundary=b"}
    with serving_images(image_settings(tmp_path)) as images:
        reply = images.client.post("/upscale", content=large if is_announced else iter([large]), headers=form)
        small = images.upscale(picture_file())

    assert (507, "disk_full") == (reply.status_code, reply.json()["code"])
    assert 200 == small.status_code
    assert [] == everything_under(tmp_path)


@pytest.mark.slow
def test_a_picture_that_takes_too_long_to_come_gives_its_place_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """408 although it comes steadily; the only place is free again."""
    with serving_images(image_settings(tmp_path, image={"room": 1})) as images:
        monkeypatch.setattr(image_form, "BODY_SECONDS", -1.0)
        late = images.upscale(picture_file())
        monkeypatch.undo()

        assert (408, "request_too_slow") == (late.status_code, late.json()["code"])
        assert 200 == images.upscale(picture_file()).status_code


def gated(opened_with: list[Gate]) -> Any:  # noqa: ANN401 - an opener
    """Return an opener whose models wait at a gate that is put into the list."""

    def opener(settings: Settings) -> PictureModels:
        gate = Gate(open_models(settings))
        opened_with.append(gate)
        return gate

    return opener


@pytest.fixture
def gate_and_images(tmp_path: Path) -> Iterator[tuple[Gate, ImagesServed]]:
    """Give a server of two places whose pictures wait at a gate."""
    gates: list[Gate] = []
    settings = image_settings(tmp_path, image={"room": 2, "running": 1, "drain_seconds": 30})
    with serving_images(settings, gated(gates)) as images:
        while images.client.get("/health").status_code != 200:
            threading.Event().wait(0.01)
        try:
            yield gates[0], images
        finally:
            gates[0].open.set()


@pytest.mark.slow
def test_a_full_room_answers_429_and_the_others_are_served(gate_and_images: tuple[Gate, ImagesServed]) -> None:
    """Two inside, the third is told when to come back; health answers meanwhile; then both get their picture."""
    gate, images = gate_and_images
    with ThreadPoolExecutor(2) as callers:
        inside = [callers.submit(images.upscale, picture_file()) for _ in range(2)]
        assert gate.entered.acquire(timeout=WAIT_SECONDS)
        while images.client.get("/health").json()["waiting"] + images.client.get("/health").json()["running"] < 2:
            threading.Event().wait(0.01)

        refused = images.upscale(picture_file())
        health = images.client.get("/health")
        gate.open.set()

        assert (429, "rate_limited") == (refused.status_code, refused.json()["code"])
        assert int(refused.headers["retry-after"]) > 0
        assert (200, 1, 1) == (health.status_code, health.json()["running"], health.json()["waiting"])
        assert [200, 200] == [one.result(WAIT_SECONDS).status_code for one in inside]


@pytest.mark.slow
def test_one_key_cannot_fill_the_room(tmp_path: Path) -> None:
    """Of two places each of two keys has one: her second request is refused, his first is taken."""
    gates: list[Gate] = []
    anna, bert = {"X-API-Key": "anna-key"}, {"X-API-Key": "bert-key"}
    settings = image_settings(tmp_path, image={"room": 2, "running": 1}, api_keys=SecretStr("anna-key,bert-key"))
    files = {"file": ("in.png", picture_file())}
    with serving_images(settings, gated(gates)) as images, ThreadPoolExecutor(2) as callers:
        while images.client.get("/health").status_code != 200:
            threading.Event().wait(0.01)
        hers = callers.submit(images.client.post, "/upscale", files=files, headers=anna)
        assert gates[0].entered.acquire(timeout=WAIT_SECONDS)

        refused = images.client.post("/upscale", files=files, headers=anna)
        batch = images.client.post("/upscale_batch", files=[("files", files["file"])], headers=anna)
        his = callers.submit(images.client.post, "/upscale", files=files, headers=bert)
        gates[0].open.set()

        assert [(429, True)] * 2 == [(one.status_code, "for one key" in one.text) for one in (refused, batch)]
        assert [200, 200] == [one.result(WAIT_SECONDS).status_code for one in (hers, his)]


@pytest.mark.slow
@pytest.mark.parametrize("end", ["read", "gone"])
def test_an_answer_that_nobody_reads_keeps_its_place(tmp_path: Path, end: str) -> None:
    """The only place is free again when the answer was read to its end, or its reader is gone; the bytes are right."""
    pixels = np.random.default_rng(1).integers(0, 256, (1200, 1200, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "BMP")  # its enlargement has some 15 MB: more than the kernel keeps of an answer
    form = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + file.getvalue() + b"\r\n--b--\r\n"
    )
    head = "POST /upscale HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    with serving_images(image_settings(tmp_path, image={"room": 1})) as images, socket.socket() as reader:
        host, _, port = images.url.removeprefix("http://").partition(":")
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        reader.settimeout(WAIT_SECONDS)
        reader.connect((host, int(port)))
        reader.sendall(head.encode() + f"Content-Length: {len(form)}\r\nConnection: close\r\n\r\n".encode() + form)
        heard = bytearray(reader.recv(1024))
        refused = images.upscale(picture_file())
        if end == "gone":
            reader.close()
        else:
            while piece := reader.recv(1 << 20):
                heard += piece
        wait_until(lambda: images.upscale(picture_file()).status_code == 200)

    assert (429, "rate_limited") == (refused.status_code, refused.json()["code"])
    if end == "read":
        assert (2400, 2400) == opened(bytes(heard).partition(b"\r\n\r\n")[2]).size


@pytest.mark.slow
def test_a_client_that_hangs_up_gives_its_turn_away(gate_and_images: tuple[Gate, ImagesServed]) -> None:
    """The picture of one who left before his turn is never begun, and his place is free again."""
    gate, images = gate_and_images
    with ThreadPoolExecutor(1) as callers:
        first = callers.submit(images.upscale, picture_file())
        assert gate.entered.acquire(timeout=WAIT_SECONDS)
        with pytest.raises(httpx.ReadTimeout):
            images.client.post("/upscale", files={"file": ("a.png", picture_file())}, timeout=httpx.Timeout(5, read=1))
        while images.client.get("/health").json()["waiting"]:
            threading.Event().wait(0.01)
        gate.open.set()

        assert 200 == first.result(WAIT_SECONDS).status_code
        assert (1, 0) == (images.service.counts.done, images.service.counts.failed)


@pytest.mark.slow
def test_a_server_that_stops_finishes_what_it_accepted(gate_and_images: tuple[Gate, ImagesServed]) -> None:
    """The picture under way is answered; a new one is told that the server is stopping."""
    gate, images = gate_and_images
    with ThreadPoolExecutor(1) as callers:
        inside = callers.submit(images.upscale, picture_file())
        assert gate.entered.acquire(timeout=WAIT_SECONDS)
        stopping = threading.Thread(target=images.service.stop)
        stopping.start()
        while not images.service.is_draining:
            threading.Event().wait(0.01)

        late = images.upscale(picture_file())
        gate.open.set()
        stopping.join(WAIT_SECONDS)

        assert (503, "draining") == (late.status_code, late.json()["code"])
        assert "retry-after" in late.headers
        assert 200 == inside.result(WAIT_SECONDS).status_code


@pytest.mark.slow
def test_a_server_that_stops_finishes_a_batch_that_it_accepted(gate_and_images: tuple[Gate, ImagesServed]) -> None:
    """The pictures behind the one under way are enlarged too: a 200 is not sent again, unlike a 503."""
    gate, images = gate_and_images
    files = [("files", (f"{n}.png", picture_file())) for n in range(3)]
    with ThreadPoolExecutor(1) as callers:
        inside = callers.submit(images.client.post, "/upscale_batch", files=files)
        assert gate.entered.acquire(timeout=WAIT_SECONDS)
        stopping = threading.Thread(target=images.service.stop)
        stopping.start()
        while not images.service.is_draining:
            threading.Event().wait(0.01)
        gate.open.set()
        stopping.join(WAIT_SECONDS)
        reply = inside.result(WAIT_SECONDS)

    assert (200, 3) == (reply.status_code, reply.json()["successful"]), reply.json()


@pytest.mark.slow
def test_a_batch_that_outlasts_the_drain_says_which_pictures_were_not_made(tmp_path: Path) -> None:
    """What is under way when the time is over is finished; the rest are entries that may be sent again."""
    gates: list[Gate] = []
    with serving_images(image_settings(tmp_path, image={"drain_seconds": 0}), gated(gates)) as images:
        while images.client.get("/health").status_code != 200:
            threading.Event().wait(0.01)
        files = [("files", (f"{n}.png", picture_file())) for n in range(2)]
        with ThreadPoolExecutor(1) as callers:
            inside = callers.submit(images.client.post, "/upscale_batch", files=files)
            assert gates[0].entered.acquire(timeout=WAIT_SECONDS)
            images.service.stop()
            gates[0].open.set()
            reply = inside.result(WAIT_SECONDS)

    assert [None, "draining"] == [one.get("code") for one in reply.json()["results"]]


@pytest.mark.slow
def test_until_the_models_are_loaded_the_documented_words_are_said(tmp_path: Path) -> None:
    """503 "Models not loaded" from POST, 503 from health with the fields that callers read; then all is well."""
    may_load, told = threading.Event(), threading.Event()

    def opener(settings: Settings) -> PictureModels:
        assert may_load.wait(WAIT_SECONDS)
        models = open_models(settings)
        told.set()
        return models

    with serving_images(image_settings(tmp_path), opener) as images:
        posts = [images.upscale(picture_file()), images.client.post("/upscale_batch")]
        health, alive, ready = (images.client.get(path) for path in ("/health", "/livez", "/readyz"))
        info = images.client.get("/info").json()
        may_load.set()
        assert told.wait(WAIT_SECONDS)
        while images.client.get("/readyz").status_code != 200:
            threading.Event().wait(0.01)

        assert [(503, "Models not loaded", True)] * 2 == [
            (one.status_code, one.json()["detail"], "retry-after" in one.headers) for one in posts
        ]
        nothing = {"transformer": False, "vae": False, "device": None, "dtype": None}
        assert (503, nothing) == (health.status_code, health.json()["models_loaded"])
        assert (200, 503) == (alive.status_code, ready.status_code)
        assert (None, None) == (info["model"], info["device"])
        assert 200 == images.upscale(picture_file()).status_code


@pytest.mark.slow
def test_models_that_cannot_be_loaded_are_a_503_with_the_reason(tmp_path: Path) -> None:
    """The reason is in the hint, of every answer that needs models."""

    def opener(settings: Settings) -> PictureModels:
        raise ModelInvalid(f"{settings.image.model} is damaged")

    with serving_images(image_settings(tmp_path), opener) as images:
        while images.service.fault is None:
            threading.Event().wait(0.01)
        reply = images.upscale(picture_file())

    assert (503, "Models not loaded") == (reply.status_code, reply.json()["detail"])
    assert "lanczos is damaged" in reply.json()["hint"]


@pytest.mark.slow
def test_keys_guard_everything_but_probes_and_links(tmp_path: Path) -> None:
    """As on the video server; a batch's link carries its own signature."""
    settings = image_settings(tmp_path, api_keys=SecretStr("open-sesame"))
    with serving_images(settings) as images:
        key = {"X-API-Key": "open-sesame"}
        batch = images.client.post("/upscale_batch", files=[("files", ("a.png", picture_file()))], headers=key)

        assert [401] * 3 == [
            images.upscale(picture_file()).status_code,
            *(images.client.get(path).status_code for path in ("/info", "/stats")),
        ]
        assert [200] * 3 == [images.client.get(path).status_code for path in ("/health", "/livez", "/readyz")]
        assert 200 == images.client.get(batch.json()["results"][0]["url"]).status_code


def test_a_page_of_a_stranger_cannot_drive_it(images: ImagesServed) -> None:
    """Another Origin and another Host are refused where no key is needed."""
    files = {"file": ("in.png", picture_file())}
    for headers in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}):
        assert 403 == images.client.post("/upscale", files=files, headers=headers).status_code


def test_the_documentation_shows_calls_that_can_be_copied(images: ImagesServed) -> None:
    """Each documented call stands there with this server's address."""
    page = images.client.get("/docs").text

    assert f"curl -X POST &quot;{images.url}/upscale?upscale=2&amp;process_size=128&quot;" in page
    assert f"curl {images.url}/health" in page
    assert 200 == images.client.get("/openapi.json").status_code
