"""Two operators and one Lease on a real API server."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
from job_messages import Messages
from light_cluster import MakeOperator, MakeResource, Operator, Resource

pytestmark = pytest.mark.cluster


@pytest.fixture
def pair(make_operator: MakeOperator, namespace: str) -> tuple[Any, Any]:
    """Start two operators; return the one that leads, then the one that waits."""
    election = {"namespace": namespace, "name": "mopt-operator"}
    first, second = (
        make_operator(watchNamespaces=[namespace], leaderElection=election) for _ in range(2)
    )
    first.start()
    deadline = time.monotonic() + 30
    while first.metric("mopt_leader") != 1 and time.monotonic() < deadline:
        time.sleep(0.1)
    second.start()
    return first, second


def test_standby_is_ready_and_takes_over_at_once(
    pair: tuple[Any, Any], namespace: str, make_resource: MakeResource, messages: Messages
) -> None:
    leader, standby = pair
    assert leader.metric("mopt_leader") == 1
    assert standby.metric("mopt_leader") == 0
    assert standby.page("readyz") == "ok\n"
    resource = make_resource(namespace=namespace)
    pod = resource.pod_of("prepare")
    # It knows of the resource, but nothing waits there.
    held = 'mopt_store_objects{kind="modeloptimizations"}'
    resource.wait_for(lambda: standby.metric(held) == 1)
    assert standby.metric("mopt_queue_depth") == 0
    resource.finish(pod, messages.prepare())
    resource.pod_of("measure")
    assert leader.stop() == 0
    # Without that the standby would wait until its time is over.
    assert "Released the lease" in leader.log()
    resource.wait_for(lambda: standby.metric("mopt_leader") == 1)
    resource.finish(resource.pod_of("measure"), messages.measure())
    resource.wait_said(Ready=("True", "Optimized"))
    assert [j["metadata"]["labels"]["mopt.dev/stage"] for j in resource.jobs()] == [
        "prepare",
        "measure",
    ]
    assert 'mopt_reconcile_total{result="fault"} 0.0' in standby.page("metrics")


def test_killed_leader_is_replaced_when_its_time_is_over(
    pair: tuple[Any, Any], namespace: str, make_resource: MakeResource, messages: Messages
) -> None:
    leader, standby = pair
    resource = make_resource(namespace=namespace)
    resource.pod_of("prepare")
    leader.kill()
    resource.wait_for(lambda: standby.metric("mopt_leader") == 1, seconds=60)
    resource.run(messages)
    assert len(resource.jobs()) == 2


def test_metrics_tell_of_the_run(
    operator: Operator, resource: Resource, messages: Messages
) -> None:
    before = operator.metric('mopt_job_duration_seconds_count{outcome="Complete",stage="measure"}')
    resource.run(messages)
    labels = f'name="{resource.name}",namespace="{resource.namespace}",target="default"'
    series = f"mopt_selected_speedup_ratio{{{labels}}}"
    resource.wait_for(lambda: operator.metric(series) == 4.9)
    resource.wait_for(
        lambda: (
            operator.metric('mopt_job_duration_seconds_count{outcome="Complete",stage="measure"}')
            > before
        )
    )
    assert operator.metric('mopt_reconcile_total{result="fault"}') == 0


def test_metrics_tell_of_each_resource_until_it_is_deleted(
    operator: Operator, resource: Resource, messages: Messages
) -> None:
    who = f'name="{resource.name}",namespace="{resource.namespace}"'
    unknown = f'mopt_resource_condition{{{who},reason="Preparing",status="Unknown",type="Ready"}}'
    resource.wait_for(lambda: operator.metric(unknown) == 1)
    begun, ended = "2026-11-01T12:00:00Z", "2026-11-01T12:00:30Z"
    terminated = {"exitCode": 0, "message": messages.prepare()}
    container = {
        "name": "optimizer",
        "image": "mopt/optimizer:test",
        "imageID": "",
        "ready": False,
        "restartCount": 0,
        "state": {"terminated": terminated | {"startedAt": begun, "finishedAt": ended}},
    }
    ran = 'mopt_job_run_seconds_sum{outcome="Complete",stage="prepare"}'
    before = operator.metric(ran)
    succeeded = {"phase": "Succeeded", "containerStatuses": [container]}
    resource.set_pod(resource.pod_of("prepare"), succeeded)
    resource.finish(resource.pod_of("measure"), messages.measure())
    labels = f'{who},reason="Optimized",status="True",type="Ready"'
    resource.wait_for(lambda: operator.metric(f"mopt_resource_condition{{{labels}}}") == 1)
    resource.wait_for(lambda: operator.metric(ran) == before + 30)
    created = operator.metric(f"mopt_resource_created_timestamp_seconds{{{who}}}")
    since = f"mopt_resource_condition_transition_timestamp_seconds{{{labels}}}"
    assert operator.metric(since) >= created > 0
    assert operator.metric(unknown) == 0
    resource.delete()
    resource.wait_for(lambda: who not in operator.page("metrics"))


def test_alerts_and_dashboard_name_what_a_running_operator_exports(operator: Operator) -> None:
    page = operator.page("metrics")
    # Of what has not happened yet there is the name alone; its labels are held elsewhere.
    known = set(re.findall(r"^# TYPE (\w+) ", page, re.MULTILINE))
    files = Path(__file__).resolve().parents[3] / "helm" / "mopt" / "files"
    text = (files / "alerts.yaml").read_text() + (files / "dashboard.json").read_text()
    named = set(re.findall(r"\b(?:mopt|process)_[a-z_]+", text)) - {"mopt_"}
    histograms = set(re.findall(r"^# TYPE (\w+) histogram", page, re.MULTILINE))
    parts = {f"{name}_{part}" for name in histograms for part in ("bucket", "count", "sum")}
    assert len(named) > 20
    assert named - known - parts == set()


def test_metrics_tell_of_the_api_server(operator: Operator) -> None:
    assert operator.metric('mopt_api_requests_total{code="200",method="GET"}') > 0
    assert operator.metric("mopt_resync_timestamp_seconds") > 0
    assert operator.metric("mopt_queue_wait_seconds_count") > 0


def test_standby_shows_no_resources(
    pair: tuple[Any, Any], namespace: str, make_resource: MakeResource
) -> None:
    leader, standby = pair
    resource = make_resource(namespace=namespace)
    series = f'mopt_resource_created_timestamp_seconds{{name="{resource.name}",'
    resource.wait_for(lambda: series in leader.page("metrics"))
    held = 'mopt_store_objects{kind="modeloptimizations"}'
    resource.wait_for(lambda: standby.metric(held) > 0)
    assert f'name="{resource.name}"' not in standby.page("metrics")
