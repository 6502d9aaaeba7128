"""Starts servers that must not start, as this user or as nobody, hears what they say, and closes disks to others.

What is wrong with their start is the tests' business.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.cli_runner import COMMAND, Ran, environment_for

NOBODY = 65534
_MOUNT = "/bin/mount"
_LIMIT_SECONDS = 240


def start_refused(
    state: Path, *flags: str, environment: Mapping[str, str] | None = None, prefix: tuple[str, ...] = ()
) -> Ran:
    """Start a video server that has to end by itself, and return how it ended."""
    variables = environment_for({"UPSCALE_STATE_DIR": str(state), **(environment or {})})
    port = () if "--port" in flags else ("--port", "0")
    done = subprocess.run(
        [*prefix, *COMMAND, "serve", "video", *port, *flags],
        capture_output=True, text=True, check=False, timeout=_LIMIT_SECONDS, env=variables,
    )  # fmt: skip
    return Ran(done.returncode, done.stdout, done.stderr)


def said(ran: Ran) -> str:
    """Return the one line, and perhaps a hint, that a refused start says; fail where it says more."""
    lines = [line for line in ran.stderr.splitlines() if "event=server_starting" not in line]
    assert 1 <= len(lines) <= 2, ran.stderr
    assert lines[0].startswith("upscale: "), ran.stderr
    assert all(line.startswith("upscale: hint: ") for line in lines[1:]), ran.stderr
    assert "" == ran.stdout
    return "\n".join(lines)


def as_nobody() -> tuple[str, ...]:
    """Return what a command begins with that is run by a user who owns nothing; skip where that cannot be."""
    program = shutil.which("setpriv")
    if program is None or os.geteuid() != 0:
        pytest.skip("folders that cannot be written need the superuser and setpriv: nothing is closed to the superuser")
    prefix = (program, f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    look = [*prefix, *COMMAND[:2], "import upscale_server, sqlalchemy"]
    looked = subprocess.run(look, check=False, capture_output=True, env=environment_for())
    if looked.returncode:
        pytest.skip("this checkout cannot be read by a user who owns nothing")
    return prefix


@contextmanager
def open_folder() -> Iterator[Path]:
    """Give a folder that everybody may reach, as pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def given_to_nobody(folder: Path) -> Path:
    """Make a folder that belongs to the user who owns nothing else."""
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    return folder


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """A disk of its own, mounted on a folder."""

    folder: Path

    def close_to_writers(self) -> None:
        """Let nobody write to it any more, as a system does whose disk has faults; the superuser neither."""
        self._mount("remount,ro")

    def open_to_writers(self) -> None:
        """Let everybody write to it again."""
        self._mount("remount,rw")

    def _mount(self, options: str) -> None:
        subprocess.run([_MOUNT, "-o", options, str(self.folder)], check=True)


@contextmanager
def small_disk(folder: Path) -> Iterator[SmallDisk]:
    """Mount a disk of some megabytes; skip the test where that is not possible here."""
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs the superuser")
    made = subprocess.run([_MOUNT, "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(folder)], check=False)
    if made.returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["/bin/umount", "-l", str(folder)], check=True)
