"""An operator that ends at any time leaves exactly one Job per stage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from job_messages import Messages
from light_cluster import MakeOperator, MakeResource, Operator, Resource

pytestmark = pytest.mark.cluster


@pytest.fixture
def own(make_operator: MakeOperator, namespace: str) -> Any:
    """Return an operator of this test's own, not started."""
    return make_operator(watchNamespaces=[namespace])


def stages(resource: Resource) -> list[str]:
    return [job["metadata"]["labels"]["mopt.dev/stage"] for job in resource.jobs()]


def test_killed_operator_takes_up_the_work_where_it_stands(
    own: Operator, namespace: str, make_resource: MakeResource, messages: Messages
) -> None:
    own.start()
    resource = make_resource(namespace=namespace)
    pod = resource.pod_of("prepare")
    own.kill()
    own.start()
    own.kill()
    resource.finish(pod, messages.prepare())
    own.start()
    resource.pod_of("measure")
    own.kill()
    own.start()
    resource.finish(resource.pod_of("measure"), messages.measure())
    resource.wait_said(Ready=("True", "Optimized"))
    own.kill()
    own.start()
    # It looks at what changes, and finds nothing to do but to say so.
    resource.patch({"spec": {"execution": {"ttlSecondsAfterFinished": 60}}})
    resource.wait_for(lambda: resource.read()["status"]["observedGeneration"] == 2)
    assert stages(resource) == ["prepare", "measure"]
    assert resource.said() == {"Ready": ("True", "Optimized")}


def test_newer_optimizer_image_leaves_finished_resources_alone(
    own: Operator,
    namespace: str,
    make_operator: MakeOperator,
    make_resource: MakeResource,
    messages: Messages,
) -> None:
    own.start()
    resource = make_resource(namespace=namespace)
    resource.run(messages)
    own.kill()
    newer = make_operator(watchNamespaces=[namespace], optimizerImage="mopt/optimizer:newer")
    newer.start()
    other = make_resource(namespace=namespace, name="other")
    pod = other.pod_of("prepare")
    assert pod["spec"]["containers"][0]["image"] == "mopt/optimizer:newer"
    assert stages(resource) == ["prepare", "measure"]
    resource.wait_said(Ready=("True", "Optimized"), Outdated=("True", "OlderOptimizer"))


def test_two_operators_at_once_make_one_job_per_stage(
    own: Operator,
    namespace: str,
    make_operator: MakeOperator,
    make_resource: MakeResource,
    messages: Messages,
) -> None:
    other = make_operator(watchNamespaces=[namespace])
    own.start()
    other.start()
    resource = make_resource(namespace=namespace)
    resource.run(messages)
    assert stages(resource) == ["prepare", "measure"]
    assert own.running
    assert other.running


def test_sigterm_ends_the_operator_cleanly(
    own: Operator, namespace: str, make_resource: MakeResource
) -> None:
    own.start()
    make_resource(namespace=namespace).pod_of("prepare")
    assert own.stop() == 0
    assert "Traceback (most recent call last)" not in own.log()


def test_whole_cluster_is_served_where_no_namespace_is_named(
    make_operator: MakeOperator, namespace: str, make_resource: MakeResource
) -> None:
    everywhere = make_operator()
    everywhere.start()
    resource = make_resource(namespace=namespace)
    resource.pod_of("prepare")
    assert everywhere.stop() == 0


def test_operator_without_permission_ends_with_an_error(
    make_operator: MakeOperator,
    account_kubeconfig: Callable[[str, str], Path],
    namespace: str,
) -> None:
    kubeconfig = account_kubeconfig(namespace, "default")
    powerless = make_operator(kubeconfig=kubeconfig, watchNamespaces=[namespace])
    assert powerless.run() == 1
    started, line = powerless.log_lines(2)
    assert "starts with the optimizer image" in started
    assert line.startswith("mopt-operator: the operator's role lacks a permission: 403 Forbidden")
    assert 'cannot list resource "modeloptimizations"' in line


def test_ends_are_counted_by_cause_by_a_bounded_operator(
    namespace: str,
    make_operator: MakeOperator,
    make_resource: MakeResource,
    messages: Messages,
) -> None:
    own = make_operator(
        watchNamespaces=[namespace],
        workers=1,
        kubeApi={"qps": 200, "burst": 2},
    )

    def ended(cause: str) -> float:
        return own.metric(f'mopt_restarts_total{{cause="{cause}"}}')

    own.start()
    assert (ended("Killed"), ended("Stopped")) == (0, 0)
    own.kill()
    own.start()
    assert own.stop() == 0
    own.start()
    assert (ended("Killed"), ended("Stopped")) == (1, 1)
    make_resource(namespace=namespace).run(messages)
    assert own.metric('mopt_api_list_bytes_total{kind="jobs"}') > 0
    assert own.stop() == 0
