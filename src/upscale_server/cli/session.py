"""What every command starts with and ends with: settings, an interrupt that means `stop here`, and one exit code.

It turns errors into lines and numbers; it does no work of its own.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn, TypeVar

import typer

from upscale_server.cli import talk
from upscale_server.errors import Interrupted, OutOfMemory, UpscaleError
from upscale_server.settings import Settings

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Session:
    """The settings, read once."""

    settings: Settings


def session_of(context: typer.Context) -> Session:
    """Return what the main command prepared."""
    found = context.obj
    if not isinstance(found, Session):
        raise UpscaleError("the command was called without its settings")
    return found


def run_each(
    items: Iterable[Item], work: Callable[[Item], None], name: Callable[[Item], str], *, as_json: bool
) -> None:
    """Do the work for every item; one that fails does not stop the rest.

    Args:
        items: the jobs of a batch, or a single one.
        work: does one item and shows its result.
        name: what an error is about.
        as_json: print the fault record on stdout beside the line on stderr.

    Raises:
        typer.Exit: with the highest exit code, when an item failed.
        Interrupted: at once, with the rest not begun.
    """
    worst = 0
    for item in items:
        try:
            with naming_memory():
                work(item)
        except Interrupted:
            raise
        except UpscaleError as err:
            talk.fail(err, about=name(item))
            if as_json:
                talk.fault_json(err, source=name(item))
            worst = max(worst, err.exit_code)
    if worst:
        raise typer.Exit(worst)


@contextmanager
def naming_memory() -> Iterator[None]:
    """Turn Python's own out-of-memory into ours."""
    try:
        yield
    except MemoryError as err:
        raise OutOfMemory("the machine has not enough free memory for this picture") from err


@contextmanager
def interruptible(kept: str) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the work in order.

    Args:
        kept: what the user can do next, shown as the hint.

    Raises:
        Interrupted: the user stopped the work.
    """

    def stop(number: int, frame: object) -> NoReturn:
        del number, frame
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("stopped before the end", hint=kept) from None
    finally:
        signal.signal(signal.SIGTERM, before)
