"""The operator's Deployment that the chart renders: its Pod, its image, its replicas."""

from __future__ import annotations

from typing import Any

import pytest
from chart_objects import Only, Render, container_of, named

DIGEST = "sha256:" + "5" * 64


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
    assert container_of(deployment)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}} in pod["volumes"]


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


def test_budget_keeps_one_operator(only: Only, render: Render) -> None:
    budget = only("PodDisruptionBudget")
    assert budget["spec"]["maxUnavailable"] == 1
    assert budget["spec"]["selector"] == only("Deployment")["spec"]["selector"]
    # With one replica it could only hinder a drain.
    assert named(render({"replicas": 1}), "PodDisruptionBudget") == []
    off = render({"podDisruptionBudget": {"enabled": False}})
    assert named(off, "PodDisruptionBudget") == []


def test_variables_and_volumes_are_added_to_the_operator_s(only: Only) -> None:
    proxy = {"name": "HTTPS_PROXY", "value": "http://proxy:3128"}
    volume = {"name": "ca", "configMap": {"name": "corporate-ca"}}
    mount = {"name": "ca", "mountPath": "/etc/corporate", "readOnly": True}
    given = {"extraEnv": [proxy], "extraVolumes": [volume], "extraVolumeMounts": [mount]}
    deployment = only("Deployment", given)
    container, bare = container_of(deployment), container_of(only("Deployment"))
    # Of two of one name the last one counts.
    assert container["env"] == [proxy, *bare["env"]]
    assert container["volumeMounts"] == [*bare["volumeMounts"], mount]
    assert volume in deployment["spec"]["template"]["spec"]["volumes"]


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
    container = container_of(only("Deployment"))
    assert container["ports"] == [{"name": "health", "containerPort": 8080}]
    for probe, path in (("startup", "healthz"), ("liveness", "healthz"), ("readiness", "readyz")):
        wanted = {"path": f"/{path}", "port": "health"}
        assert container[f"{probe}Probe"]["httpGet"] == wanted


def test_configuration_is_mounted_where_the_operator_reads_it(only: Only) -> None:
    deployment, config = only("Deployment"), only("ConfigMap")
    pod, container = deployment["spec"]["template"]["spec"], container_of(deployment)
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
    assert container_of(only("Deployment", values))["image"] == image
