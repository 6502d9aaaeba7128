"""`upscale doctor`: what this machine can really do, found by trying it.

Nothing is repaired; each thing that is wrong comes with a command. What is tried stands in the
modules `check_...`.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from upscale_server import __version__
from upscale_server.cli import options, talk
from upscale_server.cli.apart import apart
from upscale_server.cli.check_codecs import codec_checks
from upscale_server.cli.check_disks import disk_checks
from upscale_server.cli.check_engines import engine_checks
from upscale_server.cli.check_servers import server_checks
from upscale_server.cli.checks import Check, tried
from upscale_server.cli.session import session_of
from upscale_server.errors import ModelMissing
from upscale_server.settings import Settings

if TYPE_CHECKING:
    from upscale_server.calibration import Judged

_JUDGED_AFTER, _MOST_OFF = 10, 0.15
"""Estimates are promised to be within this part of the truth, in the median, once so many jobs were finished."""
_NAME_WIDTH = 30
"""As long as the longest name; engines of others may be longer."""


def doctor(context: typer.Context, as_json: options.Json = False) -> None:
    """Try what this machine can do: codecs, engines, disks, ports, the store and the database.

    Each thing that is wrong comes with one command that mends it, or that shows more where a person must choose.
    """
    checks = []
    for check in _checks(session_of(context).settings):
        checks.append(check)
        if not as_json:  # at once: what hangs, or takes the process with it, is what comes after the last line
            _tell(check)
    sound = all(check.verdict != "broken" for check in checks)
    if as_json:
        talk.result_json({"ok": sound, "checks": [asdict(check) for check in checks]})
    if not sound:
        raise typer.Exit(ModelMissing.exit_code)  # what is wrong is this machine, not the request and not the program


def _tell(check: Check) -> None:
    talk.result(f"{check.verdict:<8} {check.name:<{_NAME_WIDTH}} {check.found}")
    if check.advice or check.fix:
        talk.say(f"  {check.name}: {check.advice or check.found}")
    if check.fix:
        talk.say(f"  fix: {check.fix}")


def _checks(settings: Settings) -> Iterator[Check]:
    yield Check("upscale-server", "ok", __version__)
    yield Check("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    yield Check("cores", "ok", f"{len(os.sched_getaffinity(0))} usable of {os.cpu_count()}")
    yield from apart("codecs", codec_checks)
    yield from apart("engines", engine_checks)
    yield from disk_checks(settings)
    yield from server_checks(settings)
    yield tried("estimates", lambda: _estimates(settings.state_dir))


def _estimates(state_dir: Path) -> Check:
    """Tell how right this machine's predictions were, of those that were made from its own measurements."""
    from upscale_server.calibration import Calibration

    found = Calibration.in_folder(state_dir).errors()
    if not found.seconds.count and not found.byte_count.count:
        return Check("estimates", "ok", "no finished job yet had a measured or calibrated prediction")
    told = f"time {_judged_text(found.seconds)}, size {_judged_text(found.byte_count)}"
    if _is_off(found.seconds) or _is_off(found.byte_count):
        advice = "others at work make times uncertain; `upscale plan --measure VIDEO` measures the video itself"
        return Check("estimates", "warning", told, advice)
    return Check("estimates", "ok", told)


def _is_off(judged: Judged) -> bool:
    return judged.median is not None and judged.count >= _JUDGED_AFTER and judged.median > _MOST_OFF


def _judged_text(judged: Judged) -> str:
    if judged.median is None:
        return "not judged yet"
    return f"off by {judged.median:.0%} (median of {judged.count})"
