"""A server whose patience with the object store has a clock of its own: `python -m tests.support.hurried_server N …`.

N seconds pass for it in one; all that waits for the store, and nothing else, goes by it. The rest is the command's.
"""

from __future__ import annotations

import functools
import sys
import time

from upscale_server.storage import s3
from upscale_server.storage.retrying import Patience

COMMAND = (sys.executable, "-m", "tests.support.hurried_server")


def hurry(factor: float) -> None:
    """Let the clock of waiting for the store run so many times faster."""

    def clock() -> float:
        return time.monotonic() * factor

    def sleep(seconds: float) -> None:
        time.sleep(seconds / factor)

    s3.Patience = functools.partial(Patience, clock=clock, sleep=sleep)  # type: ignore[misc,assignment]


def main() -> None:
    """Run the command."""
    from upscale_server.cli.main import main as run  # noqa: PLC0415 - after the clock

    hurry(float(sys.argv.pop(1)))
    run()


if __name__ == "__main__":
    main()
