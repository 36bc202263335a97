"""The operator as the chart sets it up: its own process, the chart's settings, the chart's roles.

Only the Pod around it is missing: the light cluster has no kubelet.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from chart_objects import Command, Eventually, Get, Manifest, RunOperator

pytestmark = pytest.mark.cluster


CRD = "customresourcedefinition/modeloptimizations.mopt.dev"


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@pytest.mark.parametrize(
    ("name", "namespaces"), [("everywhere", []), ("narrowly", ["team-a"])], ids=["all", "listed"]
)
def test_roles_suffice(
    release: Command,
    kubectl: Command,
    get: Get,
    eventually: Eventually,
    resource: Callable[[str, str], Manifest],
    run_operator: RunOperator,
    tmp_path: Path,
    name: str,
    namespaces: list[str],
) -> None:
    kubectl("wait", CRD, "--for=condition=Established", "--timeout=20s")
    installed, namespace = f"{name}-mopt", f"mopt-{name}"
    settings = ["crds.install=false", "rbac.aggregateToUserRoles=false"]
    settings += [f"watchNamespaces={{{','.join(namespaces)}}}"] if namespaces else []
    flags = ["--namespace", namespace, "--create-namespace", "--set", ",".join(settings)]
    release("install", name, "CHART", *flags)
    for team in ("team-a", "team-b"):
        kubectl("create", "--filename", "-", stdin=json.dumps(resource(name, team)))

    def condition(team: str) -> str:
        status = get("modeloptimization", name, "-n", team)["status"]
        ready = [c for c in status.get("conditions", []) if c["type"] == "Ready"]
        return ready[0]["reason"] if ready else "none"

    def pods(team: str) -> list[Manifest]:
        found = get("pods", "-n", team, "-l", f"mopt.dev/name={name}")["items"]
        assert isinstance(found, list)
        return found

    with run_operator(tmp_path, namespace, installed) as (port, log):
        eventually(lambda: _healthy(port), "/healthz")
        # The namespace enforces Pod Security restricted: the Job's Pod was admitted.
        eventually(lambda: len(pods("team-a")) == 1, "the Job's Pod in team-a")
        eventually(lambda: condition("team-a") != "none", "status in team-a")
        if namespaces:
            assert (condition("team-b"), pods("team-b")) == ("none", [])
        else:
            eventually(lambda: condition("team-b") != "none", "status in team-b")
        assert "forbidden" not in log.read_text().lower()

    for team in ("team-a", "team-b"):
        kubectl("delete", "modeloptimization", name, "-n", team)
    release("uninstall", name, "--namespace", namespace)
