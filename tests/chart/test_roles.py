"""Roles that the chart renders: the operator's, its users', and what admission refuses."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from chart_objects import Manifest, Only, Render, named
from operator_rules import PROFILE_RULES, RULES

from mopt_api.spec import ModelOptimizationSpec
from mopt_operator.cluster import api, election, offers


def test_cluster_role_holds_exactly_the_rules(render: Render) -> None:
    manifests = render()
    named = [m for m in manifests if m["metadata"]["name"] == "mopt-system:mopt"]
    role, binding = sorted(named, key=lambda m: str(m["kind"]))
    assert role["rules"] == RULES
    assert binding["roleRef"]["name"] == "mopt-system:mopt"
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": "mopt", "namespace": "mopt-system"}
    ]


@pytest.mark.parametrize(("module", "rules"), [(api, RULES), (offers, PROFILE_RULES)])
def test_rules_are_those_that_the_operator_lists(module: ModuleType, rules: list[Manifest]) -> None:
    listed = re.findall(r"^ {4}(\S+) +(\S+) +(\w[\w ]*)$", module.__doc__ or "", re.MULTILINE)
    assert [(group.strip('"'), resource, verbs.split()) for group, resource, verbs in listed] == [
        (rule["apiGroups"][0], rule["resources"][0], rule["verbs"]) for rule in rules
    ]


def test_profiles_take_a_cluster_role_of_their_own(render: Render) -> None:
    watched = {"watchNamespaces": ["team-a"]}
    assert not [n for n in named(render(watched), "ClusterRole") if "profiles" in n[1]]
    manifests = render(watched | {"profileObjects": {"enabled": True}})
    roles = {m["metadata"]["name"]: m for m in manifests if m["kind"] == "ClusterRole"}
    bindings = {m["metadata"]["name"]: m for m in manifests if m["kind"] == "ClusterRoleBinding"}
    assert roles["mopt-system:mopt:profiles"]["rules"] == PROFILE_RULES
    assert set(bindings) == {"mopt-system:mopt:profiles", "mopt-system:mopt:list-profiles"}
    for name, binding in bindings.items():
        assert binding["roleRef"]["name"] == name
    (reader,) = bindings["mopt-system:mopt:list-profiles"]["subjects"]
    assert (reader["kind"], reader["name"]) == ("Group", "system:authenticated")
    (rule,) = roles["mopt-system:mopt:list-profiles"]["rules"]
    assert rule["verbs"] == ["get", "list", "watch"]
    unlisted = render({"profileObjects": {"listedBy": []}})
    assert not [n for n in named(unlisted, "ClusterRoleBinding") if "list" in n[1]]


def test_use_of_profiles_is_demanded_where_asked(
    render: Render, only: Only, refusal: Callable[[dict[str, Any]], str]
) -> None:
    assert named(render(), "ValidatingAdmissionPolicy") == []
    values = {"profileObjects": {"requireUse": True}}
    policy, binding = (
        only(kind, values)
        for kind in ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
    )
    assert binding["spec"] == {
        "policyName": policy["metadata"]["name"],
        "validationActions": ["Deny"],
    }
    # One for each target that a spec can have.
    most = ModelOptimizationSpec.model_json_schema()["properties"]["targets"]["maxItems"]
    assert len(policy["spec"]["validations"]) == most
    said = refusal({"profileObjects": {"requireUse": True, "enabled": False}})
    assert "profileObjects.requireUse needs profileObjects.enabled=true" in said


def test_only_what_the_values_decide_is_refused_at_admission(render: Render) -> None:
    asked: dict[str, Any] = {"admission": {"refuseInvalid": True}}
    output = {"defaultOutput": {"uri": "s3://optimized/{namespace}"}}
    namespaces = {"watchNamespaces": ["team-a"]}
    policy = "ValidatingAdmissionPolicy"

    def refused(values: dict[str, Any]) -> list[str]:
        found = [manifest for manifest in render(values) if manifest["kind"] == policy]
        return [rule["message"].split()[0] for m in found for rule in m["spec"]["validations"]]

    assert refused(namespaces) == []
    # Profiles that are objects may be anybody's: only the API server knows which there are.
    assert refused(asked) == ["spec.output"]
    assert refused(asked | output) == []
    assert refused(asked | namespaces) == ["spec.output", "spec.targets:"]
    assert refused(asked | namespaces | output) == ["spec.targets:"]


@pytest.mark.parametrize("namespaces", [[], ["team-a", "team-b"]])
def test_no_role_has_a_wildcard_or_secrets(render: Render, namespaces: list[str]) -> None:
    roles = [m for m in render({"watchNamespaces": namespaces}) if m["kind"].endswith("Role")]
    assert len(roles) >= 3
    for rule in (rule for role in roles for rule in role["rules"]):
        words = {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
        assert not any("*" in word for word in words)
        assert not words & {"secrets", "escalate", "bind", "impersonate", "pods/exec"}


def test_watched_namespaces_get_roles_of_their_own(render: Render) -> None:
    manifests = render({"watchNamespaces": ["team-a", "team-b"]})
    expected = [("mopt-system", "mopt-leader"), ("team-a", "mopt"), ("team-b", "mopt")]
    assert sorted(named(manifests, "Role")) == expected
    assert sorted(named(manifests, "RoleBinding")) == expected
    assert named(manifests, "ClusterRoleBinding") == []
    assert (None, "mopt-system:mopt") not in named(manifests, "ClusterRole")
    for manifest in manifests:
        if manifest["metadata"].get("namespace") == "mopt-system":
            continue
        if manifest["kind"] == "Role":
            assert manifest["rules"] == RULES
        if manifest["kind"] == "RoleBinding":
            assert manifest["roleRef"] == {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "Role",
                "name": "mopt",
            }
            assert manifest["subjects"][0]["namespace"] == "mopt-system"


def test_user_roles_cannot_write_status(render: Render) -> None:
    roles = {
        m["metadata"]["name"].rsplit(":", 1)[1]: m
        for m in render()
        if m["kind"] == "ClusterRole" and m["metadata"]["name"].count(":") == 2
    }
    assert set(roles) == {"view", "edit", "profiles", "list-profiles"}
    for role in (roles["view"], roles["edit"]):
        for rule in role["rules"]:
            if "modeloptimizations/status" in rule["resources"]:
                assert rule["verbs"] == ["get", "list", "watch"]
    assert "rbac.authorization.k8s.io/aggregate-to-view" not in roles["edit"]["metadata"]["labels"]


def test_roles_can_be_left_to_the_administrator(render: Render) -> None:
    nobody = {"rbac": {"create": False, "aggregateToUserRoles": False}}
    manifests = render(nobody | {"profileObjects": {"listedBy": []}})
    assert {m["kind"] for m in manifests} == {
        "ConfigMap",
        "CustomResourceDefinition",
        "Deployment",
        "PodDisruptionBudget",
        "Service",
        "ServiceAccount",
    }


def test_lease_is_the_only_thing_touched_in_the_operator_s_namespace(
    render: Render, only: Only
) -> None:
    role = only("Role")
    assert (role["metadata"]["namespace"], role["metadata"]["name"]) == (
        "mopt-system",
        "mopt-leader",
    )
    leases = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"]}
    assert role["rules"] == [
        leases | {"verbs": ["create"]},
        leases | {"resourceNames": ["mopt-leader"], "verbs": ["get", "update"]},
    ]
    listed = re.findall(r"^ {4}(\S+) +(\S+) +(\w[\w ]*)$", election.__doc__ or "", re.MULTILINE)
    assert listed == [("coordination.k8s.io", "leases", "get create update")]
    assert only("RoleBinding")["roleRef"]["name"] == "mopt-leader"


def test_service_account_of_the_administrator(render: Render) -> None:
    manifests = render({"serviceAccount": {"create": False, "name": "theirs"}})
    assert named(manifests, "ServiceAccount") == []
    by_kind = {m["kind"]: m for m in manifests}
    assert by_kind["Deployment"]["spec"]["template"]["spec"]["serviceAccountName"] == "theirs"
    subjects = [s for m in manifests if m["kind"] == "ClusterRoleBinding" for s in m["subjects"]]
    assert {s["name"] for s in subjects if s["kind"] == "ServiceAccount"} == {"theirs"}
