"""The estimate that `upscale plan` shows: by measuring when asked, else by what is known.

It holds what measuring needs, and prints nothing; the formulas are in `estimate`.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from upscale_server.cli.loading import load_pass
from upscale_server.cli.progress import Watcher
from upscale_server.models.at_hand import choices_of

if TYPE_CHECKING:
    from upscale_server.calibration import Calibration
    from upscale_server.estimate import Estimate
    from upscale_server.plan import Plan
    from upscale_server.settings import Settings
    from upscale_server.workers.in_process import InProcess


class Estimating:
    """Estimates plans of one command; a context manager that releases the models it measured with."""

    def __init__(self, settings: Settings, *, measure: bool) -> None:
        self.settings = settings
        self._measure = measure
        self._stack = ExitStack()
        self._executor: InProcess | None = None

    def of(self, plan: Plan) -> tuple[Plan, Estimate]:
        """Return what a plan will take; without measuring now, what was measured of the same work before counts.

        The plan comes back as it can be done: where memory did not suffice for measuring, in a lower precision.

        Raises:
            UpscaleError and its kinds: a piece cannot be made, and so could not the whole.
        """
        from upscale_server.calibration import Calibration
        from upscale_server.estimate import estimate_of

        calibration = Calibration.in_folder(self.settings.state_dir)
        if self._measure:
            plan = self._with_pieces(plan, calibration)
        return plan, estimate_of(plan, calibration, calibration.measured(plan))

    def _with_pieces(self, plan: Plan, calibration: Calibration) -> Plan:
        from upscale_server.pieces import measure_pieces

        with (
            tempfile.TemporaryDirectory(prefix="upscale-pieces-") as folder,
            Watcher(Path(plan.source.path).name) as seen,
        ):
            plan, measured = measure_pieces(plan, self._pieces_executor(), Path(folder), seen)
        if measured is not None:
            calibration.keep_measured(plan, measured)
        return plan

    def _pieces_executor(self) -> InProcess:
        from upscale_server.workers.in_process import InProcess

        if self._executor is None:
            choices = choices_of(self.settings)
            load = partial(load_pass, engines=str(choices.builds.folder) if choices.builds else "")
            self._executor = self._stack.enter_context(InProcess(load, choices.points))
        return self._executor

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


def facts_of_estimate(estimate: Estimate) -> list[tuple[str, object]]:
    """Return an estimate as named values for a person."""
    basis = estimate.basis
    return [
        ("time", _with_error(_time_text(estimate.seconds), estimate.seconds_error, basis.seconds)),
        ("bytes", _with_error(_bytes_text(estimate.byte_count), estimate.byte_count_error, basis.byte_count)),
        ("memory", f"about {_bytes_text(estimate.memory_bytes)}"),
        ("disk while it runs", f"about {_bytes_text(estimate.disk_bytes)}"),
    ]


def _with_error(text: str, error: float | None, basis: str) -> str:
    return text if error is None else f"{text} ± {error:.0%} ({basis})"


def _time_text(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"


def _bytes_text(byte_count: int | None) -> str:
    return "unknown" if byte_count is None else f"{byte_count / 2**20:.1f} MiB"
