"""The words under which work is counted: models, devices and tasks, each from a short list of our own.

It counts nothing; a name that a user chose never becomes a label.
"""

from __future__ import annotations

from upscale_server.geometry import TASKS
from upscale_server.jobs.job import FINISHED
from upscale_server.metrics import Metrics, Work
from upscale_server.metrics.metrics import CUSTOM
from upscale_server.models.catalogue import CLASSICAL, available
from upscale_server.plan import Plan
from upscale_server.workers.needs import GPU_ENGINES

ADDED = "added"
"""The label of every model that is not ours."""
TSDSR = "tsdsr"


def expect_outcomes(metrics: Metrics) -> None:
    """Let the counters of jobs begin at 0, so that the first job is seen as a step."""
    for outcome in sorted(FINISHED):
        for preset in (*TASKS, CUSTOM):
            metrics.add("upscale_jobs_total", 0, outcome, preset)


def work_of(plan: Plan) -> Work:
    """Return what is counted of a plan's frames."""
    device = "cuda" if plan.engine in GPU_ENGINES else "cpu"
    return Work(model_label(plan.model), device, plan.target.pixels, plan.batch)


def model_label(name: str) -> str:
    """Return a model's name where it is one of ours, else one word for all others."""
    ours = {card.name for card in available()} | {*CLASSICAL, TSDSR}
    return name if name in ours else ADDED
