"""PrometheusRule and dashboard: what the chart renders, and that everything named exists."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chart_objects import Manifest, Only

ROOT = Path(__file__).resolve().parents[2]
RULE: Manifest = {"enabled": True}


def _rule(**more: Any) -> Manifest:
    return {"metrics": {"prometheusRule": RULE | more}}


def _alerts(rule: Manifest) -> dict[str, Manifest]:
    return {alert["alert"]: alert for group in rule["spec"]["groups"] for alert in group["rules"]}


def test_neither_is_made_unasked(render: Callable[..., list[Manifest]]) -> None:
    found = [(m["kind"], m["metadata"]["name"]) for m in render()]
    assert "PrometheusRule" not in [kind for kind, _ in found]
    assert ("ConfigMap", "mopt-dashboard") not in found


def test_each_alert_tells_what_it_is_and_where_to_read_on(only: Only) -> None:
    page = (ROOT / "docs" / "runbook.md").read_text()
    anchors = {title.lower() for title in re.findall(r"^## (\w+)$", page, re.MULTILINE)}
    alerts = _alerts(only("PrometheusRule", _rule()))
    for alert in alerts.values():
        said = alert["annotations"]
        assert said["summary"].endswith(".")
        assert said["description"].endswith(".")
        base, _, anchor = said["runbook_url"].partition("#")
        assert base.endswith("docs/runbook.md")
        assert anchor in anchors
        # Nothing is left to be replaced.
        assert not re.search(r"%\w+%", json.dumps(alert))
    assert anchors == {name.lower() for name in alerts}


def test_annotations_name_labels_that_the_alert_has(only: Only) -> None:
    for alert in _alerts(only("PrometheusRule", _rule())).values():
        (kept,) = set(re.findall(r"\bby \(([^)]*)\) *\n? *\(?", alert["expr"])) or {""}
        named = re.findall(r"\$labels\.(\w+)", json.dumps(alert["annotations"]))
        assert set(named) <= {label.strip() for label in kept.split(",")}, alert["alert"]


def test_rule_takes_the_administrators_words(only: Only) -> None:
    stalled = {"seconds": 60, "severity": "page", "for": "2m", "labels": {"team": "ml"}}
    rule = only(
        "PrometheusRule",
        _rule(
            namespace="monitoring",
            labels={"release": "prom"},
            annotations={"a": "b"},
            selector='job="mopt-metrics"',
            runbookURL="https://wiki.example.com/mopt",
            alerts={
                "MoptResourceStalled": stalled | {"annotations": {"summary": "Look."}},
                "MoptResultOutdated": {"enabled": False},
                "MoptJobsFailing": {"ratio": 0.5},
            },
        ),
    )
    assert rule["metadata"]["namespace"] == "monitoring"
    assert rule["metadata"]["labels"]["release"] == "prom"
    assert rule["metadata"]["annotations"] == {"a": "b"}
    alerts = _alerts(rule)
    assert "MoptResultOutdated" not in alerts
    changed = alerts["MoptResourceStalled"]
    assert changed["expr"].endswith("> 60")
    assert changed["for"] == "2m"
    assert changed["labels"] == {"severity": "page", "team": "ml"}
    assert changed["annotations"]["summary"] == "Look."
    runbook = "https://wiki.example.com/mopt#moptresourcestalled"
    assert changed["annotations"]["runbook_url"] == runbook
    assert "> 0.5" in alerts["MoptJobsFailing"]["expr"]
    for alert in alerts.values():
        metrics = re.findall(r"\b(?:mopt|process)_\w+", alert["expr"])
        assert len(metrics) == alert["expr"].count('job="mopt-metrics"'), alert["alert"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"alerts": {"MoptNoLeader": {"seconds": 5}}}, "MoptNoLeader has no value seconds"),
        ({"alerts": {"MoptNoLaeder": {}}}, "additional properties 'MoptNoLaeder' not allowed"),
        ({"alerts": {"MoptNoLeader": {"for": "soon"}}}, "alerts/MoptNoLeader/for"),
        ({"alerts": {"MoptApiErrors": {"ratio": 5}}}, "alerts/MoptApiErrors/ratio"),
        ({"selector": "job=mopt"}, "prometheusRule/selector"),
        ({"runbookURL": "wiki"}, "prometheusRule/runbookURL"),
    ],
)
def test_wrong_alert_is_refused(
    refusal: Callable[[Manifest], str], values: Manifest, words: str
) -> None:
    assert words in refusal(_rule(**values))


def test_dashboard_is_what_grafana_s_sidecar_selects(
    render: Callable[..., list[Manifest]],
) -> None:
    values = {"enabled": True, "namespace": "monitoring", "annotations": {"grafana_folder": "ML"}}
    manifests = render({"metrics": {"dashboard": values}})
    (made,) = [m for m in manifests if m["metadata"]["name"] == "mopt-dashboard"]
    assert made["kind"] == "ConfigMap"
    assert made["metadata"]["namespace"] == "monitoring"
    assert made["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert made["metadata"]["annotations"] == {"grafana_folder": "ML"}
    board = json.loads(made["data"]["mopt.json"])
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [panel["gridPos"] for panel in panels]
    covered = [(x, y) for p in places for x in _span(p, "x", "w") for y in _span(p, "y", "h")]
    assert len(covered) == len(set(covered))
    assert max(x for x, _ in covered) < 24


def _span(place: dict[str, int], start: str, size: str) -> range:
    return range(place[start], place[start] + place[size])


TLS: Manifest = {"secretName": "mopt-tls", "clientCertificates": False}


def test_certificate_is_mounted_and_probes_speak_tls(only: Only) -> None:
    deployment = only("Deployment", {"metrics": {"tls": TLS}})
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["scheme"] == "HTTPS"
    volume = {"name": "tls", "secret": {"secretName": "mopt-tls"}}
    assert volume in pod["volumes"]
    (mount,) = [m for m in container["volumeMounts"] if m["name"] == "tls"]
    settings = json.loads(only("ConfigMap", {"metrics": {"tls": TLS}})["data"]["config.json"])
    expected = {"clientCertificates": False, "bearerTokens": False}
    assert settings["healthTls"] == {"folder": mount["mountPath"], **expected}
    (port,) = only("Service", {"metrics": {"tls": TLS}})["spec"]["ports"]
    assert port["appProtocol"] == "https"


@pytest.mark.parametrize(
    ("kind", "endpoints"),
    [("ServiceMonitor", "endpoints"), ("PodMonitor", "podMetricsEndpoints")],
)
def test_monitor_trusts_the_secrets_authority(only: Only, kind: str, endpoints: str) -> None:
    value = kind[0].lower() + kind[1:]
    metrics = {"tls": TLS, value: {"enabled": True}}
    (endpoint,) = only(kind, {"metrics": metrics})["spec"][endpoints]
    assert endpoint["scheme"] == "https"
    assert endpoint["tlsConfig"] == {
        "ca": {"secret": {"name": "mopt-tls", "key": "ca.crt"}},
        "serverName": "mopt-metrics.mopt-system.svc",
    }
    given = {"caFile": "/ca.crt", "certFile": "/tls.crt", "keyFile": "/tls.key"}
    metrics[value] = {"enabled": True, "namespace": "monitoring", "tlsConfig": given}
    metrics["tls"] = TLS | {"clientCertificates": True}
    (endpoint,) = only(kind, {"metrics": metrics})["spec"][endpoints]
    assert endpoint["tlsConfig"] == given


@pytest.mark.parametrize(
    ("tls", "monitor", "words"),
    [
        ({"clientCertificates": True}, {}, "needs metrics.tls.secretName"),
        ({"bearerTokens": True}, {}, "bearerTokens needs metrics.tls.secretName"),
        (TLS, {"namespace": "monitoring"}, "needs the monitor's tlsConfig"),
        (TLS | {"clientCertificates": True}, {}, "with Prometheus' certificate"),
        ({"secretName": "A"}, {}, "/metrics/tls/secretName"),
    ],
)
def test_tls_that_cannot_work_is_refused(
    refusal: Callable[[Manifest], str], tls: Manifest, monitor: Manifest, words: str
) -> None:
    metrics = {"tls": tls, "serviceMonitor": {"enabled": True} | monitor}
    assert words in refusal({"metrics": metrics})


TOKENS: Manifest = TLS | {"bearerTokens": True}


def test_metrics_behind_tokens_come_with_their_roles(
    render: Callable[..., list[Manifest]],
) -> None:
    assert not [m for m in render() if m["metadata"]["name"].endswith((":metrics", "delegator"))]
    found = {(m["kind"], m["metadata"]["name"]): m for m in render({"metrics": {"tls": TOKENS}})}
    binding = found["ClusterRoleBinding", "mopt-system:mopt:auth-delegator"]
    assert binding["roleRef"]["name"] == "system:auth-delegator"
    reader = found["ClusterRole", "mopt-system:mopt:metrics"]
    assert reader["rules"] == [{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}]
    (text,) = (m["data"]["config.json"] for m in found.values() if m["kind"] == "ConfigMap")
    assert json.loads(text)["healthTls"]["bearerTokens"] is True


def test_monitors_show_a_token(only: Only, refusal: Callable[[Manifest], str]) -> None:
    metrics: Manifest = {"tls": TOKENS, "serviceMonitor": {"enabled": True}}
    (endpoint,) = only("ServiceMonitor", {"metrics": metrics})["spec"]["endpoints"]
    assert endpoint["bearerTokenFile"].endswith("serviceaccount/token")
    given = {"credentials": {"name": "prometheus-token", "key": "token"}}
    metrics["serviceMonitor"]["authorization"] = given
    (endpoint,) = only("ServiceMonitor", {"metrics": metrics})["spec"]["endpoints"]
    assert endpoint["authorization"] == given
    assert "bearerTokenFile" not in endpoint
    pods: Manifest = {"tls": TOKENS, "podMonitor": {"enabled": True}}
    assert "needs metrics.podMonitor.authorization" in refusal({"metrics": pods})
    pods["podMonitor"]["authorization"] = given
    (endpoint,) = only("PodMonitor", {"metrics": pods})["spec"]["podMetricsEndpoints"]
    assert endpoint["authorization"] == given
