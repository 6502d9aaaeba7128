"""Runs the command line as a user does: in a process of its own, or in this one where only its result matters.

It parses no text beyond the JSON that the command promises.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMMAND = (sys.executable, "-c", "from upscale_server.cli.main import main; import sys; sys.exit(main())")
LIMIT_SECONDS = 1500
"""A wait must end: far above any run in these tests, which have limits of their own."""


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended and what it said."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def report(self) -> dict[str, Any]:
        """Return the JSON object on stdout (the last one, where there are several)."""
        return dict(json.loads(self.stdout.strip().splitlines()[-1] if "\n{" in self.stdout else self.stdout))


def run_apart(*arguments: str | Path, environment: dict[str, str] | None = None) -> Ran:
    """Run `upscale ARGUMENTS` in a process of its own."""
    command = [*COMMAND, *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=LIMIT_SECONDS, env=environment_for(environment)
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def run_here(*arguments: str | Path) -> Ran:
    """Run `upscale ARGUMENTS` in this process, which spares the seconds of starting one."""
    from upscale_server.cli.main import run  # noqa: PLC0415 - tests that only need the corpus run without it

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([str(argument) for argument in arguments])
    return Ran(code, out.getvalue(), err.getvalue())


def environment_for(extra: dict[str, str] | None = None) -> dict[str, str]:
    """Return an environment in which the package under test is found and nobody's settings are."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("UPSCALE_")}
    root = Path(__file__).parents[2]
    return kept | {"PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}"} | (extra or {})
