"""Runs checks in a process of their own: a driver that crashes or hangs is then a finding, and the others go on.

What the checks are stands in the modules `check_...`.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection

from upscale_server.cli.checks import Check

SILENCE_SECONDS = 180.0
"""For one check; to compile a network for a new GPU takes a minute."""


def apart(
    name: str, checks: Callable[[], Iterable[Check]], silence_seconds: float = SILENCE_SECONDS
) -> Iterator[Check]:
    """Give what checks find, each as soon as it is found.

    Args:
        name: of them all, for what ends their process.
        checks: a function at the top of a module.
        silence_seconds: after which no more is waited for.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=_check, args=(theirs, checks), name="doctor", daemon=True)
    after = "at the start"
    try:
        child.start()
        theirs.close()
        while ours.poll(silence_seconds):
            found = ours.recv()
            if found is None:
                return
            yield found
            after = f"after the check of {found.name}"
        yield Check(
            name, "broken", f"no answer within {silence_seconds:g} s {after}", "the driver or library there hangs"
        )
    except EOFError:
        child.join()
        told = f"the process of these checks ended with {child.exitcode} {after}"
        yield Check(name, "broken", told, "the driver or library there crashes; servers would, too")
    finally:
        if child.pid is not None:
            child.kill()
            child.join()
        ours.close()


def _check(pipe: Connection, checks: Callable[[], Iterable[Check]]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches it as well; who started it ends it, without a trace
    with suppress(BrokenPipeError):  # nobody listens any more
        for found in checks():
            pipe.send(found)
        pipe.send(None)
