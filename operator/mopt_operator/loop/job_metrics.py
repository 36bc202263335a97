"""Metrics of Jobs, counted once for each: when its outcome is recorded, or it is deleted before."""

from __future__ import annotations

from itertools import product

from prometheus_client import CollectorRegistry, Counter, Histogram

from mopt_api.jobs.plan import Stage
from mopt_operator.decide.job_figures import JobFigures

_BUCKETS = (5, 15, 30, 60, 120, 300, 600, 1800, 3600, 14400)


class JobMetrics:
    """How long Jobs waited and worked, how they ended, and why."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def seconds(name: str, text: str, *labels: str) -> Histogram:
            return Histogram(name, text, labels, buckets=_BUCKETS, registry=registry)

        def number(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=registry)

        self._took = seconds(
            "mopt_job_duration_seconds",
            "Time from a Job's start to its end, by stage and outcome.",
            *("stage", "outcome"),
        )
        # From the start: a rate sees no first failure of a series that begins with it.
        for stage, outcome in product(Stage, ("Complete", "Failed")):
            self._took.labels(stage.lower(), outcome)
        self._queued = seconds(
            "mopt_job_queue_seconds",
            "Time from a Job's creation to its start, which a queue may put off, by stage.",
            "stage",
        )
        self._starting = seconds(
            "mopt_job_startup_seconds",
            "Time from a Job's start to its container's: nodes, volumes and the image, by stage.",
            "stage",
        )
        self._ran = seconds(
            "mopt_job_run_seconds",
            "Time that a Job's containers ran, all attempts together, by stage and outcome.",
            *("stage", "outcome"),
        )
        self._failures = number(
            "mopt_job_failures", "Jobs that failed, by stage and reason.", *("stage", "reason")
        )
        self._retries = number(
            "mopt_job_retries",
            "Pods that failed and after which the Job went on, by stage and reason.",
            *("stage", "reason"),
        )
        self._measured = number(
            "mopt_measurements",
            "Measurements by profile, and by how they went: Stable, Unstable (others disturbed "
            "them), Served (from the store).",
            *("profile", "state"),
        )
        self._deleted = number(
            "mopt_jobs_deleted",
            "Jobs that the operator deleted before their outcome was recorded, by stage.",
            "stage",
        )

    def ended(self, stage: str, figures: JobFigures, profile: str = "") -> None:
        """Count a finished Job."""
        if figures.measured is not None:
            self._measured.labels(profile, figures.measured.value).inc()
        self._took.labels(stage, figures.outcome).observe(figures.took)
        self._queued.labels(stage).observe(figures.queued)
        if figures.starting is not None:
            self._starting.labels(stage).observe(figures.starting)
        if figures.ran is not None:
            self._ran.labels(stage, figures.outcome).observe(figures.ran)
        if figures.failure is not None:
            self._failures.labels(stage, figures.failure.value).inc()
        for reason in figures.retried:
            self._retries.labels(stage, reason.value).inc()

    def deleted(self, stage: str) -> None:
        """Count a Job whose outcome nobody will record."""
        self._deleted.labels(stage).inc()
