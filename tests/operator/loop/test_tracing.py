"""The operator's spans, at a collector: a whole life, restarts, and what does not take them."""

from __future__ import annotations

import logging
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from operator_simulation import Simulation
from pod_environment import environment
from small_lives import TWO_TARGETS
from trace_collector import Collector, collecting

from mopt_api.jobs.plan import PLAN_ADAPTER
from mopt_api.jobs.traceparent import TraceContext, trace_context
from mopt_operator.config.settings import Settings
from mopt_operator.config.tracing import Tracing
from mopt_operator.loop import tracing as edge
from mopt_operator.loop.tracing import Traces

Start = Callable[..., Simulation]


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as server:
        yield server


@pytest.fixture
def start(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Return what starts an operator whose spans go to the collector."""
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)

    def start(spec: dict[str, Any] = TWO_TARGETS, **told: object) -> Simulation:
        tracing = Tracing.model_validate({"endpoint": collector.endpoint, **told})
        settings = Settings(optimizer_image="x", tracing=tracing)
        return Simulation(spec, settings, traces=Traces(settings, tracing))

    return start


def finish(simulation: Simulation) -> None:
    """Export what there is."""
    assert simulation.traces is not None
    simulation.traces.stop()


def contexts(simulation: Simulation) -> list[TraceContext]:
    """Return the span that each Job's plan names."""
    found = []
    for job in simulation.objects["jobs"].values():
        (container,) = job["spec"]["template"]["spec"]["containers"]
        plan = PLAN_ADAPTER.validate_json(environment(container["env"])["MOPT_PLAN"])
        context = trace_context(plan.traceparent)
        assert context is not None
        assert job["metadata"]["annotations"]["mopt.dev/traceparent"] == plan.traceparent
        found.append(context)
    return found


def test_a_run_is_one_trace_of_its_jobs(start: Start, collector: Collector) -> None:
    simulation = start()
    simulation.run_to_the_end()
    finish(simulation)
    assert collector.tree("") == {
        "ModelOptimization": {"Job prepare": {}, "Job measure": {}},
    }
    assert [span.name for span in collector.spans].count("Job measure") == 2
    jobs = contexts(simulation)
    (trace,) = {context.trace_id for context in jobs}
    assert {span.trace_id for span in collector.spans} == {f"{trace:032x}"}
    # What a Job's process does is attached to the span that the operator makes of the Job.
    known = {span.span_id for span in collector.spans if span.name.startswith("Job ")}
    assert known == {f"{context.span_id:016x}" for context in jobs}
    run, prepare = collector.the("ModelOptimization"), collector.the("Job prepare")
    assert (run.about["mopt.reason"], run.failed) == ("Optimized", False)
    assert (run.about["k8s.namespace.name"], run.about["mopt.name"]) == ("team", "sr")
    assert (prepare.about["service.name"], prepare.about["mopt.stage"]) == (
        "mopt-operator",
        "prepare",
    )


def test_restarts_change_no_parent_and_double_nothing(start: Start, collector: Collector) -> None:
    calm = start()
    calm.run_to_the_end()
    restless = start()
    for _ in range(100):
        restless.restart()
        restless.reconcile()
        for job in restless.unfinished():
            restless.finish(job)
    assert contexts(calm) == contexts(restless)
    for simulation in (calm, restless):
        finish(simulation)
    names = Counter(span.name for span in collector.spans)
    assert names == {"Job measure": 2 * 2, "Job prepare": 2 * 1, "ModelOptimization": 2 * 1}


def test_another_run_is_another_trace(start: Start, collector: Collector) -> None:
    simulation = start()
    simulation.run_to_the_end()
    simulation.request("again")
    simulation.run_to_the_end()
    finish(simulation)
    roots = [span for span in collector.spans if span.name == "ModelOptimization"]
    assert len({root.trace_id for root in roots}) == len(roots) == 2


def test_a_run_that_another_one_replaces_ends_with_it(start: Start, collector: Collector) -> None:
    simulation = start()
    simulation.work_off()
    simulation.request("again")
    simulation.run_to_the_end()
    finish(simulation)
    roots = {s.about["mopt.reason"]: s for s in collector.spans if s.name == "ModelOptimization"}
    assert set(roots) == {"Replaced", "Optimized"}
    assert collector.tree(roots["Replaced"].span_id) == {"Job prepare": {}}
    (deleted,) = [s for s in collector.spans if s.about.get("mopt.reason") == "Deleted"]
    assert deleted.trace_id == roots["Replaced"].trace_id
    assert not roots["Replaced"].failed


def test_what_fails_has_its_reason(start: Start, collector: Collector) -> None:
    simulation = start({**TWO_TARGETS, "execution": {"backoffLimit": 0}})
    simulation.work_off()
    (job,) = simulation.unfinished()
    simulation.finish(job, code=137)
    simulation.run_to_the_end()
    finish(simulation)
    run, prepare = collector.the("ModelOptimization"), collector.the("Job prepare")
    assert run.failed
    assert prepare.failed
    assert run.about["error.type"] == run.about["mopt.reason"] == prepare.about["error.type"]
    assert run.message


def test_what_is_not_sampled_is_not_sent(start: Start, collector: Collector) -> None:
    simulation = start(samplingRatio=0)
    simulation.run_to_the_end()
    finish(simulation)
    assert collector.spans == []
    assert {context.sampled for context in contexts(simulation)} == {False}


def test_a_collector_that_says_nothing_holds_up_neither_work_nor_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(edge, "FLUSH_SECONDS", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        tracing = Tracing(endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}")
        settings = Settings(optimizer_image="x", tracing=tracing)
        simulation = Simulation(TWO_TARGETS, settings, traces=Traces(settings, tracing))
        simulation.run_to_the_end()
        begun = time.monotonic()
        finish(simulation)
        assert time.monotonic() - begun < 5
    assert simulation.verdict() == _untraced().verdict()


def test_complaints_of_the_sdk_are_passed_on_seldom(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    finish(start())
    for _ in range(3):
        logging.getLogger("opentelemetry.exporter").error("no route\nto the collector")
    (record,) = caplog.records
    assert record.name == "mopt_operator.loop.tracing"
    assert "does not take them: no route" in record.getMessage()


def _untraced() -> Simulation:
    simulation = Simulation(TWO_TARGETS, Settings(optimizer_image="x"))
    simulation.run_to_the_end()
    return simulation


def test_jobs_have_the_same_names_with_traces_and_without(start: Start) -> None:
    simulation, plain = start(), _untraced()
    simulation.run_to_the_end()
    assert simulation.verdict() == plain.verdict()
    assert sorted(simulation.objects["jobs"]) == sorted(plain.objects["jobs"])
    for job in plain.objects["jobs"].values():
        assert "traceparent" not in str(job)
        assert "OTEL" not in str(job)
    finish(simulation)
