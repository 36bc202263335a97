"""Namespaces that come and go, under permissions that come and go with them (watchNamespaces)."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from job_messages import Messages
from light_cluster import Api, MakeNamespace, MakeOperator, MakeResource

pytestmark = pytest.mark.cluster

RBAC = "/apis/rbac.authorization.k8s.io/v1"


@pytest.fixture(scope="module")
def kubeconfig(api: Api, account_kubeconfig: Callable[[str, str], Path]) -> Path:
    """Return that of an account without any permission of its own."""
    name = "by-namespace"
    api.call("POST", "/api/v1/namespaces/kube-system/serviceaccounts", {"metadata": {"name": name}})
    return account_kubeconfig("kube-system", name)


def permit(api: Api, namespace: str) -> None:
    """Bind the operator's role in a namespace, as the chart does."""
    role = {"kind": "ClusterRole", "name": "mopt-operator", "apiGroup": "rbac.authorization.k8s.io"}
    subject = {"kind": "ServiceAccount", "name": "by-namespace", "namespace": "kube-system"}
    binding = {"metadata": {"name": "mopt"}, "roleRef": role, "subjects": [subject]}
    api.call("POST", f"{RBAC}/namespaces/{namespace}/rolebindings", binding)


def delete_namespace(api: Api, name: str) -> None:
    path = f"/api/v1/namespaces/{name}"
    api.call("DELETE", path)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        names = [
            item["metadata"]["name"] for item in api.call("GET", "/api/v1/namespaces")["items"]
        ]
        if name not in names:
            return
        time.sleep(0.2)
    raise AssertionError(f"namespace {name} is still there")


def test_namespace_that_is_deleted_and_made_again_is_served(
    api: Api,
    kubeconfig: Path,
    make_operator: MakeOperator,
    make_namespace: MakeNamespace,
    make_resource: MakeResource,
    messages: Messages,
) -> None:
    kept, gone = make_namespace(), make_namespace()
    for name in (kept, gone):
        permit(api, name)
    operator = make_operator(kubeconfig=kubeconfig, watchNamespaces=[kept, gone])
    operator.start()
    make_resource(namespace=gone).pod_of("prepare")
    delete_namespace(api, gone)
    # Its neighbour goes on meanwhile.
    neighbour = make_resource(namespace=kept)
    neighbour.pod_of("prepare")
    make_namespace(gone)
    permit(api, gone)
    again = make_resource(namespace=gone)
    again.run(messages)
    assert again.said() == {"Ready": ("True", "Optimized")}
    neighbour.run(messages)
    assert operator.running
    assert "Traceback" not in operator.log()


def test_operator_that_starts_while_a_namespace_is_missing_serves_the_others(
    api: Api,
    kubeconfig: Path,
    make_operator: MakeOperator,
    make_namespace: MakeNamespace,
    make_resource: MakeResource,
    messages: Messages,
) -> None:
    kept, missing = make_namespace(), "not-there-yet"
    permit(api, kept)
    operator = make_operator(kubeconfig=kubeconfig, watchNamespaces=[missing, kept])
    operator.start()
    assert f"Namespace {missing} is not served until" in operator.log()
    make_resource(namespace=kept).run(messages)
    make_namespace(missing)
    permit(api, missing)
    make_resource(namespace=missing).run(messages)
    assert operator.running
    assert "Traceback" not in operator.log()


def test_operator_that_every_namespace_refuses_ends_with_one_of_them(
    kubeconfig: Path, make_operator: MakeOperator
) -> None:
    operator = make_operator(kubeconfig=kubeconfig, watchNamespaces=["nowhere", "elsewhere"])
    assert operator.run() == 1
    (line,) = operator.log().splitlines()[-1:]
    assert line.startswith("mopt-operator: the operator's role lacks a permission: ")
    assert 'in the namespace "nowhere"' in line
