"""Metrics in Prometheus' terms: counted while working, or read from the store at each scrape."""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Callable, Iterator
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import islice

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from mopt_api.result import BASELINE

from ..cluster.cache import Store
from ..config.settings import Settings
from ..objects import Job, Raw, Resource
from .queue import WorkQueue

# Series by resource and target: beyond these many resources none are shown, which the gauge
# mopt_resources_without_series tells.
MAX_RESOURCES = 1000
_RECONCILE_BUCKETS = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0)
_JOB_BUCKETS = (5, 15, 30, 60, 120, 300, 600, 1800, 3600, 14400)
_BY_TARGET = ("namespace", "name", "target")


def installed_version() -> str:
    """Return mopt's version; `source` where it runs from a checkout that is not installed."""
    try:
        return version("mopt")
    except PackageNotFoundError:
        return "source"


def ready_condition(resource: Resource) -> tuple[str, str]:
    """Return status and reason of Ready; Unknown before the first look."""
    for condition in resource.status.get("conditions") or ():
        if condition["type"] == "Ready":
            return condition["status"], condition["reason"]
    return "Unknown", ""


def selected_form(target: Raw) -> Raw | None:
    """Return the selected variant of a target of status; None where nothing is selected."""
    selected = target.get("selected")
    if selected == BASELINE:
        baseline: Raw | None = target.get("baseline")
        return baseline
    return next((v for v in target.get("variants") or () if v["name"] == selected), None)


class _StoreCollector(Collector):
    """What the resources in the store say, as gauges."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock

    def collect(self) -> Iterator[GaugeMetricFamily]:
        resources = sorted(self._store.resources, key=lambda r: (r.namespace, r.name))
        states = GaugeMetricFamily(
            "mopt_resources",
            "ModelOptimizations by the status and reason of their Ready condition.",
            labels=("ready", "reason"),
        )
        for labels, count in sorted(Tally(map(ready_condition, resources)).items()):
            states.add_metric(labels, count)
        yield states
        yield from self._selected(resources)
        ages = GaugeMetricFamily(
            "mopt_watch_age_seconds",
            "Time since a watch last brought something; a quiet cluster brings nothing.",
            labels=("kind",),
        )
        for kind, known in self._store.kinds().items():
            ages.add_metric((kind,), self._clock() - known.touched)
        yield ages
        behind = GaugeMetricFamily(
            "mopt_watch_behind_seconds",
            "Time for which a watch has not shown what is known by other ways; 0 as it should be.",
            labels=("kind",),
        )
        for kind, known in self._store.kinds().items():
            unseen = known.awaited.oldest()
            behind.add_metric((kind,), self._clock() - unseen.since if unseen else 0.0)
        yield behind

    def _selected(self, resources: list[Resource]) -> Iterator[GaugeMetricFamily]:
        speedups = GaugeMetricFamily(
            "mopt_selected_speedup_ratio",
            "Speedup of the selected form over the model as it came.",
            labels=_BY_TARGET,
        )
        qualities = GaugeMetricFamily(
            "mopt_selected_quality",
            "Worst value of the selected form's quality, by metric.",
            labels=(*_BY_TARGET, "metric"),
        )
        for resource in islice(resources, MAX_RESOURCES):
            for target in resource.status.get("targets") or ():
                chosen = selected_form(target)
                if chosen is None:
                    continue
                labels = (resource.namespace, resource.name, target["name"])
                if (speedup := chosen.get("speedup")) is not None:
                    speedups.add_metric(labels, speedup)
                for quality in chosen.get("quality") or ():
                    qualities.add_metric((*labels, quality["metric"]), quality["worst"])
        yield speedups
        yield qualities
        yield GaugeMetricFamily(
            "mopt_resources_without_series",
            f"Resources beyond the first {MAX_RESOURCES}, whose selection is not shown.",
            value=max(len(resources) - MAX_RESOURCES, 0),
        )


class Metrics:
    """All metrics of one operator process."""

    def __init__(
        self,
        settings: Settings,
        *,
        store: Store,
        queue: WorkQueue,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = CollectorRegistry()
        registry = self._registry
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        registry.register(_StoreCollector(store, clock))
        Info("mopt_build", "Version, and the image that Jobs run.", registry=registry).info(
            {"version": installed_version(), "optimizer_image": settings.optimizer_image}
        )
        Gauge(
            "mopt_queue_depth", "Resources that wait for a worker.", registry=registry
        ).set_function(lambda: len(queue))
        self.leader = Gauge("mopt_leader", "1 while this operator works.", registry=registry)
        self.reconciles = Counter(
            "mopt_reconcile",
            "Looks at a resource, by result: done, conflict (a lost race), error or fault.",
            ("result",),
            registry=registry,
        )
        for result in ("done", "conflict", "error", "fault"):
            self.reconciles.labels(result)
        self.reconcile_seconds = Histogram(
            "mopt_reconcile_duration_seconds",
            "Time of a look at a resource.",
            buckets=_RECONCILE_BUCKETS,
            registry=registry,
        )
        self._jobs = Histogram(
            "mopt_job_duration_seconds",
            "Time from a Job's creation to its end, by stage and outcome.",
            ("stage", "outcome"),
            buckets=_JOB_BUCKETS,
            registry=registry,
        )
        self.missed = Counter(
            "mopt_watch_missed",
            "Resources around which a comparison with the cluster found what no watch had shown.",
            registry=registry,
        )

    def job_ended(self, job: Job, now: datetime) -> None:
        """Count a finished Job; call it once for each."""
        outcome = "Complete" if job.completed is not None else "Failed"
        seconds = ((job.ended or now) - job.created).total_seconds()
        self._jobs.labels(job.stage, outcome).observe(max(seconds, 0.0))

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)
