"""The operator's spans: one for each run and one for each of its Jobs, when they have ended.

Imported only where traces are on, and with it OpenTelemetry. A thread of its SDK exports: nothing
here waits for the collector.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping
from datetime import datetime

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource as About
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from mopt_api.jobs.traceparent import TraceContext
from mopt_api.text import one_line
from mopt_operator.config.settings import Settings
from mopt_operator.config.tracing import Tracing
from mopt_operator.decide.job_figures import JobFigures
from mopt_operator.decide.traces import RunEnd, ended_runs, root_of
from mopt_operator.objects import Job, Raw, Resource
from mopt_operator.version import product_version

logger = logging.getLogger(__name__)

# How long the end of the process waits for spans that are not exported yet.
FLUSH_SECONDS = 5.0
# Between two warnings that a collector does not take them.
_QUIET_SECONDS = 600.0
_MAX_TEXT = 1024
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

Facts = Mapping[str, str | float]
Fault = tuple[str, str]
"""A reason, and a message for people."""


class _Seldom(logging.Handler):
    """Passes on what the SDK complains of, now and then: it does so for each export."""

    _quiet_until = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        if (now := time.monotonic()) >= self._quiet_until:
            self._quiet_until = now + _QUIET_SECONDS
            said = one_line(record.getMessage(), _MAX_TEXT)
            logger.warning("The collector of traces does not take them: %s", said)


class _KnownIds(RandomIdGenerator):
    """Gives the next span the ids that it is known by already."""

    def __init__(self) -> None:
        self.next = TraceContext(1, 1, sampled=True)

    def generate_trace_id(self) -> int:
        return self.next.trace_id

    def generate_span_id(self) -> int:
        return self.next.span_id


class Traces:
    """Makes the spans of runs and Jobs.

    Variables that OpenTelemetry knows, such as headers for the collector, are taken from the
    environment.
    """

    def __init__(self, settings: Settings, tracing: Tracing) -> None:
        self._settings = settings
        complaints = logging.getLogger("opentelemetry")
        complaints.handlers[:] = [_Seldom(logging.WARNING)]
        complaints.propagate = False
        self._ids = _KnownIds()
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,  # What is not sampled does not come so far.
            resource=About.create(
                {
                    "service.name": os.environ.get("OTEL_SERVICE_NAME", "mopt-operator"),
                    "service.version": product_version(),
                }
            ),
            shutdown_on_exit=False,
            id_generator=self._ids,
        )
        self._provider.add_span_processor(BatchSpanProcessor(_exporter(tracing)))
        self._tracer = self._provider.get_tracer("mopt")

    def use(self, settings: Settings) -> None:
        """Go by other settings from now on."""
        self._settings = settings

    def status_written(self, resource: Resource, status: Raw, now: datetime) -> None:
        """Make the spans of the runs that a new status ends.

        Args:
            resource: As it was, with the status that it had.
        """
        for run in ended_runs(resource, status, self._settings, now):
            self._make_run(resource, run, now)

    def job_ended(self, resource: Resource, job: Job, figures: JobFigures, now: datetime) -> None:
        """Make the span of a finished Job; call it once for each."""
        facts: dict[str, str | float] = {
            "mopt.job.queued_seconds": figures.queued,
            "mopt.job.retries": len(figures.retried),
        }
        if figures.starting is not None:
            facts["mopt.job.starting_seconds"] = figures.starting
        fault = (figures.failure.value, (job.failed or ("", ""))[1]) if figures.failure else None
        self._make_job(resource, job, job.ended or now, facts, fault)

    def job_deleted(self, resource: Resource, job: Job, now: datetime) -> None:
        """Make the span of a Job that is deleted before its outcome is recorded."""
        self._make_job(resource, job, now, {"mopt.reason": "Deleted"})

    def stop(self) -> None:
        """Export what is left; give up after FLUSH_SECONDS."""
        # The SDK's own shutdown may take as long as the collector likes.
        flush = threading.Thread(target=self._provider.shutdown, daemon=True)
        flush.start()
        flush.join(FLUSH_SECONDS)

    def _make_run(self, resource: Resource, run: RunEnd, now: datetime) -> None:
        facts: dict[str, str | float] = {
            "mopt.generation": run.generation,
            "mopt.reason": run.ready.reason if run.ready else "Replaced",
        }
        fault = None
        if run.ready and run.ready.status != "True":
            fault = run.ready.reason, run.ready.message
        told = _about(resource) | facts
        self._make(run.context, "ModelOptimization", (run.start, now), told, fault)

    def _make_job(
        self,
        resource: Resource,
        job: Job,
        ended: datetime,
        facts: Facts,
        fault: Fault | None = None,
    ) -> None:
        if job.trace is None:
            return
        own = {"k8s.job.name": job.name, "k8s.job.uid": job.uid, "mopt.stage": job.stage}
        own["mopt.profile"] = job.profile
        known = trace.SpanContext(
            job.trace.trace_id,
            root_of(job.trace.trace_id),
            is_remote=False,
            trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED),
        )
        run = trace.set_span_in_context(trace.NonRecordingSpan(known), Context())
        told = {**_about(resource), **own, **facts}
        self._make(job.trace, f"Job {job.stage}", (job.created, ended), told, fault, run)

    def _make(
        self,
        context: TraceContext,
        name: str,
        times: tuple[datetime, datetime],
        facts: Facts,
        fault: Fault | None = None,
        parent: Context | None = None,
    ) -> None:
        if not context.sampled:
            return
        start, end = times
        self._ids.next = context
        span = self._tracer.start_span(
            name, parent or Context(), attributes=facts, start_time=_nanoseconds(start)
        )
        if fault is not None:
            span.set_attribute("error.type", fault[0])
            span.set_status(trace.StatusCode.ERROR, one_line(fault[1], _MAX_TEXT))
        span.end(_nanoseconds(max(start, end)))


def _exporter(tracing: Tracing) -> OTLPSpanExporter:
    """Return what sends spans to the collector; where the environment names one, to that."""
    if any(name in os.environ for name in _ENDPOINTS):
        return OTLPSpanExporter()
    return OTLPSpanExporter(f"{tracing.endpoint.rstrip('/')}/v1/traces")


def _about(resource: Resource) -> dict[str, str | float]:
    return {
        "k8s.namespace.name": resource.namespace,
        "mopt.name": resource.name,
        "mopt.uid": resource.uid,
    }


def _nanoseconds(time: datetime) -> int:
    return int(time.timestamp() * 1e9)
