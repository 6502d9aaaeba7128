"""Check of the jobs' database: that it is there, whole, and of a version that this release can use.

It is only looked at: a server may be using it, and one of an older release would lose what a newer one changes.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from urllib.parse import urlsplit

from upscale_server.cli.checks import Check, quoted
from upscale_server.settings import Settings

_NAME = "jobs' database"
_UPGRADE = "pip install --upgrade upscale-server"


def database_check(settings: Settings) -> Check:
    """Tell how the database is in which a server would keep its jobs."""
    from upscale_server.jobs.glance import glance
    from upscale_server.service import folders_of

    url = settings.database_url.get_secret_value()
    url = url or f"sqlite:///{(folders_of(settings).state / 'jobs.db').absolute()}"
    file = Path(url.partition(":///")[2]) if url.startswith("sqlite") else None
    shown = "the address in UPSCALE_DATABASE_URL" if file is None else str(file)
    seen = glance(url)
    if seen.state in ("absent", "empty"):
        return Check(_NAME, "ok", f"{shown} (made at the first start of the video server)")
    if seen.version is not None:
        return _versioned(shown, seen.state, seen.version)
    if file is not None:
        return _unusable(file, seen.state, seen.reason)
    advice = "is the server running, and are its name, user and password right?"
    return Check(_NAME, "broken", f"it cannot be opened: {seen.reason}", advice, _asked_again(url))


def _versioned(shown: str, state: str, version: int) -> Check:
    from upscale_server.jobs.tables import SCHEMA_VERSION

    if state == "newer":
        found = f"{shown} has schema {version}; this version knows none above {SCHEMA_VERSION}"
        return Check(_NAME, "broken", found, "a newer release wrote it: run that one", _UPGRADE)
    if state == "unknown":
        found = f"{shown} has schema {version}, which this version cannot bring up"
        advice = "run the version that wrote it, or begin with another one"
        return Check(_NAME, "broken", found, advice, 'export UPSCALE_STATE_DIR="$HOME/upscale-server"')
    if state == "older":
        brought = f"it has schema {version}, will be brought up to {SCHEMA_VERSION} at the next start"
        return Check(_NAME, "ok", f"{shown} opens; {brought}")
    return Check(_NAME, "ok", f"{shown} opens")


def _unusable(file: Path, state: str, reason: str) -> Check:
    """Tell of a file that gives no answer; only one that is damaged is moved, with what belongs to it."""
    if state == "held":
        advice = "another program has it to itself, a backup for example; nothing is wrong with the file"
        return Check(_NAME, "warning", f"{file}: {reason}", advice, f"fuser -v {quoted(file)}")
    if state == "damaged":
        from upscale_server.jobs.opening import aside_command

        advice = "stop the video server, restore a backup, or put the file aside: the queue then begins empty"
        return Check(_NAME, "broken", f"{file}: {reason}", advice, aside_command(file))
    advice = "this user must be able to read and write it"
    return Check(_NAME, "broken", f"{file}: {reason}", advice, f'sudo chown "$(id -u)" {quoted(file)}')


def _asked_again(url: str) -> str:
    """Return how Postgres itself is asked; neither the user nor the password are repeated."""
    address = urlsplit(url)
    return f"pg_isready -h {shlex.quote(address.hostname or 'localhost')} -p {address.port or 5432}"
