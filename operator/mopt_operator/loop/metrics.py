"""Prometheus metrics: counted while working, or read from the store at each scrape."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

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
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from mopt_operator.cluster.cache import Store
from mopt_operator.config.settings import Settings
from mopt_operator.decide.job_figures import job_figures
from mopt_operator.objects import Job, Pod
from mopt_operator.version import product_version

from .call_metrics import CallMetrics
from .job_metrics import JobMetrics
from .queue import WorkQueue
from .resource_metrics import ResourceCollector
from .resync_metrics import ResyncMetrics
from .turns import Turns

_RECONCILE_BUCKETS = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0)
_LAG_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0)
_QUEUE_BUCKETS = (0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0)


class _StoreCollector(Collector):
    """How much the store holds and how far its watches are, as gauges."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock

    def collect(self) -> Iterator[GaugeMetricFamily]:
        objects = GaugeMetricFamily(
            "mopt_store_objects", "Objects that the operator holds in memory.", labels=("kind",)
        )
        for kind, known in self._store.kinds().items():
            objects.add_metric((kind,), len(known))
        yield objects
        yield GaugeMetricFamily(
            "mopt_store_bytes",
            "Bytes of the resources' spec and status in memory, compressed, as they rest there.",
            value=sum(resource.size for resource in self._store.resources),
        )
        yield from self._watches()
        yield from self._profiles()

    def _profiles(self) -> Iterator[GaugeMetricFamily]:
        valid = GaugeMetricFamily(
            "mopt_profile_valid", "1 where targets may use a profile.", labels=("profile",)
        )
        nodes = GaugeMetricFamily(
            "mopt_profile_nodes", "Nodes that fit a profile.", labels=("profile",)
        )
        for offer in sorted(self._store.offers, key=lambda offer: offer.name):
            valid.add_metric((offer.name,), float(not offer.refusal))
            if isinstance(count := offer.status.get("nodes"), int):
                nodes.add_metric((offer.name,), count)
        yield from (valid, nodes)

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


class _LeaseCollector(Collector):
    """What the Lease counts; nothing where there is no election."""

    def __init__(self, transitions: Callable[[], int | None]) -> None:
        self._transitions = transitions

    def collect(self) -> Iterator[CounterMetricFamily]:
        yield CounterMetricFamily(
            "mopt_lease_transitions",
            "Changes of the leader, as the Lease counts them.",
            value=self._transitions(),
        )


class Metrics:
    """All metrics of one operator process.

    Args:
        transitions: Returns how often the Lease has changed hands; None where that is not known.
        beside: What else is shown.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        store: Store,
        queue: WorkQueue,
        turns: Turns,
        calls: CallMetrics | None = None,
        leads: Callable[[], bool] = lambda: True,
        transitions: Callable[[], int | None] = lambda: None,
        beside: Iterable[Collector] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = CollectorRegistry()
        registry = self._registry
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        registry.register(_StoreCollector(store, clock))
        self._of_resources = ResourceCollector(store, leads)
        registry.register(self._of_resources)
        registry.register(_TurnsCollector(turns))
        registry.register(_LeaseCollector(transitions))
        for collector in beside:
            registry.register(collector)
        Info("mopt_build", "Version, and the image that Jobs run.", registry=registry).info(
            {"version": product_version(), "optimizer_image": settings.optimizer_image}
        )
        Gauge(
            "mopt_queue_depth", "Resources that wait for a worker.", registry=registry
        ).set_function(lambda: len(queue) if leads() else 0)  # A standby's only fills.
        Gauge("mopt_leader", "1 while this operator leads.", registry=registry).set_function(
            lambda: float(leads())
        )
        (calls or CallMetrics()).register(registry)
        self._jobs = JobMetrics(registry)
        self.resync = ResyncMetrics(registry)
        self._of_the_loop(registry, queue)

    def _of_the_loop(self, registry: CollectorRegistry, queue: WorkQueue) -> None:
        """Add what tells how the loop keeps up with its work."""
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
        queue.waited = Histogram(
            "mopt_queue_wait_seconds",
            "Time that a resource waited for a worker.",
            buckets=_QUEUE_BUCKETS,
            registry=registry,
        ).observe
        self._lag = Histogram(
            "mopt_event_loop_lag_seconds",
            "By how much the event loop was late, looked at once a second.",
            buckets=_LAG_BUCKETS,
            registry=registry,
        )
        self._tasks = Gauge(
            "mopt_event_loop_tasks", "Tasks of the event loop, counted with it.", registry=registry
        )

    def loop_turned(self, late: float) -> None:
        """Note by how many seconds the event loop was late; call it in the loop."""
        self._lag.observe(late)
        self._tasks.set(len(asyncio.all_tasks()))

    def job_ended(self, job: Job, pods: Iterable[Pod], now: datetime) -> None:
        """Count a finished Job; call it once for each."""
        self._jobs.ended(job.stage, job_figures(job, pods, now), job.profile)

    def job_deleted(self, job: Job) -> None:
        """Count a Job that is deleted before its outcome is recorded."""
        self._jobs.deleted(job.stage)

    async def page(self) -> bytes:
        """Return what `text` returns, without holding up the event loop."""
        await self._of_resources.refresh()
        return self.text()

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)
