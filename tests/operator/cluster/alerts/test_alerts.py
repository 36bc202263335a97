"""Each alert of the chart on a live cluster: a real Prometheus scrapes real operators."""

from __future__ import annotations

import base64
import json
import ssl
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from alert_causes import CAUSES, LEASE, Release, until
from http_proxy import HttpProxy
from job_messages import Messages
from light_cluster import Api, MakeNamespace, MakeOperator, MakeResource, Operator, by_way_of
from prometheus_server import prometheus

pytestmark = pytest.mark.alerts

EAGER = Path(__file__).resolve().parents[3] / "support" / "eager_operator.py"
# Longer than any alert waits here.
QUIET_SECONDS = 30.0


@pytest.fixture(scope="module")
def proxy(api: Api) -> Iterator[HttpProxy]:
    cluster = api.config["clusters"][0]["cluster"]
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    running = HttpProxy(cluster["server"], ssl.create_default_context(cadata=authority))
    yield running
    running.close()


@pytest.fixture(scope="module")
def proxied(
    proxy: HttpProxy, operator_kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return a kubeconfig by which operators reach the API server through the proxy."""
    return by_way_of(proxy.url, operator_kubeconfig, tmp_path_factory.mktemp("proxied"))


@pytest.fixture(scope="module")
def release(
    api: Api,
    proxy: HttpProxy,
    proxied: Path,
    make_operator: MakeOperator,
    make_namespace: MakeNamespace,
    free_port: Callable[[], int],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Release]:
    """Run a leader and a standby, and Prometheus beside them."""
    home, closed, crowded, spare = (make_namespace() for _ in range(4))

    def make(*namespaces: str, **config: object) -> Operator:
        operator = make_operator(
            kubeconfig=proxied, watchNamespaces=[*namespaces], profileObjects=True, **config
        )
        operator.command = [operator.command[0], str(EAGER)]
        return operator

    election = {"namespace": home, "name": LEASE}
    leader, standby = (make(home, closed, crowded, leaderElection=election) for _ in range(2))
    strangers = tuple(make(spare) for _ in range(2))
    for operator in (leader, standby):
        operator.start()
    targets = [operator.address for operator in (leader, standby, *strangers)]
    with prometheus(tmp_path_factory.mktemp("prometheus"), free_port(), targets) as server:
        # What happens before the first scrape is no increase.
        until(lambda: server.value("sum(up)") == 2, "both operators are scraped")
        yield Release(
            api,
            proxy,
            server,
            leader,
            standby,
            strangers,
            home=home,
            closed=closed,
            crowded=crowded,
        )
    for operator in (leader, standby, *strangers):
        if operator.running:
            operator.kill()


@pytest.fixture
def make(release: Release, make_resource: MakeResource) -> MakeResource:
    """Return a maker of resources in the release's first namespace."""
    return partial(make_resource, namespace=release.home)


def test_healthy_release_raises_none(release: Release, make: MakeResource) -> None:
    server = release.prometheus
    make(name="healthy").run(Messages())
    until(lambda: server.value("sum(mopt_resources)") == 1, "the resource is shown")
    until(lambda: not server.alerts(), "what the start raised is over")
    assert server.value("sum(mopt_leader)") == 1
    assert server.broken_rules() == []
    until_quiet = time.monotonic() + QUIET_SECONDS
    while time.monotonic() < until_quiet:
        assert server.alerts() == []
        time.sleep(1.0)


def test_each_alert_has_a_cause(release: Release) -> None:
    assert release.prometheus.rules == CAUSES.keys()


@pytest.mark.parametrize("name", CAUSES)
def test_alert_fires(
    name: str, release: Release, make: MakeResource, record: Callable[[str, str, str], None]
) -> None:
    cause, before = CAUSES[name], datetime.now(UTC)
    try:
        labels = cause(release, make) | {"alertname": name}
        began = time.monotonic()
        found = until(lambda: release.prometheus.firing(labels), f"{name} with {labels}")
    finally:
        release.proxy.heal()
    record(name, str(cause.__doc__), f"{time.monotonic() - began:.0f} s")
    assert datetime.fromisoformat(found["activeAt"]) > before
    # Prometheus puts what is wrong with a template in its place.
    assert "error expanding" not in json.dumps(found)
