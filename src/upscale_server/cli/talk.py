"""Where the command line speaks: results on stdout, everything else on stderr, one line for an error.

It formats; what is said is the business of the commands.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from upscale_server.disk import naming_write_faults
from upscale_server.errors import DiskFull, UpscaleError

PROGRAM = "upscale"
# Where stdout is no terminal, rich would wrap tables at 80 columns: a file or a pipe takes whole lines.
_PIPE_WIDTH = 200


def say(text: str) -> None:
    """Write a line for the person in front of the terminal to stderr."""
    _stderr().print(escape(text), highlight=False, soft_wrap=True)


def warn(code: str, detail: str) -> None:
    """Write a warning to stderr; the code is stable, the detail is for reading."""
    say(f"{PROGRAM}: warning: {code}: {detail}")


def fail(error: UpscaleError, *, about: str = "") -> None:
    """Write an error as one line, and its hint as a second, to stderr."""
    what = f"{about}: " if about and about not in error.detail else ""
    say(f"{PROGRAM}: {error.code}: {what}{_one_line(error.detail)}")
    if error.hint:
        say(f"{PROGRAM}: hint: {_one_line(error.hint)}")


def result(text: str) -> None:
    """Write a line of a result to stdout."""
    _stdout().print(escape(text), highlight=False, soft_wrap=True)


def result_json(record: dict[str, Any]) -> None:  # JSON values of many types
    """Write one object on a line of its own to stdout, in ASCII: whatever a file is called, the line is valid JSON."""
    try:
        with naming_write_faults(Path("standard output")):
            print(json.dumps(record, default=str), file=sys.stdout, flush=True)  # noqa: T201 - data
    except BrokenPipeError:
        silence(sys.stdout)
    except DiskFull:
        silence(sys.stdout)  # the fault is told on stderr; writing its record here would fail again
        raise


def fault_json(error: UpscaleError, *, source: str = "") -> None:
    """Write the fault record of an error to stdout, with the source that it is about."""
    about: dict[str, Any] = {"source": source} if source else {}
    result_json({**about, "fault": error.as_record()})


def result_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table to stdout."""
    table = Table(title=title or None, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    _stdout().print(table)


def result_facts(facts: Iterable[tuple[str, object]], write: Callable[[str], None] | None = None) -> None:
    """Write named values to stdout, or with what takes a line, one a line, aligned."""
    pairs = [(name, str(value)) for name, value in facts]
    width = max((len(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        (write or result)(f"{name:<{width}}  {value}")


def _one_line(text: str) -> str:
    return " ".join(text.split())


class _Console(Console):
    """A console whose work goes on when nobody reads it any more (`| head`)."""

    def on_broken_pipe(self) -> None:
        """Write into nothing from here on."""
        silence(self.file)


def silence(stream: IO[str]) -> None:
    """Send what is written to a stream without a reader into nothing, so that a batch is not stopped by it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _stdout() -> Console:
    return _Console(file=sys.stdout, width=None if sys.stdout.isatty() else _PIPE_WIDTH)


def _stderr() -> Console:
    return _Console(file=sys.stderr)
