"""Who reaches whom, as the chart renders it: scrapes, monitors and network policies."""

from __future__ import annotations

import pytest
from chart_objects import Only, Render, container_of, named

ENDPOINT = {"path": "/metrics", "interval": "30s", "honorLabels": True}


def test_metrics_are_served_and_scraped(only: Only, render: Render) -> None:
    service, container = only("Service"), container_of(only("Deployment"))
    assert service["spec"]["selector"] == only("Deployment")["spec"]["selector"]["matchLabels"]
    (port,) = service["spec"]["ports"]
    assert port["targetPort"] in [p["name"] for p in container["ports"]]
    assert named(render(), "ServiceMonitor") == []
    settings = {"metrics": {"serviceMonitor": {"enabled": True, "labels": {"release": "prom"}}}}
    monitor = only("ServiceMonitor", settings)
    assert monitor["metadata"]["labels"]["release"] == "prom"
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    assert wanted <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint == ENDPOINT | {"port": port["name"]}
    assert named(render({"metrics": {"service": {"enabled": False}}}), "Service") == []


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
        assert port in [p["name"] for p in container_of(deployment)["ports"]]


def test_network_policy_is_of_the_operator_s_pods_alone(only: Only, render: Render) -> None:
    assert named(render(), "NetworkPolicy") == []
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
    assert named(manifests, "NetworkPolicy") == places
    for policy in (m for m in manifests if m["kind"] == "NetworkPolicy"):
        assert policy["spec"]["podSelector"] == {
            "matchExpressions": [{"key": "mopt.dev/uid", "operator": "Exists"}]
        }
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
        assert "ingress" not in policy["spec"]
        own, collector = policy["spec"]["egress"]
        assert [port["port"] for port in own["ports"]] == [53, 53, 443]
        assert [port["port"] for port in collector["ports"]] == [4318]
