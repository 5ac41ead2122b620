"""Counts for Prometheus, in a registry of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from avgate.apps.serve.jobs import ENDED, Figures
from avgate.apps.serve.live import Live

KIND = CONTENT_TYPE_LATEST
"""The content type of `Metrics.text`."""

_STATES = ("queued", "running", *ENDED)
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

_LIVE = {
    "streams": "Live streams that began",
    "images": "Images that came in live streams that have ended",
    "dropped": "Those of them that had no room",
    "skipped": "Those of the others in which no face was looked for",
    "results": "Results of live streams",
    "refused": "Live streams that ended with an error",
}
"""Names in the live streams' counts -> what they mean."""


class _Work(Collector):
    """Asks the store, the crew and the live streams how it stands, whenever somebody reads."""

    def __init__(self, count: Callable[[], Mapping[Any, int]], figures: Callable[[], Figures], live: Live):
        self._count, self._figures, self._live = count, figures, live
        self.unbegun = 0

    def collect(self) -> Iterator[Metric]:
        """The gauges and counters."""
        jobs = GaugeMetricFamily("avgate_jobs", "Jobs in each state", labels=["state"])
        counts, done = self._count(), self._figures()
        for state in _STATES:
            jobs.add_metric([state], counts.get(state, 0))
        ended = CounterMetricFamily("avgate_jobs_ended", "Jobs that ended since the server began", labels=["state"])
        for state in ENDED:
            ended.add_metric([state], done.ended.get(state, 0) + (self.unbegun if state == "cancelled" else 0))
        stages = CounterMetricFamily("avgate_stage_seconds", "Time spent in each stage of jobs", labels=["stage"])
        for stage, seconds in done.stages_s.items():
            stages.add_metric([stage], seconds)
        yield from (jobs, ended, stages)
        about = "Time that jobs waited before they were begun"
        yield SummaryMetricFamily("avgate_queue_seconds", about, done.begun, done.waited_s)
        yield GaugeMetricFamily("avgate_workers", "Worker processes", done.workers)
        yield GaugeMetricFamily("avgate_workers_ready", "Worker processes that have loaded everything", done.ready)
        yield CounterMetricFamily("avgate_workers_died", "Worker processes that died", done.died)
        yield CounterMetricFamily("avgate_recording_seconds", "Length of the recordings done", done.recording_s)
        if done.factor is not None:
            about = "Seconds of work per second of recording, a running mean"
            yield GaugeMetricFamily("avgate_real_time_factor", about, done.factor)
        yield GaugeMetricFamily("avgate_live_streams_open", "Live streams that are open", self._live.open)
        for name, about in _LIVE.items():
            yield CounterMetricFamily(f"avgate_live_{name}", about, getattr(self._live.counts, name))


class Metrics:
    """What the server did, as numbers that only grow, and what it does now.

    Args:
        count: gives the number of jobs in each state.
        figures: gives what the crew did.
        live: the live streams.
    """

    def __init__(self, count: Callable[[], Mapping[Any, int]], figures: Callable[[], Figures], live: Live):
        disable_created_metrics()
        self._registry = CollectorRegistry()
        self._work, self._lock = _Work(count, figures, live), threading.Lock()
        self._registry.register(self._work)
        made: dict[str, Any] = {"registry": self._registry}
        self._bytes = Counter("avgate_uploaded_bytes", "Bytes of recordings that came", **made)
        self._requests = Histogram("avgate_request_seconds", "Time per request", ["method", "route", "status"], **made)

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self._registry)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request of this route (its template, so that names and ids make no series of their own) has ended."""
        method = method if method in _METHODS else "other"
        self._requests.labels(method, route, str(status)).observe(seconds)

    def cancelled(self) -> None:
        """A job was cancelled that no worker had begun, so that the crew knows nothing of it."""
        with self._lock:
            self._work.unbegun += 1

    def uploaded(self, count: int) -> None:
        """So many bytes of a recording have come."""
        self._bytes.inc(count)
