"""One file's way over as many connections as it takes: redirects, refusals, breaks and going on after them.

Where it may connect is decided by `dialling`, how long it may take by `watchdog`, and what is kept by `part_file`.
"""

from __future__ import annotations

import math
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from email.utils import parsedate_to_datetime

import httpcore

from upscale_server.errors import (
    DiskFull,
    SourceError,
    SourceNotFound,
    SourceTimeout,
    SourceTooLarge,
    SourceUnreachable,
    UnsupportedFormat,
)
from upscale_server.storage.fetch_rules import FetchRules
from upscale_server.storage.names import clean_name
from upscale_server.storage.part_file import PartFile, Version
from upscale_server.storage.sniffing import BLANK_BYTES, SNIFFED_BYTES, refuse_blank, refuse_non_media
from upscale_server.storage.urls import Location, follow
from upscale_server.storage.watchdog import Watchdog

MAX_REDIRECTS = 5
REDIRECTS = frozenset({301, 302, 303, 307, 308})
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers that may be others a moment later."""
SPARE_BYTES = 16 << 20
"""Left free on the disk, so that a download never costs the jobs' database or the log its next line."""
LEAST_PROGRESS_BYTES = 1 << 16
"""What a try must bring to be no failure: a source that sends ten bytes and breaks would be asked for ever."""
LONGEST_PAUSE_SECONDS = 8.0
"""Between two tries, where the source says nothing of it."""
LONGEST_ASKED_PAUSE_SECONDS = 60.0
"""Longest Retry-After that is waited for here; a longer one is told to the caller, who can come back."""
MOST_HEADERS = 100
LONGEST_HEADER = 8190
"""Bytes of one header, as web servers have it; more than either is no honest reply."""
LONGEST_RETRY_AFTER = 86_400
"""A day; who tells callers to wait longer is not taken at its word."""


class Download:
    """Brings one file into its part file."""

    def __init__(self, rules: FetchRules, watchdog: Watchdog, part: PartFile) -> None:
        self._rules = rules
        self._watchdog = watchdog
        self._part = part
        self._sniffed = self._blank_checked = False

    def run(self, start: Location) -> str:
        """Try until the file is complete; return its name. Only tries that bring next to nothing are counted."""
        failures, most = 0, self._part.done
        while True:
            try:
                return self._try(start)
            except SourceUnreachable as err:
                failures = 1 if self._part.done - most >= LEAST_PROGRESS_BYTES else failures + 1
                most = max(most, self._part.done)
                told = err.retry_after or 0
                longest = min(LONGEST_ASKED_PAUSE_SECONDS, self._watchdog.seconds_left)
                if failures >= self._rules.attempts or told > longest:
                    raise
            self._pause(max(told, min(self._rules.pause_seconds * 2 ** (failures - 1), LONGEST_PAUSE_SECONDS)))

    def _try(self, location: Location) -> str:
        for _ in range(MAX_REDIRECTS + 1):
            self._rules.guard.check_host(location.host, location.port)
            with self._ask(location) as reply:
                if reply.status not in REDIRECTS:
                    return self._take(reply, location)
                location = follow(location, _header(reply, b"location") or _no_location(location))
        raise SourceNotFound(f"the source redirects more than {MAX_REDIRECTS} times, last to {location.shown}")

    @contextmanager
    def _ask(self, location: Location) -> Iterator[httpcore.Response]:
        """Send the request on a connection of its own; name what goes wrong with it."""
        url = httpcore.URL(
            scheme=location.scheme, host=location.host, port=location.port, target=location.target.encode("ascii")
        )
        self._watchdog.expect_reply()
        try:
            with (
                self._rules.road.connections(self._watchdog, self._rules.pace.connect_seconds) as pool,
                pool.stream("GET", url, headers=self._headers(location)) as reply,
            ):
                _check_head(reply, location)
                yield reply
        except httpcore.TimeoutException as err:
            raise SourceTimeout(f"{location.shown} did not answer in time") from err
        except httpcore.ProtocolError as err:
            raise SourceUnreachable(
                f"{location.shown} did not answer in proper HTTP, or broke off; {self._so_far()}"
            ) from err
        except httpcore.ProxyError as err:
            raise SourceUnreachable(f"the proxy of this server does not connect to {location.shown}") from err
        except httpcore.NetworkError as err:
            raise SourceUnreachable(f"the connection to {location.shown} broke; {self._so_far()}") from err

    def _headers(self, location: Location) -> list[tuple[bytes, bytes]]:
        headers = [
            ("Host", location.authority),
            ("User-Agent", "upscale-server"),
            ("Accept", "*/*"),
            ("Accept-Encoding", "identity"),
            ("Connection", "close"),
        ]
        if self._part.done and self._part.version.is_resumable:
            headers += [("Range", f"bytes={self._part.done}-"), ("If-Range", self._part.version.condition)]
        return [(name.encode(), value.encode("latin-1")) for name, value in headers]

    def _take(self, reply: httpcore.Response, location: Location) -> str:
        """Receive a body, from the start or from where the last one broke off."""
        self._begin(reply, location)
        version = self._part.version
        self._check_room(version.total)
        self._watchdog.start_body(self._part.done, version.total)
        checked = self._part.done
        for chunk in reply.iter_stream():
            self._watchdog.advance(len(chunk))
            self._check_size(self._part.done + len(chunk))
            self._part.write(chunk)
            if not self._sniffed and self._part.done >= SNIFFED_BYTES:
                self._sniff()
            if not self._blank_checked and self._part.done >= BLANK_BYTES:
                self._blank_checked = True
                refuse_blank(self._part.head(BLANK_BYTES))
            if self._part.done - checked >= SPARE_BYTES:
                checked = self._part.done
                self._check_room(version.total)
        self._check_whole(location)
        self._sniff()
        return _file_name(reply, location)

    def _begin(self, reply: httpcore.Response, location: Location) -> None:
        """Decide by the reply's head whether its body is taken, and where it goes."""
        if any(coding.lower() not in ("", "identity") for coding in _headers(reply, b"content-encoding")):
            raise UnsupportedFormat(f"{location.shown} sends the file compressed, which was not asked for")
        asked_for_rest = bool(self._part.done) and self._part.version.is_resumable
        if reply.status == 206 and asked_for_rest:
            self._check_rest(reply, location)
        elif reply.status == 200:
            version = _version(reply)
            self._check_size(version.total or 0)
            self._sniffed = self._blank_checked = False
            self._part.restart(version)
        elif reply.status == 416 and asked_for_rest:
            self._part.restart(Version())
            raise SourceUnreachable(f"{location.shown} does not go on where it broke off")
        else:
            raise _refused(reply, location)

    def _check_rest(self, reply: httpcore.Response, location: Location) -> None:
        """Make sure that what follows is the rest of the same file; start over where it is not."""
        version = self._part.version
        expected = f"bytes {self._part.done}-{(version.total or 0) - 1}/{version.total}"
        fresh = _version(reply)
        same = not fresh.condition or fresh.condition == version.condition
        if _header(reply, b"content-range") != expected or not same:
            self._part.restart(Version())
            raise SourceUnreachable(f"{location.shown} went on with another file or another place")

    def _check_size(self, byte_count: int) -> None:
        if byte_count > self._rules.max_bytes:
            raise SourceTooLarge(
                f"the source has {byte_count} bytes or more; the limit is {self._rules.max_bytes}",
                hint="the limit is UPSCALE_FETCH__MAX_BYTES",
            )

    def _check_whole(self, location: Location) -> None:
        """Hold a file against its length: what a resumed answer says of itself is not what the file's head said."""
        if self._part.version.total not in (None, self._part.done):
            raise SourceUnreachable(f"{location.shown} ended early; {self._so_far()}")

    def _check_room(self, total: int | None) -> None:
        """Refuse before the disk is full, not when it is."""
        needed = max((total or 0) - self._part.done, 0) + SPARE_BYTES
        free = shutil.disk_usage(self._part.path.parent).free
        if free < needed:
            raise DiskFull(
                f"the source needs {needed} bytes of the folder for unfinished work; {free} are free",
                hint="free some space, or set UPSCALE_TEMP_DIR to a folder on a larger disk",
            )

    def _sniff(self) -> None:
        refuse_non_media(self._part.head(SNIFFED_BYTES))
        self._sniffed = True

    def _pause(self, seconds: float) -> None:
        """Wait before the next try, still asking whether it is wanted."""
        began = now = time.monotonic()
        while now - began < seconds:
            self._watchdog.look()
            time.sleep(min(0.1, seconds))
            before, now = now, time.monotonic()
            self._watchdog.excuse(now - before)

    def _so_far(self) -> str:
        total = self._part.version.total
        return f"{self._part.done} of {'unknown' if total is None else total} bytes had come"


def _check_head(reply: httpcore.Response, location: Location) -> None:
    most = max((len(name) + len(value) for name, value in reply.headers), default=0)
    if len(reply.headers) > MOST_HEADERS or most > LONGEST_HEADER:
        raise SourceUnreachable(
            f"{location.shown} sent {len(reply.headers)} headers of up to {most} bytes; "
            f"the limits are {MOST_HEADERS} and {LONGEST_HEADER}"
        )


def _header(reply: httpcore.Response, name: bytes) -> str | None:
    return next(iter(_headers(reply, name)), None)


def _headers(reply: httpcore.Response, name: bytes) -> list[str]:
    """Return every value of a header: a second one is a trick of those who count on the first alone."""
    return [value.decode("latin-1").strip() for key, value in reply.headers if key.lower() == name]


def _version(reply: httpcore.Response) -> Version:
    length = _header(reply, b"content-length")  # digits: h11 refuses anything else, and two that differ
    return Version(
        etag=_header(reply, b"etag") or "",
        last_modified=_header(reply, b"last-modified") or "",
        total=int(length) if length is not None and re.fullmatch(r"\d+", length) else None,
    )


def _no_location(location: Location) -> str:
    raise SourceNotFound(f"{location.shown} redirects without saying where to")


def _refused(reply: httpcore.Response, location: Location) -> SourceError:
    """Name a status that brings no file; the server's own text is not passed on.

    What the source says of our request will be said again; what it says of itself may pass.
    """
    said = f"{location.shown} answered with status {reply.status}"
    if reply.status in PASSING or not 400 <= reply.status < 500:
        busy = SourceUnreachable(f"{said}; 200 is expected")
        busy.retry_after = _retry_after(_header(reply, b"retry-after"))
        return busy
    if reply.status in (401, 403):
        return SourceNotFound(f"{said}: it does not let us have the file", hint="a signed link may have expired")
    return SourceNotFound(f"{said}: there is no file for us")


def _retry_after(text: str | None) -> int | None:
    """Return the seconds of a Retry-After header, which names them or a moment; None where it says nothing of use."""
    if text is None:
        return None
    if re.fullmatch(r"\d{1,9}", text):
        return min(int(text), LONGEST_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError, TypeError):  # no date, or one of a year that no clock knows
        return None
    return max(0, min(math.ceil(moment - time.time()), LONGEST_RETRY_AFTER))


def _file_name(reply: httpcore.Response, location: Location) -> str:
    message = Message()
    message["Content-Disposition"] = _header(reply, b"content-disposition") or ""
    try:
        name = message.get_filename()
    except (ValueError, TypeError, LookupError):  # parts that contradict each other, a code that does not exist
        name = None
    return clean_name(name or location.file_name, "source")
