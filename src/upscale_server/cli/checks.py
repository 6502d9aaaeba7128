"""What a check of this machine says: a verdict, what was found, and one command that mends what is wrong.

Nothing is tried here; the checks stand in `check_codecs`, `check_engines`, `check_disks` and `check_servers`.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from upscale_server.errors import UpscaleError

Verdict = Literal["ok", "warning", "broken"]
REINSTALL = "pip install --force-reinstall upscale-server"
"""Mends what belongs to the package or comes with it."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tried; `advice` says what to know of it, `fix` is a command for a shell.

    Where nothing is known that mends it, `fix` is a command that shows more, or empty: a wrong one is worse than none.
    """

    name: str
    verdict: Verdict
    found: str
    advice: str = ""
    fix: str = ""


def tried(name: str, check: Callable[[], Check], fix: str = "") -> Check:
    """Run a check; one that fails is a finding, not the end.

    Args:
        name: of the check, for one that fails.
        check: gives the finding.
        fix: mends a failure that does not say itself how; what cannot be imported is installed again in any case.
    """
    try:
        return check()
    except UpscaleError as err:
        hint = err.hint or ""
        return Check(name, "broken", err.detail, hint, hint if hint.startswith("pip install ") else fix)
    except ImportError as err:
        return Check(name, "broken", f"{type(err).__name__}: {err}", fix=fix or REINSTALL)
    except Exception as err:  # noqa: BLE001 - whatever a broken machine does, the other checks are told of
        return Check(name, "broken", f"{type(err).__name__}: {err}", fix=fix)


def quoted(path: Path) -> str:
    """Return a path as a shell takes it."""
    return shlex.quote(str(path))
