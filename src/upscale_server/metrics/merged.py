"""Puts the figures of several processes of one server together: each sample says which process it is of.

Nothing is added up: a process that begins anew begins at 0, which Prometheus sees for each of them alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from upscale_server.metrics.metrics import Metrics, text_of

WORKER = "worker"
"""The label that tells the processes apart: their number, from 0."""


def packed(metrics: Metrics) -> bytes:
    """Return a process's figures as they are now, for another one to put together."""
    return json.dumps([_record(family) for family in metrics.families()]).encode()


def merged(told: Mapping[int, bytes | None]) -> bytes:
    """Return the figures of all processes in Prometheus' text format.

    Args:
        told: what each process packed; None where it did not answer, of which `upscale_worker_up` tells.
    """
    families: dict[tuple[str, str], Metric] = {}
    is_up = GaugeMetricFamily("upscale_worker_up", "1 for a process that told its figures, else 0.", labels=[WORKER])
    for index, content in told.items():
        is_up.add_metric([str(index)], float(content is not None))
        for name, about, kind, samples in json.loads(content or b"[]"):
            # A gauge and a counter may have one name here: the counter's `_total` stands in its samples alone.
            family = families.setdefault((name, kind), Metric(name, about, kind))
            _add(family, samples, str(index))
    return text_of([*families.values(), is_up])


def _record(family: Metric) -> tuple[str, str, str, list[tuple[str, dict[str, str], float]]]:
    samples = [(one.name, one.labels, one.value) for one in family.samples]
    return family.name, family.documentation, family.type, samples


def _add(family: Metric, samples: Iterable[tuple[str, dict[str, str], float]], worker: str) -> None:
    for name, labels, value in samples:
        family.add_sample(name, {**labels, WORKER: worker}, value)
