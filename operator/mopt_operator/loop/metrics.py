"""Prometheus metrics: counted while working, or read from the store at each scrape."""

from __future__ import annotations

import asyncio
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

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
from pydantic import TypeAdapter, ValidationError

from mopt_api.figures import QualityResult
from mopt_api.spec import QualityGate
from mopt_operator.cluster.cache import Store
from mopt_operator.cluster.packed import PackedResource
from mopt_operator.config.settings import Settings
from mopt_operator.decide.request import read_status
from mopt_operator.decide.status import judged_values
from mopt_operator.objects import Job, Json
from mopt_operator.version import product_version

from .queue import WorkQueue
from .turns import Turns

# Resources with series of their own; the gauge mopt_resources_without_series counts the others.
MAX_RESOURCES = 1000
_RECONCILE_BUCKETS = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0)
_JOB_BUCKETS = (5, 15, 30, 60, 120, 300, 600, 1800, 3600, 14400)
_LAG_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0)
_BY_TARGET = ("namespace", "name", "target")
_OF_QUALITY = ("metric", "output", "slice", "aggregate")
_GATES = TypeAdapter(list[QualityGate])


class _Selected(NamedTuple):
    """The figures of the form that is selected for a target."""

    target: str
    speedup: float | None
    quality: tuple[tuple[tuple[str, ...], float], ...]  # values of _OF_QUALITY


def _selected(resource: PackedResource) -> tuple[_Selected, ...]:
    """Return the figures of each target for which a form is selected."""
    whole = resource.unpack()
    gates, status = _gates(whole.spec), read_status(whole).status
    return tuple(
        _Selected(
            target.name,
            chosen.speedup,
            _values(chosen.quality, gates),
        )
        for target in status.targets
        if (chosen := target.winner) is not None
    )


def _values(
    quality: Sequence[QualityResult], gates: Sequence[QualityGate]
) -> tuple[tuple[tuple[str, ...], float], ...]:
    return tuple(
        ((found.metric.value, found.output or "", found.slice or "", aggregate.value), value)
        for found, aggregate, value in judged_values(quality, gates)
    )


def _gates(spec: Json) -> list[QualityGate]:
    """Return the gates of a spec; none where it is not valid now."""
    try:
        return _GATES.validate_python(spec.get("quality") or [])
    except ValidationError:
        return []


class _StoreCollector(Collector):
    """What the resources in the store say, as gauges."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        # By UID: the resource's version and its figures. Parsing every status at each scrape
        # would hold up the event loop.
        self._known: dict[str, tuple[str, tuple[_Selected, ...]]] = {}

    def collect(self) -> Iterator[GaugeMetricFamily]:
        resources = self._resources()
        states = GaugeMetricFamily(
            "mopt_resources",
            "ModelOptimizations by the status and reason of their Ready condition.",
            labels=("ready", "reason"),
        )
        counts = Tally(resource.ready for resource in resources)
        for labels, count in sorted(counts.items()):
            states.add_metric(labels, count)
        yield states
        yield from self._selections(resources)
        yield from self._watches()

    def _watches(self) -> Iterator[GaugeMetricFamily]:
        ages = GaugeMetricFamily(
            "mopt_watch_age_seconds",
            "Time since a watch last showed something; in a quiet cluster it shows nothing.",
            labels=("kind",),
        )
        for kind, known in self._store.kinds().items():
            ages.add_metric((kind,), self._clock() - known.touched)
        yield ages
        behind = GaugeMetricFamily(
            "mopt_watch_behind_seconds",
            "Time for which a watch has not shown what is known from elsewhere; normally 0.",
            labels=("kind",),
        )
        for kind, known in self._store.kinds().items():
            unseen = known.awaited.oldest()
            behind.add_metric((kind,), self._clock() - unseen.since if unseen else 0.0)
        yield behind

    async def refresh(self) -> None:
        """Parse the statuses that are new to the next scrape, and let others work in between."""
        for resource in self._resources()[:MAX_RESOURCES]:
            known = self._known.get(resource.uid)
            if known is None or known[0] != resource.version:
                self._known[resource.uid] = (resource.version, _selected(resource))
                await asyncio.sleep(0)

    def _resources(self) -> list[PackedResource]:
        return sorted(self._store.resources, key=lambda r: (r.namespace, r.name))

    def _selections(self, resources: list[PackedResource]) -> Iterator[GaugeMetricFamily]:
        speedups = GaugeMetricFamily(
            "mopt_selected_speedup_ratio",
            "Speedup of the selected form over the source model.",
            labels=_BY_TARGET,
        )
        qualities = GaugeMetricFamily(
            "mopt_selected_quality",
            "The selected form's quality: the value that its gate judges, else the worst.",
            labels=(*_BY_TARGET, *_OF_QUALITY),
        )
        shown = resources[:MAX_RESOURCES]
        self._known = {r.uid: (r.version, self._figures(r)) for r in shown}
        for resource in shown:
            for selected in self._known[resource.uid][1]:
                labels = (resource.namespace, resource.name, selected.target)
                if selected.speedup is not None:
                    speedups.add_metric(labels, selected.speedup)
                for of_quality, value in selected.quality:
                    qualities.add_metric((*labels, *of_quality), value)
        yield speedups
        yield qualities
        yield GaugeMetricFamily(
            "mopt_resources_without_series",
            f"Resources beyond the first {MAX_RESOURCES}, whose selection is not shown.",
            value=max(len(resources) - MAX_RESOURCES, 0),
        )

    def _figures(self, resource: PackedResource) -> tuple[_Selected, ...]:
        version, figures = self._known.get(resource.uid, ("", ()))
        return figures if version == resource.version else _selected(resource)


class _TurnsCollector(Collector):
    """What has to wait, as gauges."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns

    def collect(self) -> Iterator[GaugeMetricFamily]:
        waiting = GaugeMetricFamily(
            "mopt_jobs_waiting", "Jobs that wait for a slot, by profile.", labels=("profile",)
        )
        for profile, count in sorted(self._turns.slots.waiting().items()):
            waiting.add_metric((profile,), count)
        yield waiting
        yield GaugeMetricFamily(
            "mopt_namespaces_refused",
            "Namespaces in which the API server refuses Jobs.",
            value=len(self._turns.refusals),
        )


def _job_times(registry: CollectorRegistry) -> tuple[Histogram, Histogram]:
    """Return how long Jobs take, and how long they wait before."""
    worked = Histogram(
        "mopt_job_duration_seconds",
        "Time from a Job's start to its end, by stage and outcome.",
        ("stage", "outcome"),
        buckets=_JOB_BUCKETS,
        registry=registry,
    )
    queued = Histogram(
        "mopt_job_queue_seconds",
        "Time from a Job's creation to its start, which a queue may put off, by stage.",
        ("stage",),
        buckets=_JOB_BUCKETS,
        registry=registry,
    )
    return worked, queued


class Metrics:
    """All metrics of one operator process."""

    def __init__(
        self,
        settings: Settings,
        *,
        store: Store,
        queue: WorkQueue,
        turns: Turns,
        leads: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = CollectorRegistry()
        registry = self._registry
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._of_store = _StoreCollector(store, clock)
        registry.register(self._of_store)
        registry.register(_TurnsCollector(turns))
        Info("mopt_build", "Version, and the image that Jobs run.", registry=registry).info(
            {"version": product_version(), "optimizer_image": settings.optimizer_image}
        )
        Gauge(
            "mopt_queue_depth", "Resources that wait for a worker.", registry=registry
        ).set_function(lambda: len(queue) if leads() else 0)  # A standby's only fills.
        Gauge("mopt_leader", "1 while this operator leads.", registry=registry).set_function(
            lambda: float(leads())
        )
        self.reconciles = Counter(
            "mopt_reconcile",
            "Reconciliations by result: done, conflict (a lost race), error or fault (a bug).",
            ("result",),
            registry=registry,
        )
        for result in ("done", "conflict", "error", "fault"):
            self.reconciles.labels(result)
        self.reconcile_seconds = Histogram(
            "mopt_reconcile_duration_seconds",
            "Duration of a reconciliation.",
            buckets=_RECONCILE_BUCKETS,
            registry=registry,
        )
        self._jobs, self._queued = _job_times(registry)
        self._lag = Histogram(
            "mopt_event_loop_lag_seconds",
            "By how much the event loop was late, looked at once a second.",
            buckets=_LAG_BUCKETS,
            registry=registry,
        )
        self._tasks = Gauge(
            "mopt_event_loop_tasks", "Tasks of the event loop, counted with it.", registry=registry
        )
        self.missed = Counter(
            "mopt_watch_missed",
            "Resources for which a comparison with the cluster found what no watch had shown.",
            registry=registry,
        )

    def loop_turned(self, late: float) -> None:
        """Note by how many seconds the event loop was late; call it in the loop."""
        self._lag.observe(late)
        self._tasks.set(len(asyncio.all_tasks()))

    def job_ended(self, job: Job, now: datetime) -> None:
        """Count a finished Job; call it once for each."""
        outcome = "Complete" if job.completed is not None else "Failed"
        started = job.started or job.created
        worked = ((job.ended or now) - started).total_seconds()
        self._jobs.labels(job.stage, outcome).observe(max(worked, 0.0))
        self._queued.labels(job.stage).observe(max((started - job.created).total_seconds(), 0.0))

    async def page(self) -> bytes:
        """Return what `text` returns, without holding up the event loop."""
        await self._of_store.refresh()
        return self.text()

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)
