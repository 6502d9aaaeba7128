"""Downloads: each way a source can misbehave ends with its own name, in time, and leaves nothing behind."""

from __future__ import annotations

import dataclasses
import hashlib
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import pytest

from tests.support.bad_source import BODY, BadSource
from tests.support.raw_server import Asked, Reset, range_start
from upscale_server.errors import (
    BadScheme,
    BadUrl,
    Canceled,
    DiskFull,
    NotMedia,
    SourceForbidden,
    SourceNotFound,
    SourceTimeout,
    SourceTooLarge,
    SourceUnreachable,
    StorageError,
    UnsupportedFormat,
)
from upscale_server.server_settings import Fetch
from upscale_server.storage import download as download_module
from upscale_server.storage.fetch import Fetched, FetchRules, check_url, fetch
from upscale_server.storage.part_file import PartFile
from upscale_server.storage.urls import follow, parse_url
from upscale_server.storage.watchdog import Pace, Watchdog

LOOPBACK = ("127.0.0.1/32",)
SECRET = "X-Amz-Signature=c0ffee"  # noqa: S105 - looked for in messages


def quick(**changes: object) -> FetchRules:
    """Return rules that give up fast; the limits tested are far apart, so no test depends on the machine."""
    settings = Fetch(allowed_networks=LOOPBACK, idle_seconds=10.0, total_seconds=60.0, least_bytes_per_second=0)
    rules = dataclasses.replace(FetchRules.of(settings), pause_seconds=0.01)
    return dataclasses.replace(rules, **changes)  # type: ignore[arg-type]


def quick_pace(**changes: float) -> FetchRules:
    """Return rules with another pace."""
    return quick(pace=dataclasses.replace(quick().pace, **changes))


def ignore(_done: int, _total: int | None) -> None:
    """Watch nothing."""


def stop_in_the_middle(done: int, _total: int | None) -> None:
    """Watch as one who cancels after the first bytes."""
    if done >= 300_000:
        raise Canceled("stopped in the middle")


@pytest.fixture
def source() -> Iterator[BadSource]:
    """Give a source on loopback."""
    with BadSource() as started:
        yield started


def run(source: BadSource, mode: str, folder: Path, rules: FetchRules | None = None) -> Fetched:
    """Download a mode to `folder/source`, with a secret in the URL."""
    joint = "&" if "?" in mode else "?"
    return fetch(source.url(f"{mode}{joint}{SECRET}"), folder / "source", rules or quick(), ignore)


@pytest.mark.parametrize("mode", ["ok", "chunked", "noclen", "chain?n=5", "redirect?c=308&to=/ok", "flaky?n=2"])
def test_a_whole_file_arrives_however_it_is_sent(mode: str, source: BadSource, tmp_path: Path) -> None:
    """Length or chunks or neither, five redirects, two passing failures: the same bytes, and no part file."""
    fetched = run(source, mode, tmp_path)

    assert hashlib.sha256(BODY).hexdigest() == fetched.sha256
    assert len(BODY) == fetched.byte_count
    assert BODY == (tmp_path / "source").read_bytes()
    assert ["source"] == [path.name for path in tmp_path.iterdir()]


def test_no_compression_no_cookies_and_no_proxy_are_asked_for(
    source: BadSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only our own headers are sent, straight to the source, whatever the environment says about proxies."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")

    run(source, "ok", tmp_path)

    sent = source.asked[0].headers
    assert {"host", "user-agent", "accept", "accept-encoding", "connection"} == set(sent)
    assert "identity" == sent["accept-encoding"]
    assert f"127.0.0.1:{source.port}" == sent["host"]


def test_a_connection_that_breaks_is_gone_on_with_where_it_broke(source: BadSource, tmp_path: Path) -> None:
    """Three breaks, each answered with Range and If-Range: every byte is sent once."""
    fetched = run(source, "resume", tmp_path)

    assert hashlib.sha256(BODY).hexdigest() == fetched.sha256
    assert [None, "bytes=300000-", "bytes=600000-", "bytes=900000-"] == source.ranges()
    assert '"v1"' == source.asked[1].headers["if-range"]


@pytest.mark.parametrize("mode", ["changes", "swaps", "shifts"])
def test_the_rest_of_another_file_is_never_joined_on(mode: str, source: BadSource, tmp_path: Path) -> None:
    """A changed file, another ETag or another place: the download starts over and is whole."""
    fetched = run(source, mode, tmp_path)

    assert hashlib.sha256(BODY).hexdigest() == fetched.sha256


@pytest.mark.slow
def test_a_dead_processs_part_is_gone_on_with(source: BadSource, tmp_path: Path) -> None:
    """What an earlier call left for the same URL is kept; its bytes count in the digest."""
    with pytest.raises(Canceled):
        fetch(source.url("halts"), tmp_path / "source", quick(), stop_in_the_middle)
    fetched = fetch(source.url("halts"), tmp_path / "source", quick(), ignore)

    assert hashlib.sha256(BODY).hexdigest() == fetched.sha256
    assert [None, "bytes=300000-"] == source.ranges()


@pytest.mark.slow
@pytest.mark.parametrize("spoil", ["url", "boot", "note"])
def test_a_part_of_another_url_or_boot_is_not_gone_on_with(spoil: str, source: BadSource, tmp_path: Path) -> None:
    """Only bytes that are surely of this file and surely on the disk are kept."""
    part, note = tmp_path / "source.part", tmp_path / "source.part.json"
    with pytest.raises(Canceled):
        fetch(source.url("halts"), tmp_path / "source", quick(), stop_in_the_middle)
    text = note.read_text()
    changes = {"url": ('256": "', '256": "0'), "boot": ('boot": "', 'boot": "0'), "note": ("{", "")}
    note.write_text(text.replace(*changes[spoil]))
    part.write_bytes(b"\0" * 300_000)

    fetched = fetch(source.url("halts"), tmp_path / "source", quick(), ignore)

    assert hashlib.sha256(BODY).hexdigest() == fetched.sha256
    assert [None, None] == source.ranges()


BAD = {
    "status?c=404": SourceNotFound,
    "status?c=410": SourceNotFound,
    "status?c=401": SourceNotFound,
    "status?c=403": SourceNotFound,
    "status?c=204": SourceUnreachable,
    "status?c=304": SourceUnreachable,
    "status?c=418": SourceNotFound,
    "status?c=500": SourceUnreachable,
    "partial": SourceUnreachable,
    "short": SourceUnreachable,
    "half": SourceUnreachable,
    "rst": SourceUnreachable,
    "hangup": SourceUnreachable,
    "flaky?n=3": SourceUnreachable,
    "clen-huge": SourceTooLarge,
    "clen-negative": SourceUnreachable,
    "clen-two": SourceUnreachable,
    "endless": SourceTooLarge,
    "gzip": UnsupportedFormat,
    "noreply": SourceTimeout,
    "stall": SourceTimeout,
    "stall?after=0": SourceTimeout,
    "slowhead": SourceTimeout,
    "flood100": SourceTimeout,
    "bighead": SourceUnreachable,
    "manyhead": SourceUnreachable,
    "bigext": SourceUnreachable,
    "badchunk": SourceUnreachable,
    "http09": SourceUnreachable,
    "chain?n=6": SourceNotFound,
    "loop": SourceNotFound,
    "nolocation": SourceNotFound,
    "redirect?to=file:///etc/passwd": BadScheme,
    "redirect?to=ftp://127.0.0.1/x": BadScheme,
    "redirect?to=data:video/mp4,xx": BadScheme,
    "redirect?to=http://u:p@127.0.0.1/": BadUrl,
    "redirect?to=http://169.254.169.254/latest": SourceForbidden,
    "redirect?to=//169.254.169.254/": SourceForbidden,
    "redirect?to=http://127.0.0.2/": SourceForbidden,
    "redirect?to=http://10.0.0.1/": SourceForbidden,
    "redirect?to=http://[::1]/": SourceForbidden,
    "html": NotMedia,
    "html-endless": NotMedia,
    "m3u8": NotMedia,
    "json": NotMedia,
    "zip": NotMedia,
    "empty": NotMedia,
    "zeros": NotMedia,
}


@pytest.mark.slow
@pytest.mark.parametrize("mode", BAD)
def test_a_bad_source_is_named_and_leaves_nothing(mode: str, source: BadSource, tmp_path: Path) -> None:
    """The right class; no word of the URL's query or of the peer; nothing left where it cannot be gone on with."""
    # Only where the source is waited for in vain is the wait short: no other outcome depends on the machine.
    idle_seconds = 0.2 if BAD[mode] is SourceTimeout else 10.0
    rules = dataclasses.replace(quick_pace(idle_seconds=idle_seconds), max_bytes=8 << 20)

    with pytest.raises(BAD[mode]) as caught:
        run(source, mode, tmp_path, rules)

    assert BAD[mode] is type(caught.value)
    assert "c0ffee" not in caught.value.detail
    assert "secret of the peer" not in caught.value.detail
    assert caught.value.retryable or not list(tmp_path.iterdir())
    assert not (tmp_path / "source").exists()


def test_a_busy_source_is_asked_again_no_sooner_than_it_says(
    source: BadSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A minute is waited for; what is longer than we wait is told to the caller, in seconds."""
    pauses: list[float] = []
    monkeypatch.setattr(download_module.Download, "_pause", lambda _self, seconds: pauses.append(seconds))
    in_an_hour = quote(format_datetime(datetime.now(UTC) + timedelta(seconds=3600), usegmt=True))

    fetched = run(source, "busy?n=1&after=60", tmp_path, quick_pace(total_seconds=900.0))
    with pytest.raises(SourceUnreachable) as long:
        run(source, "busy?after=3600", tmp_path)
    with pytest.raises(SourceUnreachable) as dated:
        run(source, f"busy?after={in_an_hour}", tmp_path)
    with pytest.raises(SourceUnreachable) as vague:
        run(source, "busy?after=soon", tmp_path)
    with pytest.raises(SourceUnreachable) as never:
        run(source, f"busy?n=99&after={quote('Mon, 01 Jan 99999999999999999999 00:00:00 GMT')}", tmp_path)

    assert len(BODY) == fetched.byte_count
    assert (3600, 3600) == (long.value.retry_after, long.value.as_record()["retry_after"])
    assert 3000 < (dated.value.retry_after or 0) <= 3600
    assert (None, False) == (vague.value.retry_after, "retry_after" in vague.value.as_record())
    assert never.value.retry_after is None
    assert 2 + 1 + 1 + 3 + 3 == sum(asked.mode == "busy" for asked in source.asked)
    assert [60, 0.01, 0.02, 0.01, 0.02] == pauses


def test_a_pause_that_the_source_asked_for_is_not_its_slowness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is waited out, however idle or slow a source that says nothing may be; still asked whether to go on."""
    clock, asked = [0.0], []

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    pace = Pace(connect_seconds=1, idle_seconds=5, total_seconds=900, least_bytes_per_second=1000)
    watchdog = Watchdog(pace, lambda done, _total: asked.append(done), lambda: clock[0])
    monkeypatch.setattr(download_module, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=sleep))

    with PartFile(tmp_path / "source", "http://host/v.mp4") as part:
        download_module.Download(quick(), watchdog, part)._pause(60)
    clock[0] += 4
    watchdog.look()

    assert len(asked) > 100


def test_a_pause_does_not_forgive_slowness_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that drips, breaks off and drips again is no faster for that."""
    clock = [0.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    pace = Pace(connect_seconds=1, idle_seconds=5, total_seconds=900, least_bytes_per_second=1000)
    watchdog = Watchdog(pace, ignore, lambda: clock[0])
    monkeypatch.setattr(download_module, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=sleep))

    def drip_and_break(part: PartFile) -> None:
        for _ in range(4):
            watchdog.advance(1)
            watchdog.look()
            clock[0] += 1
        download_module.Download(quick(), watchdog, part)._pause(2)

    def drip_on(part: PartFile) -> None:
        for _ in range(2):
            drip_and_break(part)

    with PartFile(tmp_path / "source", "http://host/v.mp4") as part:
        for _ in range(4):  # 16 s of its own: less than the window
            drip_and_break(part)
        with pytest.raises(SourceTimeout, match="bytes/s"):
            drip_on(part)


def test_a_pause_that_outlasts_the_download_is_told_at_once(source: BadSource, tmp_path: Path) -> None:
    """Whoever may download for ten seconds does not sleep for thirty of them."""
    with pytest.raises(SourceUnreachable) as caught:
        run(source, "busy?n=1&after=30", tmp_path, quick_pace(total_seconds=10.0))

    assert 30 == caught.value.retry_after


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["drip", "chunkext"])
def test_a_source_below_the_least_rate_is_given_up(mode: str, source: BadSource, tmp_path: Path) -> None:
    """Bytes that come one by one, or that never become part of the body, hold no place."""
    rules = quick_pace(least_bytes_per_second=50_000, window_seconds=0.3, idle_seconds=50.0)

    with pytest.raises(SourceTimeout, match="the least is 50000"):
        run(source, mode, tmp_path, rules)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["drip", "chunkext"])
def test_no_download_lasts_longer_than_its_limit(mode: str, source: BadSource, tmp_path: Path) -> None:
    """The limit holds for a source that always sends something, where no least rate is set."""
    with pytest.raises(SourceTimeout, match=r"longer than 0\.3 s"):
        run(source, mode, tmp_path, quick_pace(total_seconds=0.3, idle_seconds=50.0))


def test_breaks_without_progress_are_counted_and_progress_begins_anew(source: BadSource, tmp_path: Path) -> None:
    """Two tries are enough for four breaks that each brought something, and only two for none."""
    assert len(BODY) == run(source, "resume", tmp_path, quick(attempts=2)).byte_count
    with pytest.raises(SourceUnreachable):
        run(source, "rst", tmp_path, quick(attempts=2))

    assert 2 == sum(asked.mode == "rst" for asked in source.asked)


def test_nothing_stands_guard_after_a_download(source: BadSource, tmp_path: Path) -> None:
    """The thread that cuts the line of one that hangs ends with it, however that ended."""
    run(source, "ok", tmp_path)
    with pytest.raises(SourceNotFound):
        run(source, "status?c=404", tmp_path)

    assert not [thread for thread in threading.enumerate() if thread.name == "sentry"]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["noreply", "stall", "drip", "slowhead", "chunkext"])
def test_a_cancelled_download_stops_whatever_the_source_does(mode: str, source: BadSource, tmp_path: Path) -> None:
    """The watch is asked while nothing arrives, too; what it raises comes out."""
    asked: list[tuple[int, int | None]] = []

    def cancel(done: int, total: int | None) -> None:
        asked.append((done, total))
        if len(asked) > 2:
            raise Canceled("no longer wanted")

    with pytest.raises(Canceled, match="no longer wanted"):
        fetch(source.url(mode), tmp_path / "source", quick_pace(idle_seconds=50.0), cancel)


def test_a_source_that_brings_ten_bytes_a_try_is_not_asked_for_ever(source: BadSource, tmp_path: Path) -> None:
    """What counts as progress is more than a trickle: three tries, not thousands within the time of a download."""

    def trickle(asked: Asked) -> Iterator[bytes]:
        start = range_start(asked)
        yield source._rest_head(start) + BODY[start : start + 10]
        raise Reset

    source._trickle = trickle  # type: ignore[attr-defined]

    with pytest.raises(SourceUnreachable):
        run(source, "trickle", tmp_path)

    assert 3 == len(source.asked)


@pytest.mark.parametrize("banner", [b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n", b"-ERR wrong number of arguments\r\n", b""])
def test_what_listens_on_a_port_is_not_told(banner: bytes, source: BadSource, tmp_path: Path) -> None:
    """A caller who tries ports learns no word of what answers there: one text for all that is no HTTP."""

    def greet(_: Asked) -> Iterator[bytes]:
        yield banner

    source._greet = greet  # type: ignore[attr-defined]

    with pytest.raises(SourceUnreachable) as caught:
        run(source, "greet", tmp_path)

    assert (
        f"http://127.0.0.1:{source.port}/… did not answer in proper HTTP, or broke off; 0 of unknown bytes had come"
        == caught.value.detail
    )


def test_where_a_name_leads_is_not_told(tmp_path: Path) -> None:
    """Names of a private network cannot be looked up through us."""
    rules = quick(resolver=lambda _host, _port: ["10.11.12.13"])

    with pytest.raises(SourceForbidden, match=r"host db\.internal leads to an address") as caught:
        fetch("http://db.internal/x", tmp_path / "a", rules, ignore)

    assert "10.11" not in str(caught.value.as_record())


def test_where_a_file_would_lie_is_not_told(source: BadSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Faults of our own disk are told without its folders."""
    with pytest.raises(StorageError, match="the source cannot be written") as missing:
        fetch(source.url("ok"), tmp_path / "nowhere" / "source", quick(), ignore)
    monkeypatch.setattr(download_module, "SPARE_BYTES", 1 << 60)
    with pytest.raises(DiskFull) as full:
        run(source, "ok", tmp_path)

    for caught in (missing, full):
        assert str(tmp_path) not in str(caught.value.as_record())


@pytest.mark.slow
def test_progress_names_what_is_done_and_what_there_is(source: BadSource, tmp_path: Path) -> None:
    """The watch learns the length as soon as the source says it."""
    seen: list[tuple[int, int | None]] = []
    rules = quick_pace(idle_seconds=0.4)

    with pytest.raises(SourceTimeout):
        fetch(source.url("stall"), tmp_path / "source", rules, lambda done, total: seen.append((done, total)))

    assert (0, None) == seen[0]
    assert (5000, len(BODY)) == seen[-1]


def test_a_source_that_does_not_fit_the_disk_is_refused_at_its_head(
    source: BadSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The free space is compared with the length before a byte is written."""
    monkeypatch.setattr(download_module, "SPARE_BYTES", 1 << 60)

    with pytest.raises(DiskFull, match="are free"):
        run(source, "ok", tmp_path)

    assert not list(tmp_path.iterdir())


def test_a_file_over_the_limit_is_refused_by_its_length_and_by_its_bytes(source: BadSource, tmp_path: Path) -> None:
    """A server that names its length is refused at once, one that does not when the limit is passed."""
    for mode in ("ok", "chunked"):
        with pytest.raises(SourceTooLarge, match="the limit is 100000") as caught:
            run(source, mode, tmp_path, quick(max_bytes=100_000))
        assert "the limit is UPSCALE_FETCH__MAX_BYTES" == caught.value.hint


def test_a_redirect_from_https_to_http_is_refused() -> None:
    """What was asked to be safe stays so."""
    with pytest.raises(BadScheme, match="from https to http"):
        follow(parse_url("https://example.org/a"), "http://example.org/a")

    assert "https" == follow(parse_url("http://example.org/a"), "https://example.org/a").scheme


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('"film.mp4"', "film.mp4"),
        ('"../../../../etc/cron.d/x"', "_.._.._.._etc_cron.d_x"),
        ("\"a\"; filename*=UTF-8''%E6%98%A0%E7%94%BB.mp4", "a"),
        ('""', "named"),
        ("a; filename*=utf-8''a; filename*0=b", "named"),
    ],
)
def test_the_name_is_for_people_and_is_never_a_path(
    header: str, expected: str, source: BadSource, tmp_path: Path
) -> None:
    """The server's own name loses everything that could lead elsewhere; the file lies where we said."""
    fetched = run(source, f"named?as={quote(header)}", tmp_path)

    assert expected == fetched.file_name
    assert ["source"] == [path.name for path in tmp_path.iterdir()]


@pytest.mark.parametrize(
    "url",
    [
        "", "http://", "http:///path", "//example.org/", "example.org/film.mp4", "http://example.org:99999/",
        "http://example.org:0/", "http://example.org:x/", "http://user@example.org/", "http://u:secret@example.org/",
        "http://example.org\\@127.0.0.1/", "http://exa mple.org/", "http://example.org/\r\nX: y", "http://[::1/",
        "http://[fe80::1%25lo]/", "http://①②⑦.⓪.⓪.①/", "http://127。0。0。1/", "http://127.0.0.1%00.example.com/",
        "http://-x/", "http://example.org/" + "a" * 10_000,
    ],
)  # fmt: skip
def test_a_malformed_url_is_refused_at_the_door(url: str) -> None:
    """No look-up, no connection; no credential is repeated."""
    with pytest.raises(BadUrl) as caught:
        check_url(url, quick())

    assert "secret" not in caught.value.detail


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "ftp://example.org/x", "gopher://x/", "data:video/mp4,x", "rtsp://x/", "FILE:///etc/passwd",
        "concat:/etc/passwd|/etc/hosts", "subfile,,start,0,end,9,,:/etc/passwd", "pipe:0", "ws://example.org/",
    ],
)  # fmt: skip
def test_another_scheme_is_refused_at_the_door(url: str) -> None:
    """Only http and https are fetched."""
    with pytest.raises(BadScheme):
        check_url(url, quick())


def test_a_list_of_hosts_is_kept_to(source: BadSource, tmp_path: Path) -> None:
    """An exact name or a suffix with its dot; neither `evilgood.org` nor `good.org.evil.com` is one; redirects, too."""
    rules = FetchRules.of(Fetch(allowed_hosts=("good.org", "*.fine.org")))

    for host in ("good.org", "GOOD.org.", "a.fine.org", "a.b.fine.org"):
        check_url(f"https://{host}/x.mp4", rules)
    for host in ("evilgood.org", "good.org.evil.com", "fine.org", "evilfine.org", "93.184.216.34"):
        with pytest.raises(SourceForbidden, match="may not come from host"):
            check_url(f"https://{host}/x.mp4", rules)
    listed = FetchRules.of(Fetch(allowed_hosts=("127.0.0.1",), allowed_networks=LOOPBACK))
    with pytest.raises(SourceForbidden, match="may not come from host"):
        run(source, "redirect?to=http://example.org/", tmp_path, listed)


def test_a_name_is_dialled_at_the_address_that_was_vetted(source: BadSource, tmp_path: Path) -> None:
    """A name that changes its address between two look-ups gains nothing: there is one, and it is judged."""
    answers = iter([["10.0.0.1", "127.0.0.1"], ["169.254.169.254"], ["::ffff:169.254.169.254", "fe80::1"]])
    rules = quick(resolver=lambda _host, _port: next(answers), attempts=1)

    assert len(BODY) == fetch(source.url("ok", "films.test"), tmp_path / "a", rules, ignore).byte_count
    for _ in range(2):
        with pytest.raises(SourceForbidden):
            fetch(source.url("ok", "films.test"), tmp_path / "b", rules, ignore)

    assert 1 == len(source.asked)


def test_a_host_without_an_address_and_a_closed_port_are_unreachable(tmp_path: Path) -> None:
    """Both may pass; the message names the host."""

    def unknown(_host: str, _port: int) -> list[str]:
        raise OSError("no such name")

    with BadSource() as source:
        closed = source.url("ok")

    with pytest.raises(SourceUnreachable, match=r"films\.test has no address"):
        fetch("http://films.test/x", tmp_path / "a", quick(resolver=unknown), ignore)
    with pytest.raises(SourceUnreachable, match=r"127\.0\.0\.1 cannot be reached"):
        fetch(closed, tmp_path / "b", quick(), ignore)
