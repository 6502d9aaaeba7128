"""`upscale doctor`: what this machine can really do, found by trying it.

Nothing is repaired; each thing that is wrong comes with the one command that mends it. What is tried stands in the
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


def doctor(context: typer.Context, as_json: options.Json = False) -> None:
    """Try what this machine can do: codecs, engines, disks, ports, the store and the database.

    Each thing that is wrong comes with one command that mends it.
    """
    checks = list(_checks(session_of(context).settings))
    if as_json:
        ok = all(check.verdict != "broken" for check in checks)
        talk.result_json({"ok": ok, "checks": [asdict(check) for check in checks]})
    else:
        talk.result_table("", ("", "check", "found"), [(one.verdict, one.name, one.found) for one in checks])
        for one in checks:
            _advise(one)
    if any(check.verdict == "broken" for check in checks):
        raise typer.Exit(ModelMissing.exit_code)  # what is wrong is this machine, not the request and not the program


def _advise(check: Check) -> None:
    if check.advice or check.fix:
        talk.say(f"{check.name}: {check.advice or check.found}")
    if check.fix:
        talk.say(f"  fix: {check.fix}")


def _checks(settings: Settings) -> Iterator[Check]:
    yield Check("upscale-server", "ok", __version__)
    yield Check("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    yield Check("cores", "ok", f"{len(os.sched_getaffinity(0))} usable of {os.cpu_count()}")
    yield from codec_checks()
    yield from engine_checks()
    yield from disk_checks(settings)
    yield from server_checks(settings)
    yield tried("estimates", lambda: _estimates(settings.state_dir))


def _estimates(state_dir: Path) -> Check:
    """Tell how right this machine's predictions were, of those that were made from its own measurements."""
    from upscale_server.calibration import Calibration

    found = Calibration.in_folder(state_dir).errors()
    if not found.seconds.count and not found.byte_count.count:
        return Check("estimates", "ok", "no finished job yet had a measured or calibrated prediction")
    return Check("estimates", "ok", f"time {_judged_text(found.seconds)}, size {_judged_text(found.byte_count)}")


def _judged_text(judged: Judged) -> str:
    if judged.median is None:
        return "not judged yet"
    return f"off by {judged.median:.0%} (median of {judged.count})"
