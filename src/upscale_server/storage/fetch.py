"""Downloads a source from a stranger's server: the one place where the product fetches anything for a caller.

What the bytes are is the demuxer's business; only what is plainly a page or an archive is turned away at once.
Nothing here logs, and no error repeats more of a URL than its scheme and host: the rest may be a signature.

    URL ─parse─> Location ─vet host─> dial the vetted address ─> reply ─┬─ redirect: from the start, at most 5 times
                                                                        └─ body ─> TARGET.part ─> TARGET
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from upscale_server.errors import BadUrl, DiskFull, SourceError, UpscaleError
from upscale_server.storage.download import Download
from upscale_server.storage.fetch_rules import FetchRules
from upscale_server.storage.part_file import PartFile
from upscale_server.storage.sentry import Sentry
from upscale_server.storage.urls import parse_url
from upscale_server.storage.watchdog import Watch, Watchdog

__all__ = ["FetchRules", "Fetched", "check_url", "fetch"]


@dataclass(frozen=True, slots=True)
class Fetched:
    """A downloaded file; `file_name` is what its server or URL calls it, fit to be shown, never to be a path."""

    byte_count: int
    sha256: str
    file_name: str


def check_url(url: str, rules: FetchRules) -> None:
    """Refuse at the door what could never be fetched; looks nothing up.

    Raises:
        BadUrl, BadScheme: its form is wrong.
        SourceForbidden: its host is not allowed, or is a private address.
    """
    location = parse_url(url)
    rules.guard.check_host(location.host, location.port)


def fetch(url: str, target: Path, rules: FetchRules, watch: Watch) -> Fetched:
    """Download a file.

    It lies beside `target` as `.part` until it is complete, and a later call with the same URL goes on with it. What
    cannot be gone on with is removed.

    Args:
        url: where from.
        target: where to; its folder must exist.
        rules: the limits.
        watch: told how far it is; what it raises stops the download and leaves the part.

    Raises:
        BadUrl, BadScheme, SourceForbidden: the URL, or one it redirects to, is not fetched.
        SourceTooLarge, SourceTimeout, SourceUnreachable, SourceNotFound, SourceError, NotMedia: as they say.
        DiskFull: there is no room for it; nothing was downloaded then, where the size was known.
    """
    location = parse_url(url)
    watchdog = Watchdog(rules.pace, watch)
    with PartFile(target, url) as part, Sentry(watchdog):
        try:
            file_name = Download(rules, watchdog, part).run(location)
            return Fetched(part.done, part.finish(), file_name)
        except UpscaleError as err:
            if isinstance(err, (SourceError, BadUrl, DiskFull)) and not err.retryable:
                part.discard()
            raise
