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
    items: Iterable[Item], work: Callable[[Item], None], name: Callable[[Item], str], *, as_json: bool, kept: str = ""
) -> None:
    """Do the work for every item; one that fails does not stop the rest.

    Args:
        items: the jobs of a batch, or a single one.
        work: does one item and shows its result.
        name: what an error is about.
        as_json: print the fault record on stdout beside the line on stderr.
        kept: what the user can do after an interrupt, shown as its hint.

    Raises:
        typer.Exit: with the highest exit code, when an item failed.
        Interrupted: at once, with the rest not begun.
    """
    worst = 0
    with interruptible(kept) as stopping:
        for item in items:
            try:
                with naming_memory():
                    work(item)
            except Exception as raised:
                if stopping():
                    raise
                err = raised if isinstance(raised, UpscaleError) else unexpected(raised)
                talk.fail(err, about=name(item))
                if as_json:
                    talk.fault_json(err, source=name(item))
                worst = max(worst, err.exit_code)
    if worst:
        raise typer.Exit(worst)


def unexpected(error: Exception) -> UpscaleError:
    """Return a failure that nobody named as one of ours, so that it gets its line and its code, too."""
    return UpscaleError(
        f"{type(error).__name__}: {error}",
        hint="this is a defect of upscale; UPSCALE_LOG_LEVEL=debug shows where, please report it",
    )


@contextmanager
def naming_memory() -> Iterator[None]:
    """Turn Python's own out-of-memory into ours."""
    try:
        yield
    except MemoryError as err:
        raise OutOfMemory("the machine has not enough free memory for this picture") from err


@contextmanager
def interruptible(kept: str) -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C and SIGTERM end the work in order; gives a function that tells whether one came.

    An interrupt lands anywhere, also in the middle of starting a thread, where it can leave something that fails
    next. So whatever is raised after one is its consequence, not a fault of its own.

    Args:
        kept: what the user can do next, shown as the hint.

    Raises:
        Interrupted: the user stopped the work.
    """
    asked: list[int] = []

    def stop(number: int, frame: object) -> NoReturn:
        del frame
        asked.append(number)
        raise KeyboardInterrupt

    before = [(number, signal.signal(number, stop)) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        yield lambda: bool(asked)
    except (Exception, KeyboardInterrupt) as err:
        if asked and not isinstance(err, Interrupted):  # else it is told already what that means
            raise Interrupted("stopped before the end", hint=kept or None) from err
        raise
    finally:
        for number, handler in before:
            signal.signal(number, handler)
