"""Checks of the folders that the settings name: room on their disks, whether they can be written, who may read them.

Nothing stays behind; folders that a server would make are not made.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from upscale_server.cli.checks import Check, quoted, tried
from upscale_server.settings import Settings

_LITTLE_SPACE_GB = 5.0
"""A two-hour film at 4K is about this large; less deserves a word before the work begins."""
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_SECRET = ("links.key", "owner.id", "jobs.db")


def disk_checks(settings: Settings) -> Iterator[Check]:
    """Try the folders that the settings name."""
    from upscale_server.service import folders_of

    folders = folders_of(settings)
    yield tried("state folder", lambda: writable("state folder", settings.state_dir, "UPSCALE_STATE_DIR"))
    yield tried("permissions", lambda: permissions_check(settings.state_dir))
    yield tried("unfinished work", lambda: writable("unfinished work", folders.temp, "UPSCALE_TEMP_DIR"))
    yield tried(
        "free disk here", lambda: _room("free disk here", Path.cwd(), "begin in a folder on a larger disk"), "cd"
    )
    yield _room_of("free disk for unfinished work", folders.temp, "UPSCALE_TEMP_DIR")
    if settings.storage.kind == "local":
        yield _room_of("free disk for results", folders.output, "UPSCALE_OUTPUT_DIR")


def permissions_check(state_dir: Path) -> Check:
    """Look whether others can read what the servers keep: keys of links, addresses of sources, pictures."""
    kept = [folder for name in ("video", "image") if (folder := state_dir / name).is_dir()]
    if not kept:
        return Check("permissions", "ok", "no server has run here yet")
    owner = os.geteuid()
    strangers = [path for path in (state_dir, *kept) if path.stat().st_uid != owner]
    if strangers and owner:
        fix = f"sudo chown -R {owner} {quoted(state_dir)}"
        return Check(
            "permissions", "broken", f"{strangers[0]} belongs to another user", "a server cannot start there", fix
        )
    files = [path for folder in kept for name in _SECRET if (path := folder / name).is_file()]
    opened = [path for path in (*kept, *files) if path.stat().st_mode & _OTHERS]
    if opened:
        names = ", ".join(str(path.relative_to(state_dir)) for path in opened)
        advice = "who reads the keys can sign links, and the database holds addresses of sources"
        fix = f"chmod -R go-rwx {quoted(state_dir)}"
        return Check("permissions", "warning", f"open to other users: {names}", advice, fix)
    return Check("permissions", "ok", f"{', '.join(path.name for path in kept)} in {state_dir} for this user alone")


def writable(name: str, folder: Path, variable: str) -> Check:
    """Write into a folder, or into the one in which it would be made."""
    above = next(path for path in (folder, *folder.parents) if path.exists() or path == path.parent)
    try:
        if not above.is_dir():
            raise NotADirectoryError(20, "Not a directory", str(above))
        with tempfile.TemporaryFile(dir=above):
            return Check(name, "ok", str(folder) if above == folder else f"{folder} (made when it is needed)")
    except OSError as err:
        reason = (err.strerror or str(err)).lower()
        advice = f"set {variable} to a folder of yours, also in the server's unit or container"
        return Check(
            name, "broken", f"{folder} is not writable: {reason}", advice, f'export {variable}="$HOME/upscale-server"'
        )


def _room_of(name: str, folder: Path, variable: str) -> Check:
    return tried(name, lambda: _room(name, folder, f"set {variable} to a folder on a larger disk"))


def _room(name: str, folder: Path, way_out: str) -> Check:
    above = next(path for path in (folder, *folder.parents) if path.is_dir())
    free = shutil.disk_usage(above).free / 1e9
    found = f"{free:.1f} GB in {folder}"
    if free < _LITTLE_SPACE_GB:
        return Check(name, "warning", found, f"long videos may not fit; {way_out}", "df -h")
    return Check(name, "ok", found)
