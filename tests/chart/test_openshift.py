"""OpenShift's restricted-v2: Pods that name their user are refused, those that leave it are not.

An admission policy stands for the SCC (restricted-v2.yaml): the API server is a real one, and the
Pods are made by the Deployment's and the Job's controllers.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from chart_objects import Command, Eventually, Get, Manifest, RunOperator

pytestmark = pytest.mark.cluster


CRD = "customresourcedefinition/modeloptimizations.mopt.dev"
LABELS = ("scc=restricted-v2", "pod-security.kubernetes.io/enforce=restricted")
UID_RANGE = "openshift.io/sa.scc.uid-range=1000650000/10000"
CA = "/etc/corporate"
# What a platform team adds to Jobs; all of it must be admitted, too.
JOBS = {
    "extraEnv": [{"name": "SSL_CERT_FILE", "value": f"{CA}/ca.crt"}],
    "extraVolumes": [{"name": "corporate-ca", "configMap": {"name": "corporate-ca"}}],
    "extraVolumeMounts": [{"name": "corporate-ca", "mountPath": CA}],
}
PROFILE = {"podLabels": {"team": "ml"}, "podAnnotations": {"sidecar.istio.io/inject": "false"}}


@pytest.fixture(scope="module")
def project(kubectl: Command, eventually: Eventually) -> Callable[[str], str]:
    """Return a maker of namespaces that admit what restricted-v2 does."""
    kubectl("apply", "--filename", str(Path(__file__).with_name("restricted-v2.yaml")))

    def make(name: str) -> str:
        kubectl("create", "namespace", name)
        kubectl("annotate", "namespace", name, UID_RANGE)
        kubectl("label", "namespace", name, *LABELS)
        eventually(lambda: "restricted-v2: .spec" in refusal(name, runAsUser=65532), "the policy")
        return name

    def refusal(namespace: str, **user: int) -> str:
        attempt = ("create", "--dry-run=server", "--namespace", namespace, "--filename", "-")
        return kubectl(*attempt, stdin=json.dumps(_pod(user)), check=False).stderr

    return make


@pytest.fixture(scope="module")
def ranged(project: Callable[[str], str]) -> str:
    return project("ranged")


def _pod(user: dict[str, int]) -> Manifest:
    container = {
        "name": "c",
        "image": "i",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    context = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {"containers": [container], "securityContext": context | user}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}


@pytest.mark.parametrize(
    ("user", "refused"),
    [
        ({}, False),
        ({"runAsUser": 1000650000, "fsGroup": 1000659999}, False),
        ({"runAsUser": 1000660000}, True),
        ({"fsGroup": 65532}, True),
    ],
)
def test_policy_is_the_range_of_the_namespace(
    ranged: str, kubectl: Command, user: dict[str, int], refused: bool
) -> None:
    attempt = ("create", "--dry-run=server", "--namespace", ranged, "--filename", "-")
    done = kubectl(*attempt, stdin=json.dumps(_pod(user)), check=False)
    assert ("restricted-v2" in done.stderr) is refused, done.stderr
    assert (done.returncode != 0) is refused


@pytest.mark.parametrize("adapt", ["force", "disabled"])
def test_operator_and_jobs_take_the_user_that_they_are_given(
    adapt: str,
    project: Callable[[str], str],
    release: Command,
    kubectl: Command,
    get: Get,
    eventually: Eventually,
    resource: Callable[[str, str], Manifest],
    run_operator: RunOperator,
    tmp_path: Path,
) -> None:
    kubectl("wait", CRD, "--for=condition=Established", "--timeout=20s")
    home, team, name = project(f"mopt-{adapt}"), project(f"team-{adapt}"), f"{adapt}-mopt"
    values = tmp_path / "values.json"
    values.write_text(
        json.dumps(
            {
                "crds": {"install": False},
                "rbac": {"aggregateToUserRoles": False},
                "watchNamespaces": [team],
                "global": {"compatibility": {"openshift": {"adaptSecurityContext": adapt}}},
                "jobs": JOBS,
                "profiles": {"default": PROFILE},
            }
        )
    )
    release("install", adapt, "CHART", "--namespace", home, "--values", str(values))

    def pods(namespace: str) -> list[Manifest]:
        found: list[Manifest] = get("pods", "-n", namespace)["items"]
        return found

    def refused(namespace: str) -> bool:
        events = get("events", "-n", namespace, "--field-selector=reason=FailedCreate")["items"]
        return any("restricted-v2" in event["message"] for event in events)

    admitted = adapt == "force"

    def said(namespace: str) -> bool:
        return bool(pods(namespace)) if admitted else refused(namespace)

    eventually(lambda: said(home), "the operator's Pods")
    kubectl("create", "--filename", "-", stdin=json.dumps(resource("m", team)))
    with run_operator(tmp_path, home, name):
        eventually(lambda: said(team), "the Job's Pod")
    if admitted:
        (pod,) = pods(team)
        assert not {"runAsUser", "runAsGroup", "fsGroup"} & set(pod["spec"]["securityContext"])
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        (container,) = pod["spec"]["containers"]
        assert {"name": "SSL_CERT_FILE", "value": f"{CA}/ca.crt"} in container["env"]
        assert {"name": "corporate-ca", "mountPath": CA, "readOnly": True} in container[
            "volumeMounts"
        ]
        assert pod["metadata"]["labels"]["team"] == "ml"
        assert pod["metadata"]["annotations"]["sidecar.istio.io/inject"] == "false"
    else:
        assert pods(home) == pods(team) == []
    kubectl("delete", "modeloptimization", "m", "-n", team)
    release("uninstall", adapt, "--namespace", home)


def test_images_have_a_user_by_number() -> None:
    """Else a kubelet cannot tell that it is not root, where the Pod names none."""
    root = Path(__file__).resolve().parents[2]
    for file in ("operator/Dockerfile", "optimizer_image/Dockerfile"):
        lines = (root / file).read_text().splitlines()
        users = [line.split()[1] for line in lines if line.startswith("USER ")]
        stages = [line for line in lines if line.startswith("ENTRYPOINT ")]
        assert users == ["65532:65532"] * len(stages), file
