"""What every store of results promises, held against each of them: the folder, and a bucket of a real S3 server."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.s3_server import Swift, running_swift
from upscale_server.errors import BadRequest, Canceled, StorageError
from upscale_server.storage.base import About, ObjectStore, UploadMemory
from upscale_server.storage.local import LocalStore
from upscale_server.storage.s3 import S3Store

KEY = "results/00112233445566778899aabbccddeeff.mp4"
FORGET = UploadMemory(None, lambda _upload: None)
SMALL, LARGE = 100_000, (11 << 20) + 17
"""Below and above `large_bytes` (5 MiB here): one request, and two parts of which the last is odd."""


@pytest.fixture(scope="module")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swift]:
    """Give a real S3 server."""
    with running_swift(tmp_path_factory.mktemp("swift")) as started:
        yield started


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.integration)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStore]:
    """Give each store in turn, empty."""
    if request.param == "local":
        yield LocalStore(tmp_path / "output", tmp_path / "links.key")
        return
    swift: Swift = request.getfixturevalue("swift")
    yield S3Store(swift.settings())
    swift.empty()


def file_of(folder: Path, byte_count: int, seed: int = 0) -> Path:
    """Write a file of bytes that compress to nothing and repeat nowhere."""
    path = folder / f"file-{byte_count}-{seed}"
    path.write_bytes(hashlib.shake_128(f"{byte_count} {seed}".encode()).digest(byte_count))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("byte_count", [0, 1, SMALL, LARGE])
def test_what_is_put_is_there_in_full(byte_count: int, store: ObjectStore, tmp_path: Path) -> None:
    """Size and key are told alike by put, head and the listing, whatever the size."""
    path = file_of(tmp_path, byte_count)

    stored = store.put(path, KEY, About(), FORGET)

    assert (KEY, byte_count) == (stored.key, stored.byte_count)
    assert stored == store.head(KEY)
    assert [(KEY, byte_count)] == [(one.key, one.byte_count) for one in store.listed()]
    assert path.exists()


@pytest.mark.slow
def test_an_object_that_is_not_there_is_none_and_removing_it_is_nothing(store: ObjectStore) -> None:
    """Neither is an error."""
    assert store.head(KEY) is None
    store.delete(KEY)
    store.abort(KEY, "an upload that is over")
    assert [] == list(store.listed())


@pytest.mark.slow
@pytest.mark.parametrize("byte_count", [SMALL, LARGE])
def test_storing_a_key_again_replaces_it(byte_count: int, store: ObjectStore, tmp_path: Path) -> None:
    """The second file is there, under another ETag."""
    first = store.put(file_of(tmp_path, byte_count, 1), KEY, About(), FORGET)
    second = store.put(file_of(tmp_path, byte_count + 1, 2), KEY, About(), FORGET)

    assert byte_count + 1 == second.byte_count
    assert first.etag != second.etag
    assert [second] == list(store.listed("results/"))


def test_a_removed_object_is_gone(store: ObjectStore, tmp_path: Path) -> None:
    """From the listing, too."""
    store.put(file_of(tmp_path, SMALL), KEY, About(), FORGET)

    store.delete(KEY)

    assert store.head(KEY) is None
    assert [] == list(store.listed())


@pytest.mark.slow
@pytest.mark.parametrize("byte_count", [0, SMALL, LARGE])
def test_what_is_got_is_what_was_put(byte_count: int, store: ObjectStore, tmp_path: Path) -> None:
    """Byte for byte, in a file of its own: what is done to it is not done to the object."""
    path, got = file_of(tmp_path, byte_count), tmp_path / "got"
    stored = store.put(path, KEY, About(), FORGET)

    store.get(KEY, got)
    assert path.read_bytes() == got.read_bytes()

    got.write_bytes(b"changed")
    assert stored == store.head(KEY)
    assert {path.name, "got"} <= {one.name for one in tmp_path.iterdir()}
    assert [] == [one.name for one in tmp_path.iterdir() if one.suffix == ".part"]


def test_what_is_not_there_cannot_be_got(store: ObjectStore, tmp_path: Path) -> None:
    """It is an error at once, and no file."""
    with pytest.raises(StorageError, match=KEY):
        store.get(KEY, tmp_path / "got")

    assert [] == [one.name for one in tmp_path.iterdir() if one.name.startswith("got")]


def test_who_waits_for_an_object_may_give_up(store: ObjectStore, tmp_path: Path) -> None:
    """What the look raises comes out, and nothing is left."""
    store.put(file_of(tmp_path, SMALL), KEY, About(), FORGET)

    def give_up() -> None:
        raise Canceled("enough")

    with pytest.raises(Canceled, match="enough"):
        store.get(KEY, tmp_path / "got", give_up)

    assert [] == [one.name for one in tmp_path.iterdir() if one.name.startswith("got")]


@pytest.mark.slow
def test_the_listing_keeps_to_its_prefix(store: ObjectStore, tmp_path: Path) -> None:
    """A prefix is text, not a folder."""
    for key in ("results/a1.mp4", "results/a2.mp4", "results/b1.mp4", "other/a1.mp4"):
        store.put(file_of(tmp_path, 10), key, About(), FORGET)

    assert ["results/a1.mp4", "results/a2.mp4"] == sorted(one.key for one in store.listed("results/a"))
    assert 4 == len(list(store.listed()))


@pytest.mark.parametrize(
    "key",
    ["../evil", "results/../../evil", "/etc/passwd", "results//x", "results/.x", "", "a\0b", "a b", "ä", "a" * 600],
)
def test_a_key_that_is_not_ours_is_refused(key: str, store: ObjectStore, tmp_path: Path) -> None:
    """No key leads out of the store, for whatever is done with it."""
    path = file_of(tmp_path, 10)

    for use in (
        lambda: store.put(path, key, About(), FORGET),
        lambda: store.head(key),
        lambda: store.delete(key),
        lambda: store.link(key, About(), 60),
    ):
        with pytest.raises(BadRequest, match="no key"):
            use()

    assert not (tmp_path.parent / "evil").exists()


@pytest.mark.slow
def test_a_reader_sees_the_old_or_the_new_and_never_a_half(store: ObjectStore, tmp_path: Path) -> None:
    """Two files take turns under one key while it is looked at."""
    paths = [file_of(tmp_path, LARGE, 1), file_of(tmp_path, SMALL, 2)]
    store.put(paths[1], KEY, About(), FORGET)
    writing = threading.Event()

    def write() -> None:
        for turn in range(4):
            store.put(paths[turn % 2], KEY, About(), FORGET)
        writing.set()

    thread = threading.Thread(target=write)
    thread.start()
    sizes = set()
    while not writing.is_set():
        found = store.head(KEY)
        sizes.add(found.byte_count if found else None)
    thread.join()

    assert sizes <= {LARGE, SMALL}


def test_a_link_names_the_key_and_lives_no_longer_than_allowed(store: ObjectStore, tmp_path: Path) -> None:
    """Too short and too long lifetimes are clamped; two lifetimes make two links."""
    store.put(file_of(tmp_path, 10), KEY, About(), FORGET)

    links = {seconds: store.link(KEY, About(), seconds) for seconds in (1, 60, 604_800, 10**9)}

    assert all(KEY in link for link in links.values())
    assert links[60] != links[604_800]


def test_the_check_leaves_nothing(store: ObjectStore) -> None:
    """A store that works passes, and is as empty as before."""
    store.check()

    assert [] == list(store.listed())


@pytest.mark.slow
@pytest.mark.parametrize("byte_count", [SMALL, LARGE])
def test_an_upload_is_over_when_put_returns(byte_count: int, store: ObjectStore, tmp_path: Path) -> None:
    """Whatever was remembered on the way, the last word is that there is none; nothing is left to sweep."""
    said: list[str | None] = []

    store.put(file_of(tmp_path, byte_count), KEY, About(), UploadMemory(None, said.append))

    assert said[-1:] in ([], [None])
    assert 0 == store.sweep(0)


@pytest.mark.slow
def test_several_threads_may_store_at_once(store: ObjectStore, tmp_path: Path) -> None:
    """Four files at once arrive as four."""
    path = file_of(tmp_path, SMALL)
    keys = [f"results/{index}.mp4" for index in range(4)]

    threads = [threading.Thread(target=store.put, args=(path, key, About(), FORGET)) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert keys == sorted(one.key for one in store.listed())


def test_the_age_of_an_object_counts_from_its_storing(store: ObjectStore, tmp_path: Path) -> None:
    """A file that was made long ago is not old when it is stored."""
    path = file_of(tmp_path, 10)
    os.utime(path, (0, 0))

    assert store.put(path, KEY, About(), FORGET).modified > 1_000_000_000
