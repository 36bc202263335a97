"""`helm test` against a real API server and the operator's process; a kubelet by hand."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from chart_objects import Command, Eventually, Get, Manifest, Render, RunOperator

from mopt_operator import check

CRD = "customresourcedefinition/modeloptimizations.mopt.dev"
TEST_KINDS = ("ServiceAccount", "Role", "RoleBinding", "Pod")


def hooks(render: Render, values: Manifest | None = None) -> dict[str, Manifest]:
    """Return what `helm test` makes, by kind."""
    found = [m for m in render(values, tests=True) if "helm.sh/hook" in annotations_of(m)]
    assert len(found) == len({m["kind"] for m in found})
    return {m["kind"]: m for m in found}


def annotations_of(manifest: Manifest) -> dict[str, str]:
    return dict(manifest["metadata"].get("annotations") or {})


def test_account_may_do_no_more_than_the_check_does(render: Render) -> None:
    made = hooks(render)
    assert sorted(made) == sorted(TEST_KINDS)
    listed = re.findall(r"^ {4}(\S+) +(\S+) +(\w[\w ]*)$", check.__doc__ or "", re.MULTILINE)
    assert [
        (rule["apiGroups"], rule["resources"], rule["verbs"]) for rule in made["Role"]["rules"]
    ] == [([group], [resource], verbs.split()) for group, resource, verbs in listed]
    (subject,) = made["RoleBinding"]["subjects"]
    assert subject["name"] == made["Pod"]["spec"]["serviceAccountName"]
    assert made["ServiceAccount"]["metadata"]["name"] == subject["name"]


def test_pod_is_none_of_the_operator_s(render: Render) -> None:
    made = hooks(render)
    (deployment,) = [m for m in render() if m["kind"] == "Deployment"]
    wanted = deployment["spec"]["selector"]["matchLabels"].items()
    assert not wanted <= made["Pod"]["metadata"]["labels"].items()
    pod, operator = made["Pod"]["spec"], deployment["spec"]["template"]["spec"]
    assert pod["securityContext"] == operator["securityContext"]
    (container,) = pod["containers"]
    for field in ("image", "securityContext"):
        assert container[field] == operator["containers"][0][field]


def test_it_asks_where_the_operator_works(render: Render) -> None:
    made = hooks(render, {"watchNamespaces": ["team-a", "team-b"]})
    assert made["Pod"]["spec"]["containers"][0]["args"] == ["team-a"]
    assert made["Role"]["metadata"]["namespace"] == "team-a"
    assert made["Pod"]["metadata"]["namespace"] == "mopt-system"
    assert hooks(render)["Pod"]["spec"]["containers"][0]["args"] == ["mopt-system"]


def test_no_test_where_the_administrator_binds_the_roles(render: Render) -> None:
    assert hooks(render, {"rbac": {"create": False}}) == {}


@pytest.mark.cluster
def test_helm_test_has_the_operator_answer(
    release: Command,
    kubectl: Command,
    get: Get,
    eventually: Eventually,
    run_operator: RunOperator,
    account_environment: Callable[[Path, str, str], dict[str, str]],
    tmp_path: Path,
) -> None:
    kubectl("wait", CRD, "--for=condition=Established", "--timeout=20s")
    home, pod = "mopt-checked", "checked-mopt-test"
    kubectl("create", "namespace", home)
    kubectl("label", "namespace", home, "pod-security.kubernetes.io/enforce=restricted")
    settings = "crds.install=false,rbac.aggregateToUserRoles=false,watchNamespaces={team-b}"
    release("install", "checked", "CHART", "--namespace", home, "--set", settings)

    def made() -> bool:
        return kubectl("get", "pod", pod, "-n", home, check=False).returncode == 0

    def play_the_kubelet() -> subprocess.CompletedProcess[str]:
        """Run the Pod's command, and report its end."""
        spec = get("pod", pod, "-n", home)["spec"]
        (container,) = spec["containers"]
        done = subprocess.run(
            [sys.executable, *container["command"][1:], *container["args"]],
            env=account_environment(tmp_path, home, spec["serviceAccountName"]),
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        phase = json.dumps({"status": {"phase": "Failed" if done.returncode else "Succeeded"}})
        kubectl("patch", "pod", pod, "-n", home, "--subresource=status", "--patch", phase)
        return done

    with run_operator(tmp_path, home, "checked-mopt"), ThreadPoolExecutor() as pool:
        tested = pool.submit(release, "test", "checked", "--namespace", home, "--timeout", "50s")
        eventually(made, "the test's Pod")
        done = play_the_kubelet()
        assert done.returncode == 0, done.stderr
        assert "the operator answers in namespace team-b" in done.stdout
        assert "Succeeded" in tested.result().stdout
    left = get("pod,serviceaccount,role,rolebinding,modeloptimization", "-A")["items"]
    assert [m["metadata"]["name"] for m in left if "test" in m["metadata"]["name"]] == []
    release("uninstall", "checked", "--namespace", home)
