"""The chart on a real API server: admission, permissions, upgrade and uninstall.

There is no kubelet here: the operator's Pod is made and admitted, not run.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from chart_objects import Command, Eventually, Get, Manifest

pytestmark = pytest.mark.cluster


NAMESPACE = "mopt-system"
OPERATOR = f"system:serviceaccount:{NAMESPACE}:mopt"
NARROW = "system:serviceaccount:mopt-narrow:narrow-mopt"
CRD = "customresourcedefinition/modeloptimizations.mopt.dev"
RESTRICTED = [
    "pod-security.kubernetes.io/enforce=restricted",
    "pod-security.kubernetes.io/warn=restricted",
]


@pytest.fixture(scope="module")
def may(kubectl: Command, release: Command) -> Callable[..., bool]:
    """Return a function that asks the API server what an account may do."""

    def ask(account: str, verb: str, resource: str, namespace: str | None = None) -> bool:
        where = ["--namespace", namespace] if namespace else ["--all-namespaces"]
        kind, _, subresource = resource.partition("/")
        what = [kind, f"--subresource={subresource}"] if subresource else [kind]
        done = kubectl("auth", "can-i", verb, *what, "--as", account, *where, check=False)
        answer = done.stdout.strip()
        assert answer in ("yes", "no"), done.stderr
        return answer == "yes"

    return ask


def _pod(deployment: Manifest, namespace: str) -> Manifest:
    template = deployment["spec"]["template"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "trial", "namespace": namespace},
        "spec": template["spec"],
    }


@pytest.mark.usefixtures("release")
def test_restricted_namespace_admits_the_pod(get: Get, eventually: Eventually) -> None:
    def made() -> bool:
        pods = get("pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/name=mopt")
        return len(pods["items"]) == 2

    eventually(made, "the Deployment's Pods")


def test_notes_name_the_next_commands(release: Command) -> None:
    notes = release("get", "notes", "mopt", "--namespace", NAMESPACE).stdout
    assert "all namespaces; Jobs run mopt/optimizer:0.1.0" in notes
    assert f"kubectl -n {NAMESPACE} rollout status deployment/mopt" in notes
    assert "each ModelOptimization must name its spec.output" in notes


OPTIONS: Manifest = {
    "commonLabels": {"owner": "platform"},
    "commonAnnotations": {"contact": "platform@example.com"},
    "networkPolicy": {
        "enabled": True,
        "ingressFrom": [{"namespaceSelector": {"matchLabels": {"a": "b"}}}],
    },
    "strategy": {"type": "Recreate"},
    "podSecurityContext": {"runAsUser": None, "supplementalGroups": [7]},
    "extraEnv": [{"name": "SSL_CERT_FILE", "value": "/etc/corporate/ca.crt"}],
    "extraVolumes": [{"name": "ca", "configMap": {"name": "corporate-ca"}}],
    "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/corporate"}],
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    ],
    "extraObjects": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "extra"}}],
}


def test_upgrade_takes_the_options_and_gives_them_back(
    release: Command, get: Get, tmp_path: Path
) -> None:
    values = tmp_path / "values.json"
    values.write_text(json.dumps(OPTIONS))
    names = ("deployment,networkpolicy,configmap", "-n", NAMESPACE, "-l", "owner=platform")

    def strategy() -> Manifest:
        found: Manifest = get("deployment/mopt", "-n", NAMESPACE)["spec"]["strategy"]
        return found

    rolling = strategy()
    upgrade = ("upgrade", "mopt", "CHART", "--namespace", NAMESPACE)
    done = release(*upgrade, "--values", str(values))
    assert "warning" not in done.stderr.lower(), done.stderr
    kinds = {item["kind"] for item in get(*names)["items"]}
    assert kinds == {"Deployment", "NetworkPolicy", "ConfigMap"}
    assert strategy() == {"type": "Recreate"}
    pod = get("deployment/mopt", "-n", NAMESPACE)["spec"]["template"]["spec"]
    assert pod["securityContext"]["supplementalGroups"] == [7]
    assert "runAsUser" not in pod["securityContext"]
    assert get("configmap/extra", "-n", NAMESPACE)["metadata"]["name"] == "extra"

    release(*upgrade, "--reset-values")
    assert get(*names)["items"] == []
    assert strategy() == rolling


@pytest.mark.usefixtures("release")
def test_namespace_refuses_a_pod_that_is_less_than_restricted(kubectl: Command, get: Get) -> None:
    deployment = get("deployment/mopt", "-n", NAMESPACE)
    good = _pod(deployment, NAMESPACE)
    bad = copy.deepcopy(good)
    del bad["spec"]["containers"][0]["securityContext"]["capabilities"]
    attempt = ("create", "--dry-run=server", "--filename", "-")
    assert "Warning" not in kubectl(*attempt, stdin=json.dumps(good)).stderr
    refused = kubectl(*attempt, stdin=json.dumps(bad), check=False)
    assert 'violates PodSecurity "restricted' in refused.stderr


@pytest.mark.parametrize(
    ("resource", "verbs"),
    [
        ("modeloptimizations.mopt.dev", "get list watch"),
        ("modeloptimizations.mopt.dev/status", "update"),
        ("optimizationprofiles.mopt.dev", "get list watch create patch delete"),
        ("optimizationprofiles.mopt.dev/status", "patch"),
        ("nodes", "list"),
        ("namespaces", "get"),
        ("jobs.batch", "get list watch create delete patch"),
        ("pods", "get list watch"),
        ("events", "list create"),
    ],
)
def test_operator_may(may: Callable[..., bool], resource: str, verbs: str) -> None:
    refused = [verb for verb in verbs.split() if not may(OPERATOR, verb, resource)]
    assert refused == []


@pytest.mark.parametrize(
    ("resource", "verbs"),
    [
        ("secrets", "get list watch create"),
        ("configmaps", "get create"),
        ("pods", "create delete"),
        ("pods/exec", "create"),
        ("pods/log", "get"),
        ("jobs.batch", "update deletecollection"),
        ("events", "patch delete"),
        ("modeloptimizations.mopt.dev", "create update patch delete"),
        ("customresourcedefinitions.apiextensions.k8s.io", "list update"),
        ("serviceaccounts/token", "create"),
        ("clusterroles.rbac.authorization.k8s.io", "get escalate bind"),
        ("namespaces", "list create patch"),
        ("nodes", "get watch patch"),
        ("optimizationprofiles.mopt.dev", "use update deletecollection"),
    ],
)
def test_operator_may_not(may: Callable[..., bool], resource: str, verbs: str) -> None:
    allowed = [verb for verb in verbs.split() if may(OPERATOR, verb, resource)]
    assert allowed == []


def test_watched_namespaces_bound_the_operator(
    release: Command, kubectl: Command, may: Callable[..., bool]
) -> None:
    kubectl("create", "namespace", "mopt-narrow")
    kubectl("label", "namespace", "mopt-narrow", *RESTRICTED)
    settings = "crds.install=false,rbac.aggregateToUserRoles=false,watchNamespaces={team-a}"
    release("install", "narrow", "CHART", "--namespace", "mopt-narrow", "--set", settings)
    for verb, resource in (("create", "jobs.batch"), ("list", "pods"), ("create", "events")):
        assert may(NARROW, verb, resource, "team-a"), resource
        assert not may(NARROW, verb, resource, "team-b"), resource
        assert not may(NARROW, verb, resource), resource
    release("uninstall", "narrow", "--namespace", "mopt-narrow")
    assert not may(NARROW, "create", "jobs.batch", "team-a")


def test_built_in_roles_cover_the_resource(
    kubectl: Command, may: Callable[..., bool], eventually: Eventually
) -> None:
    kind = "modeloptimizations.mopt.dev"
    for role, user in (("edit", "ana"), ("view", "ben")):
        arguments = (f"--clusterrole={role}", f"--user={user}", "--namespace=team-a")
        kubectl("create", "rolebinding", user, *arguments)
    eventually(lambda: may("ana", "create", kind, "team-a"), "edit's aggregation")
    eventually(lambda: may("ben", "get", kind, "team-a"), "view's aggregation")
    assert not may("ben", "create", kind, "team-a")
    assert not may("ana", "patch", f"{kind}/status", "team-a")


def test_upgrade_and_uninstall_keep_definition_and_resources(
    release: Command, kubectl: Command, get: Get, resource: Callable[[str, str], Manifest]
) -> None:
    kubectl("wait", CRD, "--for=condition=Established", "--timeout=20s")
    kubectl("create", "--filename", "-", stdin=json.dumps(resource("kept", "team-a")))
    kept = ("modeloptimization/kept", "-n", "team-a")
    uid = get(CRD)["metadata"]["uid"]
    before = get("deployment/mopt", "-n", NAMESPACE)

    release("upgrade", "mopt", "CHART", "--namespace", NAMESPACE, "--set", "logFormat=text")
    after = get("deployment/mopt", "-n", NAMESPACE)
    assert after["metadata"]["generation"] == before["metadata"]["generation"] + 1
    config = get("configmap/mopt", "-n", NAMESPACE)["data"]["config.json"]
    assert json.loads(config)["logFormat"] == "text"
    assert get(CRD)["metadata"]["uid"] == uid

    release("upgrade", "mopt", "CHART", "--namespace", NAMESPACE, "--set", "logFormat=text")
    again = get("deployment/mopt", "-n", NAMESPACE)
    assert again["metadata"]["generation"] == after["metadata"]["generation"]

    release("uninstall", "mopt", "--namespace", NAMESPACE)
    kinds = "deployment,serviceaccount,configmap,clusterrole,clusterrolebinding"
    left = get(kinds, "-n", NAMESPACE, "-l", "app.kubernetes.io/instance=mopt")
    assert [item["metadata"]["name"] for item in left["items"]] == []
    definition = get(CRD)["metadata"]
    # Deletion takes a moment: one that has begun is told by its timestamp.
    assert (definition["uid"], definition.get("deletionTimestamp")) == (uid, None)
    assert "deletionTimestamp" not in get(*kept)["metadata"]

    # The definition that was kept is taken over.
    release("install", "mopt", "CHART", "--namespace", NAMESPACE)
    assert get(CRD)["metadata"]["uid"] == uid


def test_definition_goes_with_the_release_where_asked(
    release: Command, kubectl: Command, eventually: Eventually
) -> None:
    release("upgrade", "mopt", "CHART", "--namespace", NAMESPACE, "--set", "crds.keep=false")
    release("uninstall", "mopt", "--namespace", NAMESPACE)
    eventually(lambda: kubectl("get", CRD, check=False).returncode != 0, "the CRD's deletion")
    release("install", "mopt", "CHART", "--namespace", NAMESPACE)
    kubectl("wait", CRD, "--for=condition=Established", "--timeout=20s")


def test_minio_of_the_demo_is_admitted(kubectl: Command, get: Get, eventually: Eventually) -> None:
    folder = Path(__file__).resolve().parents[2] / "hack" / "demo" / "minio"
    kubectl("create", "namespace", "mopt-demo")
    kubectl("label", "namespace", "mopt-demo", *RESTRICTED)
    applied = kubectl("apply", "--filename", str(folder / "minio.yaml"))
    assert "Warning" not in applied.stderr
    (service,) = get("service", "-n", "mopt-demo")["items"]
    (port,) = service["spec"]["ports"]
    assert (service["metadata"]["name"], port["port"]) == ("minio", 9000)

    def made() -> bool:
        selector = "app.kubernetes.io/name=minio"
        return len(get("pods", "-n", "mopt-demo", "-l", selector)["items"]) == 1

    eventually(made, "MinIO's Pod")
