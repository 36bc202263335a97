"""The traces of a real operator: Jobs that a real API server took, and spans at a collector."""

from __future__ import annotations

import json

import pytest
from job_messages import Messages
from light_cluster import MakeOperator, MakeResource
from pod_environment import environment
from trace_collector import collecting

pytestmark = pytest.mark.cluster


def test_a_run_is_traced_from_the_operator_to_its_jobs(
    make_operator: MakeOperator, make_resource: MakeResource, namespace: str, messages: Messages
) -> None:
    with collecting() as collector:
        operator = make_operator(
            watchNamespaces=[namespace], tracing={"endpoint": collector.endpoint}
        )
        operator.start()
        resource = make_resource(namespace=namespace)
        resource.run(messages)
        jobs = resource.wait_for(
            lambda: (
                (jobs := resource.jobs())
                and all("ttlSecondsAfterFinished" in job["spec"] for job in jobs)
                and jobs
            )
        )
        # What is left is exported at its end.
        assert operator.stop() == 0
    assert collector.tree("") == {"ModelOptimization": {"Job prepare": {}, "Job measure": {}}}
    run = collector.the("ModelOptimization")
    assert (run.about["k8s.namespace.name"], run.about["mopt.name"]) == (namespace, resource.name)
    assert (run.about["mopt.reason"], run.failed) == ("Optimized", False)
    spans = {span.about.get("k8s.job.name"): span for span in collector.spans}
    for job in jobs:
        (container,) = job["spec"]["template"]["spec"]["containers"]
        found = environment(container["env"])
        span = spans[job["metadata"]["name"]]
        assert json.loads(found["MOPT_PLAN"])["traceparent"] == (
            f"00-{span.trace_id}-{span.span_id}-01"
        )
        assert found["OTEL_EXPORTER_OTLP_ENDPOINT"] == collector.endpoint
        assert f"k8s.job.name={job['metadata']['name']}" in found["OTEL_RESOURCE_ATTRIBUTES"]
    assert "Traceback (most recent call last)" not in operator.log()
