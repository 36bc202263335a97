"""Which trace a Job belongs to: derived from what its run is, and no part of what the Job is."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased
from pod_environment import environment

from mopt_api.enums import ModelFormat
from mopt_api.jobs.plan import PLAN_ADAPTER
from mopt_api.spec import ModelOptimizationSpec, Output, Target
from mopt_operator.config.settings import Settings, parse_settings
from mopt_operator.decide.jobs import build_job
from mopt_operator.decide.traces import ended_runs, job_trace, root_of
from mopt_operator.decide.work import (
    WorkItem,
    job_names,
    measure_work,
    measurement_key,
    prepare_work,
)
from mopt_operator.errors import SettingsError
from mopt_operator.objects import Resource, observe_job

RESOURCE = Resource("team", "sr", "uid-1", 3, "7", {}, {}, requested_at="2026-11-01")
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
SPEC = ModelOptimizationSpec.model_validate(
    {
        "model": {"uri": "s3://models/m.onnx", "sha256": "a" * 64, "format": ModelFormat.ONNX},
        "inputs": [{"name": "x", "shape": [1, 3, 8, 8]}],
    }
)
OUTPUT = Output(uri="s3://out/sr")


def settings(tracing: object = None, **fields: object) -> Settings:
    told = {"optimizerImage": "mopt/optimizer:1", "tracing": tracing, **fields}
    return parse_settings(json.dumps(told))


OFF, ON = settings(), settings({"endpoint": "http://collector.observability:4318"})


def works(chosen: Settings) -> list[WorkItem]:
    target, prepared = Target(name="a"), f"sha256:{'b' * 64}"
    measured = measure_work(SPEC, OUTPUT, chosen, target=target, prepared=prepared)
    return [prepare_work(SPEC, OUTPUT, chosen), measured]


def container(job: dict[str, Any]) -> dict[str, Any]:
    (found,) = job["spec"]["template"]["spec"]["containers"]
    return dict(found)


def test_a_trace_is_no_part_of_what_a_job_is() -> None:
    for plain, traced in zip(works(OFF), works(ON), strict=True):
        assert job_names(plain, RESOURCE, OFF) == job_names(traced, RESOURCE, ON)
    keys = [measurement_key(SPEC, OUTPUT, s, RESOURCE, target=Target(name="a")) for s in (OFF, ON)]
    assert keys[0] == keys[1]


def test_where_nothing_is_traced_a_job_says_nothing_of_it() -> None:
    for work in works(OFF):
        text = json.dumps(build_job(work, RESOURCE, OFF))
        assert "traceparent" not in text
        assert "OTEL" not in text


def test_what_a_traced_job_has_beside_the_others() -> None:
    for plain, traced in zip(works(OFF), works(ON), strict=True):
        without, job = build_job(plain, RESOURCE, OFF), build_job(traced, RESOURCE, ON)
        name = job["metadata"]["name"]
        header = job["metadata"]["annotations"].pop("mopt.dev/traceparent")
        env = container(job)["env"]
        assert env[-3:] == [
            {"name": "MOPT_POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector.observability:4318"},
            {
                "name": "OTEL_RESOURCE_ATTRIBUTES",
                "value": f"k8s.namespace.name=team,k8s.job.name={name},"
                "k8s.pod.name=$(MOPT_POD_NAME),k8s.node.name=$(MOPT_NODE_NAME),"
                "k8s.container.name=optimizer,mopt.name=sr,mopt.profile=default",
            },
        ]
        plan = PLAN_ADAPTER.validate_json(environment(env)["MOPT_PLAN"])
        assert plan.traceparent == header
        assert plan.without_trace() == plain.plan
        del env[-3:]
        (variable,) = (v for v in env if v["name"] == "MOPT_PLAN")
        variable["value"] = environment(container(without)["env"])["MOPT_PLAN"]
        assert job == without


def test_a_job_is_known_by_its_span() -> None:
    (prepare, measure) = (build_job(work, RESOURCE, ON) for work in works(ON))
    found = []
    for job in (prepare, measure):
        made = {"uid": "u", "resourceVersion": "1", "creationTimestamp": "2026-11-01T12:00:00Z"}
        found.append(observe_job(job | {"metadata": job["metadata"] | made}).trace)
    first, second = found
    assert first is not None
    assert second is not None
    assert first.trace_id == second.trace_id
    spans = {first.span_id, second.span_id, root_of(first.trace_id)}
    assert len(spans) == 3


@pytest.mark.parametrize("header", ["", "nonsense", f"00-{'0' * 32}-{'1' * 16}-01"])
def test_what_somebody_wrote_over_an_annotation_is_no_span(header: str) -> None:
    job = build_job(works(ON)[0], RESOURCE, ON)
    job["metadata"]["annotations"]["mopt.dev/traceparent"] = header
    job["metadata"] |= {"uid": "u", "resourceVersion": "1"}
    job["metadata"]["creationTimestamp"] = "2026-11-01T12:00:00Z"
    assert observe_job(job).trace is None


def trace_of(resource: Resource, chosen: Settings = ON) -> int:
    found = job_trace("job", "default", resource, chosen)
    assert found is not None
    return found.context.trace_id


def test_another_run_is_another_trace() -> None:
    other = settings({"endpoint": "http://elsewhere:4318", "samplingRatio": 0.5})
    assert trace_of(RESOURCE) == trace_of(RESOURCE, other)
    gpu = {"default": {}, "gpu": {"image": "mopt/gpu:1"}}
    on_gpu = replace(RESOURCE, spec={"targets": [{"name": "a", "profile": "gpu"}]})
    tracing = {"endpoint": "http://collector:4318"}
    runs = {
        trace_of(RESOURCE),
        trace_of(replace(RESOURCE, uid="uid-2")),
        trace_of(replace(RESOURCE, generation=4)),
        trace_of(replace(RESOURCE, requested_at=None)),
        trace_of(RESOURCE, settings(tracing, optimizerImage="mopt/optimizer:2")),
        trace_of(on_gpu, settings(tracing, profiles=gpu)),
    }
    assert len(runs) == 6


@pytest.mark.parametrize("ratio", [0, 0.001, 0.25, 1])
def test_runs_are_sampled_as_opentelemetry_samples(ratio: float) -> None:
    chosen = settings({"endpoint": "http://collector:4318", "samplingRatio": ratio})
    sampler, kept = TraceIdRatioBased(ratio), 0
    for number in range(2000):
        found = job_trace("job", "default", replace(RESOURCE, uid=str(number)), chosen)
        assert found is not None
        context = found.context
        decided = sampler.should_sample(None, context.trace_id, "run").decision
        assert context.sampled == (decided is Decision.RECORD_AND_SAMPLE)
        kept += context.sampled
    assert kept / 2000 == pytest.approx(ratio, abs=0.05)


def test_what_the_administrator_says_of_all_jobs_counts() -> None:
    own = [{"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://of-jobs:4318"}]
    chosen = settings({"endpoint": "http://collector:4318"}, jobs={"extraEnv": own})
    env = container(build_job(works(chosen)[0], RESOURCE, chosen))["env"]
    assert [v for v in env if v["name"] == "OTEL_EXPORTER_OTLP_ENDPOINT"] == own


@pytest.mark.parametrize(
    "endpoint", ["", "collector:4317", "grpc://collector", "http://a@b", "http://a b"]
)
def test_endpoints_are_urls_without_a_user(endpoint: str) -> None:
    with pytest.raises(SettingsError, match=r"tracing\.endpoint"):
        settings({"endpoint": endpoint})


def status(
    *conditions: tuple[str, str, str], generation: int = 3, waiting: bool = False
) -> dict[str, Any]:
    began = "2026-11-01T11:00:00Z"
    progress = {"stage": "Prepare", "targetsDone": 0, "targetsTotal": 1, "startTime": began}
    return {
        "observedGeneration": generation,
        "lastHandledReconcileAt": "2026-11-01",
        "conditions": [
            {
                "type": kind,
                "status": said,
                "reason": reason,
                "message": f"{reason}.",
                "lastTransitionTime": "2026-11-01T10:30:00Z",
            }
            for kind, said, reason in conditions
        ],
        "progress": progress | ({"waitingSince": "2026-11-01T11:30:00Z"} if waiting else {}),
    }


AT_WORK = [("Ready", "Unknown", "Preparing"), ("Reconciling", "True", "Preparing")]
READY = [("Ready", "True", "Optimized")]
FAILED = [("Ready", "False", "ExportFailed"), ("Stalled", "True", "ExportFailed")]


def test_a_run_ends_with_its_verdict() -> None:
    working = replace(RESOURCE, status=status(*AT_WORK))
    for after in (READY, FAILED):
        (end,) = ended_runs(working, status(*after), ON, NOW)
        assert end.ready == (after[0][1], after[0][2], f"{after[0][2]}.")
        assert end.start == NOW - timedelta(hours=1.5)
        trace = trace_of(RESOURCE)
        assert (end.context.trace_id, end.context.span_id) == (trace, root_of(trace))
        assert ended_runs(working, status(*after), OFF, NOW) == []


def test_a_run_that_goes_on_or_has_ended_does_not_end() -> None:
    working = replace(RESOURCE, status=status(*AT_WORK))
    assert ended_runs(working, status(*AT_WORK), ON, NOW) == []
    assert ended_runs(replace(RESOURCE, status=status(*READY)), status(*READY), ON, NOW) == []
    assert ended_runs(RESOURCE, status(*AT_WORK), ON, NOW) == []


def test_a_run_that_waits_too_long_has_not_ended() -> None:
    working = replace(RESOURCE, status=status(*AT_WORK))
    late = status(("Ready", "False", "Unschedulable"), waiting=True)
    assert ended_runs(working, late, ON, NOW) == []
    waiting = replace(RESOURCE, status=late)
    assert ended_runs(waiting, status(*AT_WORK), ON, NOW) == []
    (end,) = ended_runs(waiting, status(*READY), ON, NOW)
    assert end.start == NOW - timedelta(hours=1)


def test_a_run_ends_where_another_one_begins() -> None:
    edited = replace(RESOURCE, generation=4, status=status(*AT_WORK))
    (end,) = ended_runs(edited, status(*AT_WORK, generation=4), ON, NOW)
    assert (end.ready, end.generation) == (None, 3)
    assert end.context.trace_id == trace_of(RESOURCE)


def test_a_run_without_jobs_ends_as_it_begins() -> None:
    """It is the parent of what is published then."""
    for before in (READY, AT_WORK):
        edited = replace(RESOURCE, generation=4, status=status(*before))
        *_, end = ended_runs(edited, status(*READY, generation=4), ON, NOW)
        assert (end.generation, end.start) == (4, NOW)
        assert end.context.trace_id == trace_of(edited)
