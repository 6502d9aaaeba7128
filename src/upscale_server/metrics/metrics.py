"""Counts what happened, asks for what is, and writes both as Prometheus' text; nothing is kept outside of a value here.

It is told by observers and asked by `/metrics`; which routes and jobs there are it does not know.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from upscale_server import __version__
from upscale_server.events import (
    Event,
    FrameRedone,
    FramesDone,
    JobBegun,
    JobEnded,
    Observer,
    PhaseStarted,
    SegmentDone,
    SegmentReused,
    SteppedDown,
)
from upscale_server.metrics.figures import FIGURES, Figure, Reading, Server

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Of the answer. Not OpenMetrics: there a counter's family has no `_total`, and `upscale_jobs` would be there twice."""

Ask = Callable[[], Iterable[Reading]]
"""Gives what is now; a number that cannot be found out is left out."""

CUSTOM = "custom"
"""The preset of a job that asks for no documented task."""
OTHER_METHOD = "other"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Work:
    """What is the same for all frames of a job's run: who makes them, of how many pixels, and in which batches."""

    model: str
    device: str
    pixels: int
    batch: int


class Metrics:
    """The figures of one process; safe to call from several threads.

    Args:
        server: which of the figures there are.
        asks: give those that are asked for when they are read.
    """

    def __init__(self, server: Server, *asks: Ask) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        ours = [figure for figure in FIGURES if server in figure.servers]
        self._counters = {one.name: _counter(one, self._registry) for one in ours if one.kind == "counter"}
        self._histograms = {one.name: _histogram(one, self._registry) for one in ours if one.kind == "histogram"}
        build = Reading("upscale_build_info", 1, (__version__, platform.python_version(), server))
        self._asks: list[Ask] = [lambda: (build,), *asks]
        self._registry.register(_Asked([one for one in ours if one.kind == "gauge"], self._asks))
        ProcessCollector(registry=self._registry)

    def also_ask(self, ask: Ask) -> None:
        """Ask somebody else, too, when the figures are read."""
        self._asks.append(ask)

    # ------------------------------------------------------------------------------------------------ what is told

    def add(self, name: str, amount: float = 1, *labels: str) -> None:
        """Add to a counter of the table; with 0 its series is there from the start, so that its first step is seen."""
        counter = self._counters[name]
        (counter.labels(*labels) if labels else counter).inc(amount)

    def note(self, name: str, value: float, *labels: str) -> None:
        """Add a value to a histogram of the table."""
        histogram = self._histograms[name]
        (histogram.labels(*labels) if labels else histogram).observe(value)

    def request(self, route: str, method: str, code: int, seconds: float) -> None:
        """Count an answer; `route` is a template of ours and never a path."""
        method = method if method in _METHODS else OTHER_METHOD
        self.add("upscale_http_requests_total", 1, route, method, str(code))
        self.note("upscale_http_request_duration_seconds", seconds, route, method)

    def observe(self, event: Event) -> None:
        """Observe how jobs begin and end, as the store tells, and pictures for which memory did not suffice."""
        match event:
            case JobBegun(waited_seconds):
                self.note("upscale_queue_wait_seconds", waited_seconds)
            case JobEnded(outcome, task, seconds):
                self.add("upscale_jobs_total", 1, outcome, task or CUSTOM)
                if seconds is not None:
                    self.note("upscale_job_duration_seconds", seconds, outcome)
            case SteppedDown():
                self.add("upscale_oom_retries_total")
            case _:
                pass

    def working(self, work: Work) -> Observer:
        """Return what observes one run of a job's work."""
        self.note("upscale_batch_size", work.batch)
        return _Working(self, work)

    def picture(self, pixels: int, stages: Mapping[str, float]) -> None:
        """Count a picture that was made, of so many pixels; `stages` gives the seconds of each."""
        self.add("upscale_output_pixels_total", pixels)
        self.note("upscale_picture_duration_seconds", sum(stages.values()))
        for stage, seconds in stages.items():
            self.add("upscale_stage_seconds_total", seconds, stage)

    # ------------------------------------------------------------------------------------------------ what is read

    def families(self) -> list[Metric]:
        """Return every figure as it is now."""
        return [_without_birthdays(family) for family in self._registry.collect()]

    def text(self) -> bytes:
        """Return every figure as it is now, in Prometheus' text format."""
        return text_of(self.families())


def text_of(families: Iterable[Metric]) -> bytes:
    """Return figures in Prometheus' text format."""
    return generate_latest(_These(list(families)))


class _Working:
    """An observer of one job's work; its events come one after the other."""

    def __init__(self, metrics: Metrics, work: Work) -> None:
        self._metrics = metrics
        self._work = work
        self._phase = ""

    def __call__(self, event: Event) -> None:
        add = self._metrics.add
        match event:
            case PhaseStarted(phase):
                self._phase = phase
            case FramesDone(count) if self._phase == "upscale":  # those of the audit are looked at and not made
                add("upscale_frames_total", count, self._work.model, self._work.device)
                add("upscale_output_pixels_total", count * self._work.pixels)
            case SegmentDone(stage_seconds=stages):
                for stage, seconds in stages.items():
                    add("upscale_stage_seconds_total", seconds, stage.removesuffix("_seconds"))
            case SegmentReused():
                add("upscale_segments_resumed_total")
            case FrameRedone():
                add("upscale_frame_guard_retries_total")
            case SteppedDown():
                add("upscale_oom_retries_total")
            case _:
                pass


class _Asked(Collector):
    """The gauges: asked for at each reading."""

    def __init__(self, figures: list[Figure], asks: list[Ask]) -> None:
        self._figures = figures
        self._asks = asks

    def collect(self) -> Iterator[Metric]:
        """Yield those that could be found out."""
        families = {one.name: GaugeMetricFamily(one.name, one.about, labels=one.labels) for one in self._figures}
        for ask in self._asks:
            try:
                readings = list(ask())
            except Exception as err:  # noqa: BLE001 - who cannot tell costs its own figures and nobody else's
                structlog.get_logger().exception("figures_not_asked", detail=str(err))
                continue
            for reading in readings:
                families[reading.name].add_metric(reading.labels, reading.value)
        yield from (family for family in families.values() if family.samples)


class _These(Collector):
    """Families that are there already."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        """Return them."""
        return self._families


def _counter(figure: Figure, registry: CollectorRegistry) -> Counter:
    return Counter(figure.name, figure.about, figure.labels, registry=registry)


def _histogram(figure: Figure, registry: CollectorRegistry) -> Histogram:
    return Histogram(figure.name, figure.about, figure.labels, buckets=figure.buckets, registry=registry)


def _without_birthdays(family: Metric) -> Metric:
    """Leave out when each series began: nobody asks for it, and it would double the answer."""
    kept = Metric(family.name, family.documentation, family.type)
    kept.samples = [one for one in family.samples if not one.name.endswith("_created")]
    return kept
