"""A run that waits too long, on a real API server."""

from __future__ import annotations

import pytest
from job_messages import Messages
from light_cluster import MakeNamespace, MakeOperator, MakeResource

pytestmark = pytest.mark.cluster


def test_a_restart_does_not_start_its_clock_again_and_it_goes_on_by_itself(
    make_operator: MakeOperator,
    make_namespace: MakeNamespace,
    make_resource: MakeResource,
    messages: Messages,
) -> None:
    namespace = make_namespace()
    operator = make_operator(watchNamespaces=[namespace])
    operator.start()
    resource = make_resource(namespace=namespace, execution={"progressDeadlineSeconds": 10})
    pod = resource.pod_of("prepare")
    resource.waiting(pod, "CreateContainerConfigError", 'secret "store" not found')
    resource.wait_said(Ready=("False", "SecretNotFound"), Reconciling=("True", "Preparing"))
    since = resource.read()["status"]["progress"]["waitingSince"]
    operator.kill()
    operator.start()
    resource.wait_said(Ready=("False", "SecretNotFound"), Stalled=("True", "SecretNotFound"))
    assert resource.read()["status"]["progress"]["waitingSince"] == since
    assert "progressDeadlineSeconds" in resource.message()
    resource.set_pod(pod, {"phase": "Running", "containerStatuses": []})
    resource.wait_said(Ready=("Unknown", "Preparing"), Reconciling=("True", "Preparing"))
    assert "waitingSince" not in resource.read()["status"]["progress"]
    resource.run(messages)
    assert resource.said() == {"Ready": ("True", "Optimized")}
    assert len(resource.jobs()) == 2
