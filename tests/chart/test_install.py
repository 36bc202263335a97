"""The chart on a real API server: admission, permissions, upgrade and uninstall.

There is no kubelet here: the operator's Pod is made and admitted, not run.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.cluster

Manifest = dict[str, Any]
Command = Callable[..., "subprocess.CompletedProcess[str]"]

NAMESPACE = "mopt-system"
OPERATOR = f"system:serviceaccount:{NAMESPACE}:mopt"
NARROW = "system:serviceaccount:mopt-narrow:narrow-mopt"
CRD = "customresourcedefinition/modeloptimizations.mopt.dev"
RESTRICTED = [
    "pod-security.kubernetes.io/enforce=restricted",
    "pod-security.kubernetes.io/warn=restricted",
]
# Seconds until a controller has done its part; it needs about one.
PATIENCE = 20.0


@pytest.fixture(scope="module")
def kubeconfig(
    devcluster: Callable[..., str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """Start a light cluster; it ends with this process even when the process is killed."""
    folder = str(tmp_path_factory.mktemp("cluster"))
    yield Path(devcluster("up", "--light", "--dir", folder, "--parent-pid", str(os.getpid())))
    devcluster("down", "--light", "--dir", folder)


@pytest.fixture(scope="module")
def kubectl(kubeconfig: Path, devcluster: Callable[..., str]) -> Command:
    """Return a function that runs kubectl; check=False leaves a failure to the caller."""
    program = devcluster("binary", "kubectl")
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}

    def run(
        *arguments: str, stdin: str = "", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [program, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            env=environment,
            check=False,
        )
        assert done.returncode == 0 or not check, done.stderr
        return done

    return run


@pytest.fixture(scope="module")
def release(
    helm: str, chart: Path, kubeconfig: Path, kubectl: Command, tmp_path_factory: Any
) -> Command:
    """Install `mopt` for all namespaces and return a function that runs helm.

    The function replaces CHART by the chart's folder.
    """
    home = tmp_path_factory.mktemp("helm")
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig)} | {
        f"HELM_{name}_HOME": str(home / name.lower()) for name in ("CACHE", "CONFIG", "DATA")
    }

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [helm, *(str(chart) if a == "CHART" else a for a in arguments)],
            capture_output=True,
            text=True,
            timeout=60,
            env=environment,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        # Where admission warns, helm passes the warning on.
        assert "PodSecurity" not in done.stderr
        return done

    for namespace in (NAMESPACE, "team-a", "team-b"):
        kubectl("create", "namespace", namespace)
        kubectl("label", "namespace", namespace, *RESTRICTED)
    run("install", "mopt", "CHART", "--namespace", NAMESPACE)
    return run


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


def _eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE} s"
        time.sleep(0.2)


def _get(kubectl: Command, *arguments: str) -> Manifest:
    found = json.loads(kubectl("get", *arguments, "--output", "json").stdout)
    assert isinstance(found, dict)
    return found


def _pod(deployment: Manifest, namespace: str) -> Manifest:
    template = deployment["spec"]["template"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "trial", "namespace": namespace},
        "spec": template["spec"],
    }


@pytest.mark.usefixtures("release")
def test_restricted_namespace_admits_the_pod(kubectl: Command) -> None:
    def made() -> bool:
        pods = _get(kubectl, "pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/name=mopt")
        return len(pods["items"]) == 1

    _eventually(made, "the Deployment's Pod")


@pytest.mark.usefixtures("release")
def test_namespace_refuses_a_pod_that_is_less_than_restricted(kubectl: Command) -> None:
    deployment = _get(kubectl, "deployment/mopt", "-n", NAMESPACE)
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
        ("modeloptimizations.mopt.dev/status", "get patch update"),
        ("jobs.batch", "get list watch create delete patch"),
        ("pods", "get list watch"),
        ("events", "get list create patch"),
        ("events.events.k8s.io", "get list create patch"),
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
        ("jobs.batch", "deletecollection"),
        ("modeloptimizations.mopt.dev", "create update patch delete"),
        ("customresourcedefinitions.apiextensions.k8s.io", "list update"),
        ("serviceaccounts/token", "create"),
        ("clusterroles.rbac.authorization.k8s.io", "get escalate bind"),
        ("namespaces", "get list"),
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


def test_built_in_roles_cover_the_resource(kubectl: Command, may: Callable[..., bool]) -> None:
    kind = "modeloptimizations.mopt.dev"
    for role, user in (("edit", "ana"), ("view", "ben")):
        arguments = (f"--clusterrole={role}", f"--user={user}", "--namespace=team-a")
        kubectl("create", "rolebinding", user, *arguments)
    _eventually(lambda: may("ana", "create", kind, "team-a"), "edit's aggregation")
    _eventually(lambda: may("ben", "get", kind, "team-a"), "view's aggregation")
    assert not may("ben", "create", kind, "team-a")
    assert not may("ana", "patch", f"{kind}/status", "team-a")


def test_upgrade_and_uninstall_keep_definition_and_resources(
    release: Command, kubectl: Command
) -> None:
    resource = {
        "apiVersion": "mopt.dev/v1alpha1",
        "kind": "ModelOptimization",
        "metadata": {"name": "kept", "namespace": "team-a"},
        "spec": {
            "model": {"uri": "s3://models/m.onnx", "sha256": "0" * 64, "format": "ONNX"},
            "inputs": [{"name": "image", "shape": [1, 3, 8, 8]}],
        },
    }
    kubectl("wait", CRD, "--for=condition=Established", "--timeout=20s")
    kubectl("create", "--filename", "-", stdin=json.dumps(resource))
    kept = ("modeloptimization/kept", "-n", "team-a")
    uid = _get(kubectl, CRD)["metadata"]["uid"]
    before = _get(kubectl, "deployment/mopt", "-n", NAMESPACE)

    release("upgrade", "mopt", "CHART", "--namespace", NAMESPACE, "--set", "logFormat=text")
    after = _get(kubectl, "deployment/mopt", "-n", NAMESPACE)
    assert after["metadata"]["generation"] == before["metadata"]["generation"] + 1
    config = _get(kubectl, "configmap/mopt", "-n", NAMESPACE)["data"]["config.json"]
    assert json.loads(config)["logFormat"] == "text"
    assert _get(kubectl, CRD)["metadata"]["uid"] == uid

    release("upgrade", "mopt", "CHART", "--namespace", NAMESPACE, "--set", "logFormat=text")
    again = _get(kubectl, "deployment/mopt", "-n", NAMESPACE)
    assert again["metadata"]["generation"] == after["metadata"]["generation"]

    release("uninstall", "mopt", "--namespace", NAMESPACE)
    kinds = "deployment,serviceaccount,configmap,clusterrole,clusterrolebinding"
    left = _get(kubectl, kinds, "-n", NAMESPACE, "-l", "app.kubernetes.io/instance=mopt")
    assert [item["metadata"]["name"] for item in left["items"]] == []
    definition = _get(kubectl, CRD)["metadata"]
    # Deletion takes a moment: one that has begun is told by its timestamp.
    assert (definition["uid"], definition.get("deletionTimestamp")) == (uid, None)
    assert "deletionTimestamp" not in _get(kubectl, *kept)["metadata"]

    # The definition that was kept is taken over.
    release("install", "mopt", "CHART", "--namespace", NAMESPACE)
    assert _get(kubectl, CRD)["metadata"]["uid"] == uid


def test_definition_goes_with_the_release_where_asked(release: Command, kubectl: Command) -> None:
    release("upgrade", "mopt", "CHART", "--namespace", NAMESPACE, "--set", "crds.keep=false")
    release("uninstall", "mopt", "--namespace", NAMESPACE)
    _eventually(lambda: kubectl("get", CRD, check=False).returncode != 0, "the CRD's deletion")
    release("install", "mopt", "CHART", "--namespace", NAMESPACE)
    kubectl("wait", CRD, "--for=condition=Established", "--timeout=20s")


def test_minio_of_the_demo_is_admitted(kubectl: Command) -> None:
    folder = Path(__file__).resolve().parents[2] / "hack" / "demo" / "minio"
    kubectl("apply", "--filename", str(folder / "namespace.yaml"))
    applied = kubectl("apply", "--filename", str(folder / "minio.yaml"))
    assert "Warning" not in applied.stderr
    (service,) = _get(kubectl, "service", "-n", "mopt-demo")["items"]
    (port,) = service["spec"]["ports"]
    assert (service["metadata"]["name"], port["port"]) == ("minio", 9000)

    def made() -> bool:
        selector = "app.kubernetes.io/name=minio"
        return len(_get(kubectl, "pods", "-n", "mopt-demo", "-l", selector)["items"]) == 1

    _eventually(made, "MinIO's Pod")
