"""Signed links: they open one file for a while, and cannot be made or changed by anyone else."""

from __future__ import annotations

import stat
import threading
import time
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from upscale_server.errors import Forbidden, Gone, StorageError
from upscale_server.storage.links import Signer, clamp, load_or_make_secret

KEY = "results/00112233445566778899aabbccddeeff.mp4"
SIGNER = Signer(b"s" * 32)


def taken_apart(link: str) -> tuple[str, dict[str, str]]:
    """Return key and query, as a server sees them."""
    parts = urlsplit(link)
    return unquote(parts.path).removeprefix("/files/"), dict(parse_qsl(parts.query))


def test_a_link_of_ours_passes() -> None:
    """Key and query as they were made."""
    SIGNER.check(*taken_apart(SIGNER.link(KEY, 60)))


@pytest.mark.parametrize("seconds", [60, 600])
def test_a_link_has_an_end(seconds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It works until just before, and then is gone, not forbidden: it was ours."""
    key, query = taken_apart(SIGNER.link(KEY, seconds))
    end = int(query["expires"])

    monkeypatch.setattr(time, "time", lambda: end - 0.5)
    SIGNER.check(key, query)
    monkeypatch.setattr(time, "time", lambda: float(end))
    with pytest.raises(Gone, match="expired"):
        SIGNER.check(key, query)


@pytest.mark.parametrize(
    "change",
    [
        {"expires": "99999999999"}, {"expires": ""}, {"expires": "never"}, {"signature": ""}, {"signature": "0" * 64},
        {"signature": "é"},
    ],
)  # fmt: skip
def test_a_changed_link_is_forbidden(change: dict[str, str]) -> None:
    """Nothing can be lengthened, left out or guessed."""
    key, query = taken_apart(SIGNER.link(KEY, 60))

    with pytest.raises(Forbidden, match="not ours"):
        SIGNER.check(key, query | change)


def test_a_link_of_another_secret_or_another_key_is_forbidden() -> None:
    """A signature is good for one file of one server."""
    key, query = taken_apart(SIGNER.link(KEY, 60))

    with pytest.raises(Forbidden):
        Signer(b"t" * 32).check(key, query)
    with pytest.raises(Forbidden):
        SIGNER.check("results/other.mp4", query)
    with pytest.raises(Forbidden):
        SIGNER.check(key, {})


@pytest.mark.slow
@example(one=("results/a", "12"), other=("results/a1", "2"))
@given(one=st.tuples(st.text(), st.text()), other=st.tuples(st.text(), st.text()))
def test_no_two_links_share_a_signature(one: tuple[str, str], other: tuple[str, str]) -> None:
    """What is signed cannot be read as another key with another end."""
    assert (one == other) == (SIGNER._sign(*one) == SIGNER._sign(*other))


@given(st.integers())
def test_lifetimes_are_those_that_s3_can_sign_for(seconds: int) -> None:
    """From a minute to seven days."""
    assert 60 <= clamp(seconds) <= 604_800
    assert clamp(seconds) == seconds or not 60 <= seconds <= 604_800


def test_the_secret_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    """Eight processes that start at once have the same one, whatever the umask, and leave nothing else."""
    path = tmp_path / "state" / "links.key"
    found: list[bytes] = []

    threads = [threading.Thread(target=lambda: found.append(load_or_make_secret(path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 8 == len(found)
    assert 1 == len(set(found))
    assert 32 == len(found[0])
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    assert ["links.key"] == [one.name for one in path.parent.iterdir()]


def test_a_secret_that_others_can_read_stops_the_start(tmp_path: Path) -> None:
    """The message says which command mends it."""
    path = tmp_path / "links.key"
    load_or_make_secret(path)
    path.chmod(0o640)

    with pytest.raises(StorageError, match="can be read by others") as caught:
        load_or_make_secret(path)

    assert f"chmod 600 {path}" == caught.value.hint


@pytest.mark.parametrize("text", ["", "short", "ab" * 31, "no hexadecimal " * 10])
def test_a_damaged_secret_stops_the_start(text: str, tmp_path: Path) -> None:
    """An empty or cut key would sign nothing worth having."""
    path = tmp_path / "links.key"
    path.write_text(text)
    path.chmod(0o600)

    with pytest.raises(StorageError, match="holds no key of 32 bytes"):
        load_or_make_secret(path)
