"""What the chart renders: roles, the operator's Pod, the CRD."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from mopt_api.spec import ModelOptimizationSpec
from mopt_operator.cluster import api, election, offers

Manifest = dict[str, Any]
Render = Callable[..., list[Manifest]]
Only = Callable[..., Manifest]

RULES = [
    {
        "apiGroups": ["mopt.dev"],
        "resources": ["modeloptimizations"],
        "verbs": ["get", "list", "watch"],
    },
    {"apiGroups": ["mopt.dev"], "resources": ["modeloptimizations/status"], "verbs": ["update"]},
    {
        "apiGroups": ["batch"],
        "resources": ["jobs"],
        "verbs": ["get", "list", "watch", "create", "patch", "delete"],
    },
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["list", "create"]},
    {"apiGroups": ["kueue.x-k8s.io"], "resources": ["workloads"], "verbs": ["list"]},
]
PROFILE_RULES = [
    {
        "apiGroups": ["mopt.dev"],
        "resources": ["optimizationprofiles"],
        "verbs": ["get", "list", "watch", "create", "patch", "delete"],
    },
    {"apiGroups": ["mopt.dev"], "resources": ["optimizationprofiles/status"], "verbs": ["patch"]},
    {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]},
    {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]},
]
DIGEST = "sha256:" + "5" * 64
EXTRA = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "extra-{{ .Release.Name }}"}}
# All objects that the chart can make but one: a PodMonitor excludes a ServiceMonitor.
EVERYTHING: dict[str, Any] = {
    "profileObjects": {"requireUse": True},
    "networkPolicy": {"enabled": True},
    "metrics": {
        "serviceMonitor": {"enabled": True},
        "prometheusRule": {"enabled": True},
        "dashboard": {"enabled": True},
    },
    "extraObjects": [EXTRA, "apiVersion: v1\nkind: Secret\nmetadata:\n  name: extra-text\n"],
}


def _named(manifests: list[Manifest], kind: str) -> list[tuple[str | None, str]]:
    return [
        (m["metadata"].get("namespace"), m["metadata"]["name"])
        for m in manifests
        if m["kind"] == kind
    ]


def _container(deployment: Manifest) -> Manifest:
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert isinstance(container, dict)
    return container


def test_lint_finds_nothing(helm: str, chart: Path) -> None:
    done = subprocess.run(
        [helm, "lint", "--strict", chart], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # Nor does it recommend anything.
    assert "[WARNING]" not in done.stdout
    assert "[INFO]" not in done.stdout


def test_the_icon_is_a_picture_within_the_chart(chart: Path) -> None:
    icon = yaml.safe_load((chart / "Chart.yaml").read_text())["icon"]
    head, _, data = icon.partition(",")
    assert head == "data:image/svg+xml;base64"
    picture = ElementTree.fromstring(base64.b64decode(data, validate=True))  # noqa: S314 - ours
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(icon) < 1000


@pytest.mark.parametrize(
    ("version", "accepted"), [("1.30.9", False), ("1.31.0", True), ("1.33.4-gke.100", True)]
)
def test_kubernetes_version(helm: str, chart: Path, version: str, accepted: bool) -> None:
    done = subprocess.run(
        [helm, "template", "mopt", chart, "--kube-version", version],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode == 0) is accepted, done.stderr
    assert ("kubeVersion: >=1.31" in done.stderr) is not accepted


def test_default_objects(render: Render) -> None:
    manifests = render()
    assert sorted((m["kind"], m["metadata"]["name"]) for m in manifests) == [
        ("ClusterRole", "mopt-system:mopt"),
        ("ClusterRole", "mopt-system:mopt:edit"),
        ("ClusterRole", "mopt-system:mopt:list-profiles"),
        ("ClusterRole", "mopt-system:mopt:profiles"),
        ("ClusterRole", "mopt-system:mopt:view"),
        ("ClusterRoleBinding", "mopt-system:mopt"),
        ("ClusterRoleBinding", "mopt-system:mopt:list-profiles"),
        ("ClusterRoleBinding", "mopt-system:mopt:profiles"),
        ("ConfigMap", "mopt"),
        ("CustomResourceDefinition", "modeloptimizations.mopt.dev"),
        ("CustomResourceDefinition", "optimizationprofiles.mopt.dev"),
        ("Deployment", "mopt"),
        ("PodDisruptionBudget", "mopt"),
        ("Role", "mopt-leader"),
        ("RoleBinding", "mopt-leader"),
        ("Service", "mopt-metrics"),
        ("ServiceAccount", "mopt"),
    ]


def test_every_object_carries_the_labels(render: Render) -> None:
    common = {
        "commonLabels": {"owner": "platform", "app.kubernetes.io/name": "x"},
        "commonAnnotations": {"contact": "platform@example.com"},
        "podLabels": {"owner": "ml"},
    }
    everything = render(EVERYTHING | common, tests=True)
    assert len(everything) == 29
    for manifest in everything:
        if manifest["metadata"]["name"].startswith("extra"):
            continue
        labels = manifest["metadata"]["labels"]
        assert labels["owner"] == "platform", manifest["kind"]
        assert manifest["metadata"]["annotations"]["contact"] == "platform@example.com"
        if manifest["kind"] == "Deployment":
            pod = manifest["spec"]["template"]["metadata"]["labels"]
            assert pod["owner"] == "ml"
            assert "owner" not in manifest["spec"]["selector"]["matchLabels"]
        assert labels["app.kubernetes.io/name"] == "mopt", manifest["kind"]
        assert labels["app.kubernetes.io/instance"] == "mopt", manifest["kind"]
        assert labels["app.kubernetes.io/managed-by"] == "Helm", manifest["kind"]


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
    assert not [n for n in _named(render(watched), "ClusterRole") if "profiles" in n[1]]
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
    assert not [n for n in _named(unlisted, "ClusterRoleBinding") if "list" in n[1]]


def test_use_of_profiles_is_demanded_where_asked(
    render: Render, only: Only, refusal: Callable[[dict[str, Any]], str]
) -> None:
    assert _named(render(), "ValidatingAdmissionPolicy") == []
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
    assert sorted(_named(manifests, "Role")) == expected
    assert sorted(_named(manifests, "RoleBinding")) == expected
    assert _named(manifests, "ClusterRoleBinding") == []
    assert (None, "mopt-system:mopt") not in _named(manifests, "ClusterRole")
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


def test_pod_is_restricted(only: Only) -> None:
    deployment = only("Deployment")
    pod = deployment["spec"]["template"]["spec"]
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "fsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert _container(deployment)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}} in pod["volumes"]


def test_two_operators_on_two_nodes_and_one_more_during_an_upgrade(only: Only) -> None:
    spec = only("Deployment")["spec"]
    assert spec["replicas"] == 2
    rolling = {"maxUnavailable": 0, "maxSurge": 1}
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": rolling}
    (spread,) = spec["template"]["spec"]["topologySpreadConstraints"]
    assert spread == {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": spec["selector"],
        "matchLabelKeys": ["pod-template-hash"],
    }


def test_spread_and_strategy_are_the_administrator_s(only: Only) -> None:
    zone = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    chosen = zone | {"labelSelector": {"matchLabels": {"a": "b"}}}
    spec = only(
        "Deployment",
        {
            "topologySpreadConstraints": [zone, chosen],
            "strategy": {"type": "Recreate"},
            "deploymentAnnotations": {"reloader.stakater.com/auto": "true"},
        },
    )
    ours, theirs = spec["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert ours["labelSelector"] == spec["spec"]["selector"]
    assert theirs == chosen
    assert spec["spec"]["strategy"] == {"type": "Recreate"}
    assert spec["metadata"]["annotations"] == {"reloader.stakater.com/auto": "true"}
    none = only("Deployment", {"topologySpreadConstraints": []})["spec"]["template"]["spec"]
    assert "topologySpreadConstraints" not in none


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


def test_budget_keeps_one_operator(only: Only, render: Render) -> None:
    budget = only("PodDisruptionBudget")
    assert budget["spec"]["maxUnavailable"] == 1
    assert budget["spec"]["selector"] == only("Deployment")["spec"]["selector"]
    # With one replica it could only hinder a drain.
    assert _named(render({"replicas": 1}), "PodDisruptionBudget") == []
    off = render({"podDisruptionBudget": {"enabled": False}})
    assert _named(off, "PodDisruptionBudget") == []


def test_metrics_are_served_and_scraped(only: Only, render: Render) -> None:
    service, container = only("Service"), _container(only("Deployment"))
    assert service["spec"]["selector"] == only("Deployment")["spec"]["selector"]["matchLabels"]
    (port,) = service["spec"]["ports"]
    assert port["targetPort"] in [p["name"] for p in container["ports"]]
    assert _named(render(), "ServiceMonitor") == []
    settings = {"metrics": {"serviceMonitor": {"enabled": True, "labels": {"release": "prom"}}}}
    monitor = only("ServiceMonitor", settings)
    assert monitor["metadata"]["labels"]["release"] == "prom"
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    assert wanted <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint == ENDPOINT | {"port": port["name"]}
    assert _named(render({"metrics": {"service": {"enabled": False}}}), "Service") == []


ENDPOINT = {"path": "/metrics", "interval": "30s", "honorLabels": True}


@pytest.mark.parametrize(
    ("kind", "endpoints", "port"),
    [
        ("ServiceMonitor", "endpoints", "metrics"),
        ("PodMonitor", "podMetricsEndpoints", "health"),
    ],
)
def test_monitor_lives_where_prometheus_looks(
    only: Only, kind: str, endpoints: str, port: str
) -> None:
    keep = [{"action": "keep", "sourceLabels": ["a"]}]
    drop = [{"action": "drop", "sourceLabels": ["b"]}]
    values = {
        "enabled": True,
        "namespace": "monitoring",
        "scrapeTimeout": "10s",
        "annotations": {"a": "b"},
        "relabelings": keep,
        "metricRelabelings": drop,
    }
    deployment = only("Deployment")
    monitor = only(kind, {"metrics": {kind[0].lower() + kind[1:]: values}})
    assert monitor["metadata"]["namespace"] == "monitoring"
    assert monitor["metadata"]["annotations"] == {"a": "b"}
    assert monitor["spec"]["namespaceSelector"] == {"matchNames": ["mopt-system"]}
    assert monitor["spec"]["selector"] == deployment["spec"]["selector"]
    more = {"scrapeTimeout": "10s", "relabelings": keep, "metricRelabelings": drop}
    assert monitor["spec"][endpoints] == [ENDPOINT | more | {"port": port}]
    if kind == "PodMonitor":
        assert port in [p["name"] for p in _container(deployment)["ports"]]


def test_network_policy_is_of_the_operator_s_pods_alone(only: Only, render: Render) -> None:
    assert _named(render(), "NetworkPolicy") == []
    policy = only("NetworkPolicy", {"networkPolicy": {"enabled": True}})
    assert policy["spec"]["podSelector"] == only("Deployment")["spec"]["selector"]
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    (ingress,) = policy["spec"]["ingress"]
    # The kubelet's probes and Prometheus' scrapes.
    assert ingress == {"ports": [{"port": "health", "protocol": "TCP"}]}
    assert policy["spec"]["egress"] == [
        {"ports": [{"port": 443, "protocol": "TCP"}, {"port": 6443, "protocol": "TCP"}]}
    ]
    monitoring = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "prom"}}}]
    api = [{"to": [{"ipBlock": {"cidr": "10.0.0.1/32"}}], "ports": [{"port": 6443}]}]
    given = {"enabled": True, "ingressFrom": monitoring, "egress": api}
    policy = only("NetworkPolicy", {"networkPolicy": given})
    assert policy["spec"]["ingress"][0]["from"] == monitoring
    assert policy["spec"]["egress"] == api


@pytest.mark.parametrize(
    ("endpoint", "port"),
    [
        ("http://collector.observability:4318", 4318),
        ("http://[fd00::1]:4318/otlp", 4318),
        ("http://collector", 80),
        ("https://otlp.example.com/tempo", 443),
    ],
)
def test_network_policy_lets_traces_out(only: Only, endpoint: str, port: int) -> None:
    policy = {"networkPolicy": {"enabled": True}}
    off, on = ({"endpoint": endpoint, "enabled": enabled} for enabled in (False, True))
    without = only("NetworkPolicy", policy | {"tracing": off})["spec"]["egress"]
    *same, more = only("NetworkPolicy", policy | {"tracing": on})["spec"]["egress"]
    assert same == without
    dns = [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]
    assert more == {"ports": [{"port": port, "protocol": "TCP"}, *dns]}


def test_network_policy_of_jobs_is_of_their_pods_alone(render: Render) -> None:
    given = {"jobs": {"namespaces": ["team-a", "team-b"]}}
    tracing = {"enabled": True, "endpoint": "http://collector:4318"}
    manifests = render({"networkPolicy": given, "tracing": tracing})
    places = [("team-a", "mopt-jobs"), ("team-b", "mopt-jobs")]
    assert _named(manifests, "NetworkPolicy") == places
    for policy in (m for m in manifests if m["kind"] == "NetworkPolicy"):
        assert policy["spec"]["podSelector"] == {
            "matchExpressions": [{"key": "mopt.dev/uid", "operator": "Exists"}]
        }
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
        assert "ingress" not in policy["spec"]
        own, collector = policy["spec"]["egress"]
        assert [port["port"] for port in own["ports"]] == [53, 53, 443]
        assert [port["port"] for port in collector["ports"]] == [4318]


def test_extra_objects_are_templates(render: Render) -> None:
    extra = [m for m in render(EVERYTHING) if m["metadata"]["name"].startswith("extra")]
    assert [(m["kind"], m["metadata"]["name"]) for m in extra] == [
        ("Secret", "extra-text"),
        ("ConfigMap", "extra-mopt"),
    ]


def test_other_namespace_holds_all_that_is_the_operator_s(render: Render) -> None:
    manifests = render(EVERYTHING | {"namespaceOverride": "ops"}, tests=True)
    home = {m["metadata"].get("namespace") for m in manifests if not _is_extra(m)}
    assert home == {"ops", None}
    subjects = [subject for m in manifests for subject in m.get("subjects", ())]
    assert {s["namespace"] for s in subjects if s["kind"] == "ServiceAccount"} == {"ops"}
    assert (None, "ops:mopt") in _named(manifests, "ClusterRole")
    (config,) = [m for m in manifests if "config.json" in m.get("data", ())]
    assert '"namespace": "ops"' in config["data"]["config.json"]


def _is_extra(manifest: Manifest) -> bool:
    return bool(manifest["metadata"]["name"].startswith("extra"))


def test_variables_and_volumes_are_added_to_the_operator_s(only: Only) -> None:
    proxy = {"name": "HTTPS_PROXY", "value": "http://proxy:3128"}
    volume = {"name": "ca", "configMap": {"name": "corporate-ca"}}
    mount = {"name": "ca", "mountPath": "/etc/corporate", "readOnly": True}
    given = {"extraEnv": [proxy], "extraVolumes": [volume], "extraVolumeMounts": [mount]}
    deployment = only("Deployment", given)
    container, bare = _container(deployment), _container(only("Deployment"))
    # Of two of one name the last one counts.
    assert container["env"] == [proxy, *bare["env"]]
    assert container["volumeMounts"] == [*bare["volumeMounts"], mount]
    assert volume in deployment["spec"]["template"]["spec"]["volumes"]


@pytest.mark.parametrize("user", [{"runAsUser": None}, {"runAsUser": 1000650000, "fsGroup": None}])
def test_pod_is_restricted_as_whoever_it_runs(only: Only, user: dict[str, int | None]) -> None:
    pod = only("Deployment", {"podSecurityContext": user})["spec"]["template"]["spec"]
    fixed = dict.fromkeys(("runAsUser", "runAsGroup", "fsGroup"), 65532)
    chosen = {key: value for key, value in (fixed | user).items() if value is not None}
    assert pod["securityContext"] == chosen | {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def test_openshift_chooses_the_operator_s_user(only: Only) -> None:
    deployment = only("Deployment", apis=("security.openshift.io/v1",))
    assert deployment["spec"]["template"]["spec"]["securityContext"] == {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def test_what_artifact_hub_shows_is_true(chart: Path, only: Only, render: Render) -> None:
    facts = yaml.safe_load((chart / "Chart.yaml").read_text())
    hub = {key.partition("/")[2]: text for key, text in facts["annotations"].items()}
    images = {row["name"]: row["image"] for row in yaml.safe_load(hub["images"])}
    settings = json.loads(only("ConfigMap")["data"]["config.json"])
    assert images == {
        "operator": _container(only("Deployment"))["image"],
        "optimizer": settings["optimizerImage"],
    }
    shown = {row["name"]: row for row in yaml.safe_load(hub["crds"])}
    definitions = [m for m in render() if m["kind"] == "CustomResourceDefinition"]
    assert set(shown) == {definition["metadata"]["name"] for definition in definitions}
    for definition in definitions:
        row = shown[definition["metadata"]["name"]]
        assert row["kind"] == definition["spec"]["names"]["kind"]
        assert row["version"] in [version["name"] for version in definition["spec"]["versions"]]
    (example,) = yaml.safe_load(hub["crdsExamples"])
    ModelOptimizationSpec.model_validate(example["spec"])


def test_selector_survives_chart_and_app_versions(only: Only) -> None:
    # A selector is immutable: a version in it would make every upgrade fail.
    deployment = only("Deployment", {"podLabels": {"team": "ml", "app.kubernetes.io/name": "x"}})
    selector = deployment["spec"]["selector"]["matchLabels"]
    assert selector == {
        "app.kubernetes.io/name": "mopt",
        "app.kubernetes.io/instance": "mopt",
        "app.kubernetes.io/component": "operator",
    }
    assert deployment["spec"]["template"]["metadata"]["labels"] == {**selector, "team": "ml"}


def test_large_grace_period_stays_an_integer(only: Only) -> None:
    pod = only("Deployment", {"terminationGracePeriodSeconds": 1_000_000})["spec"]["template"]
    assert pod["spec"]["terminationGracePeriodSeconds"] == 1_000_000
    assert isinstance(pod["spec"]["terminationGracePeriodSeconds"], int)


def test_probes_ask_the_health_port(only: Only) -> None:
    container = _container(only("Deployment"))
    assert container["ports"] == [{"name": "health", "containerPort": 8080}]
    for probe, path in (("startup", "healthz"), ("liveness", "healthz"), ("readiness", "readyz")):
        wanted = {"path": f"/{path}", "port": "health"}
        assert container[f"{probe}Probe"]["httpGet"] == wanted


def test_configuration_is_mounted_where_the_operator_reads_it(only: Only) -> None:
    deployment, config = only("Deployment"), only("ConfigMap")
    pod, container = deployment["spec"]["template"]["spec"], _container(deployment)
    assert {"name": "MOPT_OPERATOR_CONFIG", "value": "/etc/mopt/config.json"} in container["env"]
    assert {"name": "config", "configMap": {"name": config["metadata"]["name"]}} in pod["volumes"]
    assert {"name": "config", "mountPath": "/etc/mopt", "readOnly": True} in container[
        "volumeMounts"
    ]
    assert list(config["data"]) == ["config.json", "profiles.json"]


@pytest.mark.parametrize(
    ("values", "image"),
    [
        ({}, "mopt/operator:0.1.0"),
        ({"image": {"tag": "dev"}}, "mopt/operator:dev"),
        ({"image": {"tag": "dev", "digest": DIGEST}}, f"mopt/operator@{DIGEST}"),
        (
            {"global": {"imageRegistry": "reg.example:5000/m/"}},
            "reg.example:5000/m/mopt/operator:0.1.0",
        ),
    ],
)
def test_operator_image(only: Only, values: dict[str, Any], image: str) -> None:
    assert _container(only("Deployment", values))["image"] == image


def test_service_account_of_the_administrator(render: Render) -> None:
    manifests = render({"serviceAccount": {"create": False, "name": "theirs"}})
    assert _named(manifests, "ServiceAccount") == []
    by_kind = {m["kind"]: m for m in manifests}
    assert by_kind["Deployment"]["spec"]["template"]["spec"]["serviceAccountName"] == "theirs"
    subjects = [s for m in manifests if m["kind"] == "ClusterRoleBinding" for s in m["subjects"]]
    assert {s["name"] for s in subjects if s["kind"] == "ServiceAccount"} == {"theirs"}


def test_other_release_name_is_part_of_names(helm: str, chart: Path) -> None:
    done = subprocess.run(
        [helm, "template", "blue", chart, "--show-only", "templates/deployment.yaml"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert yaml.safe_load(done.stdout)["metadata"]["name"] == "blue-mopt"


def _definitions(manifests: list[Manifest]) -> list[Manifest]:
    found = [m for m in manifests if m["kind"] == "CustomResourceDefinition"]
    assert len(found) == 2
    return found


def test_definitions_are_the_generated_ones(render: Render, chart: Path) -> None:
    for rendered in _definitions(render()):
        name = f"mopt.dev_{rendered['spec']['names']['plural']}.yaml"
        generated = yaml.safe_load((chart / "files" / name).read_text())
        assert rendered["spec"] == generated["spec"]
        assert rendered["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_definitions_need_not_be_kept(render: Render) -> None:
    for rendered in _definitions(render({"crds": {"keep": False}})):
        assert "helm.sh/resource-policy" not in rendered["metadata"].get("annotations", {})


def test_definitions_need_not_be_installed(render: Render) -> None:
    assert _named(render({"crds": {"install": False}}), "CustomResourceDefinition") == []
