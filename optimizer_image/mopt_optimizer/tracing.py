"""A Job's spans: of its stage, and of the steps that its log tells of.

Imported only where the plan names a span to belong to, and with it OpenTelemetry. Children have no
part in it: what they do comes by their progress.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from mopt_api.jobs.plan import JobPlan
from mopt_api.jobs.traceparent import TraceContext
from mopt_api.reasons import Reason
from mopt_api.text import one_line

from .deadline import TimeIsUp
from .machine.versions import product_version
from .progress import BEGUN, DONE, FAILED, STATE, Log
from .sandbox import report_of

# How long a stage's end waits for spans that are not exported yet.
FLUSH_SECONDS = 5.0
# Where the stage ends itself shortly before its deadline.
_LATE_FLUSH_SECONDS = 0.5
# What a model's process may have said of itself.
_MAX_STEPS, _MAX_DEPTH, _MAX_TEXT = 1000, 16, 1024


@contextmanager
def traced(
    plan: JobPlan, context: TraceContext, log: Log, provider: TracerProvider
) -> Iterator[Log]:
    """Make a span of the block, below another one; yield the log that makes those of its steps.

    A collector that cannot be reached costs the block nothing, and its end FLUSH_SECONDS.

    Args:
        context: The span above.
        log: Gets each line too.
        provider: Is shut down.
    """
    tracer = provider.get_tracer("mopt")
    flags = trace.TraceFlags(trace.TraceFlags.SAMPLED if context.sampled else 0)
    known = trace.SpanContext(context.trace_id, context.span_id, is_remote=True, trace_flags=flags)
    above = trace.set_span_in_context(trace.NonRecordingSpan(known), Context())
    about = {"mopt.stage": plan.stage.lower()}
    if target := getattr(plan, "target", None):
        about["mopt.target"] = target
    steps = _Steps(tracer, tracer.start_span(plan.stage.lower(), above, attributes=about), log)
    patience = FLUSH_SECONDS
    try:
        yield steps
    except BaseException as error:
        late = isinstance(error, TimeIsUp)
        patience = _LATE_FLUSH_SECONDS if late else patience
        steps.fail(*_fault(error))
        raise
    finally:
        steps.end()
        # The SDK's own shutdown may take as long as the collector likes.
        flush = threading.Thread(target=provider.shutdown, daemon=True)
        flush.start()
        flush.join(patience)


def new_provider() -> TracerProvider:
    """Return what exports spans, as variables of the environment say that OpenTelemetry knows."""
    complaints = logging.getLogger("opentelemetry")
    complaints.handlers[:] = [_Once(logging.WARNING)]
    complaints.propagate = False
    about = Resource.create(
        {
            "service.name": os.environ.get("OTEL_SERVICE_NAME", "mopt-optimizer"),
            "service.version": product_version(),
        }
    )
    # Sampled as its parent is.
    provider = TracerProvider(resource=about, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def _fault(error: BaseException) -> tuple[str, str]:
    """Return the reason of an error, and its message."""
    if isinstance(error, TimeIsUp):
        return Reason.DEADLINE_EXCEEDED.value, "the deadline was near"
    if not isinstance(error, Exception):
        return type(error).__name__, "it was told to end"
    report = report_of(error)
    return report.reason.value, report.message


class _Once(logging.Handler):
    """Passes on the first that the SDK complains of: it does so for each export."""

    _said = False

    def emit(self, record: logging.LogRecord) -> None:
        if not self._said:
            self._said = True
            said = one_line(record.getMessage(), _MAX_TEXT)
            print(f"the collector of traces does not take them: {said}", file=sys.stderr)


class _Steps:
    """A log that makes a span of each step that begins and ends in it."""

    def __init__(self, tracer: trace.Tracer, stage: trace.Span, log: Log) -> None:
        self._tracer = tracer
        self._log = log
        # The stage, and the steps that have begun and not ended, one within the other.
        self._open = [("", stage)]
        self._begun = 0

    def __call__(self, step: str, message: str, **fields: object) -> None:
        state = fields.get(STATE)
        if state == BEGUN:
            self._begin(step, message, fields)
        elif state in (DONE, FAILED):
            self._end(step, failed=state == FAILED)
        elif "reason" in fields:
            self._open[-1][1].add_event(one_line(message, _MAX_TEXT), _facts(fields))
        self._log(step, message, **fields)

    def fail(self, reason: str, message: str) -> None:
        """Say why the stage failed, and the steps that it was at."""
        for _, span in self._open:
            span.set_attribute("error.type", reason)
            span.set_status(trace.StatusCode.ERROR, one_line(message, _MAX_TEXT))

    def end(self) -> None:
        """End what is left."""
        while self._open:
            self._open.pop()[1].end()

    def _begin(self, step: str, message: str, fields: Mapping[str, object]) -> None:
        if self._begun == _MAX_STEPS or len(self._open) == _MAX_DEPTH:
            return
        self._begun += 1
        within = trace.set_span_in_context(self._open[-1][1], Context())
        about = {"mopt.step": step, "mopt.message": one_line(message, _MAX_TEXT), **_facts(fields)}
        self._open.append((step, self._tracer.start_span(step, within, attributes=about)))

    def _end(self, step: str, *, failed: bool) -> None:
        """End a step, and those within it whose process ended before they did."""
        if not any(name == step for name, _ in self._open[1:]):
            return
        while True:
            name, span = self._open.pop()
            if failed or name != step:
                span.set_status(trace.StatusCode.ERROR, "failed")
            span.end()
            if name == step:
                return


def _facts(fields: Mapping[str, object]) -> dict[str, str | int | float | bool]:
    """Return figures beside a log line as attributes."""
    kept = {name: value for name, value in fields.items() if name != STATE}
    return {
        f"mopt.{name}": one_line(value, _MAX_TEXT) if isinstance(value, str) else value
        for name, value in kept.items()
        if isinstance(value, str | int | float | bool)
    }
