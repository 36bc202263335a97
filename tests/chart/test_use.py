"""profileObjects.requireUse on a real API server: who may name which profile."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator

import pytest
from chart_objects import Command, Eventually, Manifest

pytestmark = pytest.mark.cluster

MakeResource = Callable[[str, str], Manifest]

NAMESPACE, TEAM = "mopt-system", "team-a"
RBAC = "rbac.authorization.k8s.io"
MANY = [f"p{number}" for number in range(8)]


def _grant(kubectl: Command, user: str, profiles: list[str], *, everywhere: bool = False) -> None:
    """Let a user write resources in the team's namespace, and use profiles."""
    kubectl("create", "rolebinding", user, "--clusterrole=edit", f"--user={user}", "-n", TEAM)
    rule = {
        "apiGroups": ["mopt.dev"],
        "resources": ["optimizationprofiles"],
        "resourceNames": profiles,
        "verbs": ["use"],
    }
    name = f"use-{user}"
    role = {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole", "metadata": {"name": name}}
    binding = {
        "apiVersion": f"{RBAC}/v1",
        "kind": "ClusterRoleBinding" if everywhere else "RoleBinding",
        "metadata": {"name": name} | ({} if everywhere else {"namespace": TEAM}),
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": name},
        "subjects": [{"apiGroup": RBAC, "kind": "User", "name": user}],
    }
    for manifest in (role | {"rules": [rule]}, binding):
        kubectl("create", "--filename", "-", stdin=json.dumps(manifest))


Write = Callable[..., str]


@pytest.fixture
def write(
    release: Command, kubectl: Command, eventually: Eventually, resource: MakeResource
) -> Iterator[Write]:
    """Have the chart demand `use`; return a function by which a user applies a resource with
    targets of profiles, and which returns why that is refused, empty where it is not."""
    upgrade = ("upgrade", "mopt", "CHART", "--namespace", NAMESPACE)
    release(*upgrade, "--set", "profileObjects.requireUse=true")

    def run(user: str, name: str, *profiles: str | None, **annotations: str) -> str:
        manifest = copy.deepcopy(resource(name, TEAM))
        manifest["metadata"]["annotations"] = annotations
        if profiles:
            manifest["spec"]["targets"] = [
                {"name": f"t{number}"} | ({"profile": profile} if profile else {})
                for number, profile in enumerate(profiles)
            ]
        done = kubectl(
            "apply", f"--as={user}", "--filename", "-", stdin=json.dumps(manifest), check=False
        )
        return done.stderr if done.returncode else ""

    _grant(kubectl, "dee", ["other"])

    def holds() -> bool:
        attempt = ("create", "--dry-run=server", "--as=dee", "--filename", "-")
        done = kubectl(*attempt, stdin=json.dumps(resource("tried", TEAM)), check=False)
        return "you may not use profile default" in done.stderr

    # Some moments after it was created.
    eventually(holds, "the policy")
    yield run
    release(*upgrade, "--reset-values")
    for kind in ("rolebinding", "clusterrolebinding", "clusterrole"):
        kubectl("delete", kind, "-n", TEAM, "--ignore-not-found", "use-dee", "use-cara", "use-eve")
    kubectl("delete", "rolebinding", "-n", TEAM, "--ignore-not-found", "dee", "cara", "eve")
    kubectl("delete", "modeloptimization", "-n", TEAM, "--ignore-not-found", "own", "wide")


def test_profiles_are_named_by_those_who_may_use_them(
    write: Write, kubectl: Command, eventually: Eventually
) -> None:
    _grant(kubectl, "cara", ["default", "l4"])
    eventually(lambda: write("cara", "own") == "", "the right to use default")
    assert "you may not use profile t4" in write("cara", "own", None, "l4", "t4")
    assert write("cara", "own", None, "l4") == ""
    # Who changes something else needs no right to what is named already.
    assert write("dee", "own", None, "l4", team="b") == ""
    assert write("dee", "own", None, "l4", "other") == ""
    assert "you may not use profile p1" in write("dee", "own", "p1", "l4")
    # All that a spec can name, by a right for all namespaces: no bound on cost is in the way.
    _grant(kubectl, "eve", MANY, everywhere=True)
    eventually(lambda: write("eve", "wide", *MANY) == "", "the right to use many")
    assert "you may not use profile default" in write("eve", "wide", *MANY[:7], None)
