"""What the S3 store promises before any server is asked: the extra, addresses, links, part sizes, names of faults."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import SecretStr

from upscale_server.errors import Canceled, MissingExtra, StorageError
from upscale_server.server_settings import S3, Storage
from upscale_server.settings import Settings
from upscale_server.storage.base import About, UploadMemory
from upscale_server.storage.local import LocalStore
from upscale_server.storage.multipart import MOST_PARTS, part_size_of
from upscale_server.storage.opening import open_store
from upscale_server.storage.retrying import LOOK_SECONDS, Patience
from upscale_server.storage.s3 import S3Store
from upscale_server.storage.s3_check import CHECK_KEY, CHECKS_AT_ONCE
from upscale_server.storage.s3_faults import HINTS, may_pass, named
from upscale_server.storage.windows import Window

KEY = "results/a.mp4"


def settings(**changes: object) -> Storage:
    """Return settings of a store that is never asked."""
    values = {"endpoint": "minio.test:9000", "access_key": SecretStr("a"), "secret_key": SecretStr("b")}
    return Storage(kind="s3", s3=S3.model_validate(values | changes))


def link(seconds: int = 600, **changes: object) -> str:
    """Return a link; signing asks nobody."""
    pytest.importorskip("boto3", reason="boto3 is not installed: pip install 'upscale-server[s3]'")
    return S3Store(settings(**changes)).link(KEY, About(file_name="fílm.mp4"), seconds)


def test_a_missing_boto3_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only who asks for S3 needs it."""
    monkeypatch.setitem(sys.modules, "boto3", None)

    with pytest.raises(MissingExtra) as caught:
        S3Store(settings())

    assert "pip install 'upscale-server[s3]'" == caught.value.hint


@pytest.mark.slow
def test_the_store_is_the_one_that_is_set(tmp_path: Path) -> None:
    """`local` needs no boto3 and keeps its secret in the state folder."""
    assert isinstance(open_store(Settings(), tmp_path / "out", tmp_path / "state"), LocalStore)
    assert (tmp_path / "state" / "links.key").exists()
    pytest.importorskip("boto3", reason="boto3 is not installed: pip install 'upscale-server[s3]'")
    assert isinstance(open_store(Settings(storage=settings()), tmp_path / "out", tmp_path / "state"), S3Store)


def test_an_address_without_scheme_means_https_and_a_bucket_is_part_of_the_path() -> None:
    """As the setting says; `http://` must be written out."""
    assert link().startswith(f"https://minio.test:9000/upscaled/{KEY}?")
    assert link(endpoint="http://minio.test").startswith(f"http://minio.test/upscaled/{KEY}?")


@pytest.mark.slow
def test_a_bucket_may_be_part_of_the_host() -> None:
    """For stores that know no other way."""
    assert link(path_style=False, endpoint="https://s3.test").startswith(f"https://upscaled.s3.test/{KEY}?")


@pytest.mark.slow
def test_links_are_signed_for_the_public_address() -> None:
    """The host is part of the signature: it cannot be replaced afterwards."""
    assert link(public_endpoint="https://films.test").startswith(f"https://films.test/upscaled/{KEY}?")


@pytest.mark.slow
@pytest.mark.parametrize(("seconds", "expected"), [(1, "60"), (60, "60"), (86_400, "86400"), (691_200, "604800")])
def test_lifetimes_are_clamped(seconds: int, expected: str) -> None:
    """boto3 signs for eight days without complaint, and no store honours that."""
    assert [expected] == parse_qs(urlsplit(link(seconds)).query)["X-Amz-Expires"]


def test_a_link_says_type_and_name_and_holds_no_secret() -> None:
    """Whatever the object's own headers are."""
    query = parse_qs(urlsplit(link(secret_key=SecretStr("canary"))).query)

    assert ["video/mp4"] == query["response-content-type"]
    assert ["attachment; filename=\"f_lm.mp4\"; filename*=UTF-8''f%C3%ADlm.mp4"] == query[
        "response-content-disposition"
    ]
    assert "canary" not in str(query)


@pytest.mark.parametrize("byte_count", [0, 1, 8 << 20, 80_000 << 20, (80_000 << 20) + 1, 5 << 40])
def test_parts_are_few_enough_and_large_enough(byte_count: int) -> None:
    """S3 takes 10 000 parts of at least 5 MiB; the same file always has the same."""
    size = part_size_of(byte_count)

    assert size >= 5 << 20
    assert -(-byte_count // size) <= MOST_PARTS
    assert 0 == size % (1 << 20)


def test_a_window_reads_as_a_file_of_its_own(tmp_path: Path) -> None:
    """From its start to its end, as often as a request is sent again."""
    path = tmp_path / "file"
    path.write_bytes(bytes(range(100)))

    with Window(path, 10, 20) as window:
        assert bytes(range(10, 30)) == window.read()
        assert b"" == window.read(1)
        assert 5 == window.seek(-15, 2)
        assert bytes([15, 16]) == window.read(2)
        assert window.md5() == window.md5()
        assert 0 == window.tell()
        assert 20 == len(window)


class Answer(Exception):
    """As botocore's ClientError: the reply lies on it."""

    def __init__(self, code: str, status: int) -> None:
        super().__init__(code)
        self.response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}


@pytest.mark.parametrize("code", HINTS)
def test_a_refusal_never_passes_and_has_a_hint(code: str) -> None:
    """Whatever its status: `ExpiredToken` has been seen with 400 and 403, and a proxy may say 503."""
    assert not may_pass(Answer(code, 503))
    assert named(Answer(code, 503), "storing", "there").hint


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("SlowDown", 503, True), ("InternalError", 500, True), ("502", 502, True), ("RequestTimeout", 400, True),
        ("BadDigest", 400, True), ("NoSomething", 404, False), ("Unheard", 400, False), ("Unheard", 503, True),
    ],
)  # fmt: skip
def test_what_passes_is_trouble_in_the_store_or_on_the_way(code: str, status: int, *, expected: bool) -> None:
    """Everything else is told at once."""
    assert expected is may_pass(Answer(code, status))


def test_a_fault_of_ours_never_passes() -> None:
    """A mistake in our own code is not repeated for fifteen minutes."""
    assert not may_pass(TypeError("ours"))
    assert not may_pass(OSError("the file cannot be read"))


def test_missing_credentials_are_named() -> None:
    """With the settings, and the other ways that boto3 has."""
    exceptions = pytest.importorskip("botocore.exceptions")

    error = exceptions.NoCredentialsError()

    assert not may_pass(error)
    assert isinstance(named(error, "storing", "there"), StorageError)
    assert "UPSCALE_STORAGE__S3__ACCESS_KEY" in str(named(error, "storing", "there").hint)


@pytest.mark.slow
@pytest.mark.parametrize("large_bytes", [5 << 20, 8 << 20], ids=["in parts", "whole"])
def test_a_cancel_ends_the_wait_for_a_store_that_is_away(tmp_path: Path, large_bytes: int) -> None:
    """Nobody answers at the address; the quarter of an hour is not waited for, and the cancel comes out as itself."""
    pytest.importorskip("boto3", reason="boto3 is not installed: pip install 'upscale-server[s3]'")
    film = tmp_path / "film.mp4"
    film.write_bytes(bytes(6 << 20))
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
    looked = []

    def check() -> None:
        looked.append(None)
        if len(looked) == 4:  # in the midst of the waiting
            raise Canceled("canceled")

    values = settings(endpoint=f"http://127.0.0.1:{port}").model_copy(update={"large_bytes": large_bytes})
    slept: list[float] = []
    store = S3Store(values, Patience(900, 1.0, sleep=slept.append))

    with pytest.raises(Canceled):
        store.put(film, KEY, About(), UploadMemory(None, lambda _upload: None, check))

    assert slept
    assert LOOK_SECONDS >= max(slept)


def test_a_store_that_removes_nothing_is_left_with_one_object_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it is checked; the fault says which object it is."""
    exceptions = pytest.importorskip("botocore.exceptions", reason="boto3 is not installed")
    store, written = S3Store(settings()), dict[str, bytes]()

    def refuse(**_place: str) -> None:
        answer = {"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}
        raise exceptions.ClientError(answer, "DeleteObject")

    client = SimpleNamespace(
        put_object=lambda Bucket, Key, Body: written.update({Key: Body}),  # noqa: ARG005, N803 - boto3's own names
        get_object=lambda Bucket, Key: {"Body": BytesIO(written[Key])},  # noqa: ARG005, N803 - as above
        generate_presigned_url=lambda *_given: "http://127.0.0.1:9/",  # nobody is there, which a check passes over
        delete_object=refuse,
    )
    monkeypatch.setattr(store, "_client", client)

    for _ in range(2):
        with pytest.raises(StorageError, match=f"the object {CHECK_KEY} was written and stays there"):
            store.check()

    assert [CHECK_KEY] == list(written)


def client_of(kept: dict[str, bytes], missing: Exception, before_reading: Callable[[], None]) -> SimpleNamespace:
    """Return a client of a store that keeps objects in `kept`."""

    def read(Bucket: str, Key: str) -> dict[str, BytesIO]:  # noqa: ARG001, N803 - boto3's own names
        before_reading()
        if Key not in kept:
            raise missing
        return {"Body": BytesIO(kept[Key])}

    return SimpleNamespace(
        put_object=lambda Bucket, Key, Body: kept.update({Key: Body}),  # noqa: ARG005, N803 - as above
        get_object=read,
        generate_presigned_url=lambda *_given: "http://127.0.0.1:9/",  # nobody is there, which a check passes over
        delete_object=lambda Bucket, Key: kept.pop(Key, None),  # noqa: ARG005, N803 - as above
    )


@pytest.mark.slow
def test_two_checks_at_once_do_not_break_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one removes the object between writing and reading, here as often as can be waited for."""
    exceptions = pytest.importorskip("botocore.exceptions", reason="boto3 is not installed")
    answer = {"Error": {"Code": "NoSuchKey"}, "ResponseMetadata": {"HTTPStatusCode": 404}}
    missing, kept = exceptions.ClientError(answer, "GetObject"), dict[str, bytes]()
    ours, other, times = S3Store(settings()), S3Store(settings()), iter(range(CHECKS_AT_ONCE - 1))
    monkeypatch.setattr(other, "_client", client_of(kept, missing, lambda: None))

    def interrupt() -> None:
        if next(times, None) is not None:
            other.check()

    monkeypatch.setattr(ours, "_client", client_of(kept, missing, interrupt))

    ours.check()

    assert ([], {}) == (list(times), kept)


@pytest.mark.slow
def test_a_store_that_loses_what_is_written_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not asked for ever."""
    exceptions = pytest.importorskip("botocore.exceptions", reason="boto3 is not installed")
    answer = {"Error": {"Code": "NoSuchKey"}, "ResponseMetadata": {"HTTPStatusCode": 404}}
    kept: dict[str, bytes] = {}
    store = S3Store(settings())
    monkeypatch.setattr(store, "_client", client_of(kept, exceptions.ClientError(answer, "GetObject"), kept.clear))

    with pytest.raises(StorageError, match="does not give back what was written"):
        store.check()
