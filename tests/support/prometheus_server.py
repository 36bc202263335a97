"""A real Prometheus that scrapes operators as the chart says, and judges the chart's alerts."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml
from served_program import served

from devcluster.resolving import binaries

Json = dict[str, Any]
Manifest = dict[str, Any]

CHART = Path(__file__).resolve().parents[2] / "helm" / "mopt"
NAMESPACE = "mopt-system"
# Between two scrapes, and between two looks at the rules.
INTERVAL = "2s"
SOONER = {"for": "6s", "window": "2m", "seconds": 8}
"""What the alerts' values say of time here; in the chart it is minutes, hours and weeks."""


def sooner(alerts: Json) -> Json:
    """Return the chart's values by which its alerts fire within seconds.

    Times alone are other ones; expressions, shares and counts are those that are installed, and
    what waits for nothing (`for: 0m`) waits for nothing here.

    Args:
        alerts: The values of metrics.prometheusRule.alerts.
    """
    return {
        name: {key: short for key, short in SOONER.items() if values.get(key, "0m") != "0m"}
        for name, values in alerts.items()
    }


def _rendered(helm: Path) -> dict[str, Manifest]:
    """Return the chart's PrometheusRule and ServiceMonitor by their kind."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    rule = {"enabled": True, "alerts": sooner(values["metrics"]["prometheusRule"]["alerts"])}
    metrics = {"prometheusRule": rule, "serviceMonitor": {"enabled": True}}
    done = subprocess.run(
        [helm, "template", "mopt", CHART, f"--namespace={NAMESPACE}", "--values=-"],
        input=json.dumps({"metrics": metrics}),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    documents = yaml.load_all(done.stdout, yaml.CSafeLoader)
    return {document["kind"]: document for document in documents if document}


def _configuration(monitor: Manifest, rules: Path, targets: Sequence[str]) -> Json:
    """Return what Prometheus' operator makes of a ServiceMonitor, with targets in place of Pods."""
    (endpoint,) = monitor["spec"]["endpoints"]
    scrape = {
        "job_name": monitor["metadata"]["name"],
        "metrics_path": endpoint["path"],
        "honor_labels": endpoint["honorLabels"],
        "static_configs": [{"targets": [*targets], "labels": {"namespace": NAMESPACE}}],
    }
    often = {"scrape_interval": INTERVAL, "scrape_timeout": INTERVAL}
    return {
        "global": often | {"evaluation_interval": INTERVAL},
        "rule_files": [str(rules)],
        "scrape_configs": [scrape],
    }


class Prometheus:
    """A server that runs.

    Attributes:
        rules: Name of each alert that it judges.
    """

    def __init__(self, url: str, rules: Manifest) -> None:
        self._url = url
        self.rules = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}

    def _ask(self, what: str, **query: str) -> Json:
        asked = f"{self._url}/api/v1/{what}?{urlencode(query)}"
        with urllib.request.urlopen(asked, timeout=30) as answer:  # noqa: S310 - on 127.0.0.1
            data: Json = json.loads(answer.read())["data"]
            return data

    def alerts(self) -> list[Json]:
        """Return the alerts that fire, or are about to: labels, annotations and state of each."""
        return list(self._ask("alerts")["alerts"])

    def firing(self, labels: dict[str, str]) -> Json | None:
        """Return the alert that fires with these labels, and perhaps others."""
        found = (a for a in self.alerts() if a["state"] == "firing")
        return next((a for a in found if labels.items() <= a["labels"].items()), None)

    def broken_rules(self) -> list[str]:
        """Return the alerts that have not been judged, or could not be."""
        groups = self._ask("rules")["groups"]
        return [r["name"] for g in groups for r in g["rules"] if r["health"] != "ok"]

    def value(self, expression: str) -> float | None:
        """Return what an expression of one series says now; None where there is none."""
        result = self._ask("query", query=expression)["result"]
        return float(result[0]["value"][1]) if result else None


@contextmanager
def prometheus(folder: Path, port: int, targets: Sequence[str]) -> Iterator[Prometheus]:
    """Run Prometheus while the context is open.

    Args:
        targets: HOST:PORT of each operator's pages.
    """
    programs = binaries(["helm", "prometheus"])
    rendered = _rendered(programs["helm"])
    rules, config = folder / "rules.yaml", folder / "prometheus.yaml"
    rules.write_text(yaml.safe_dump(rendered["PrometheusRule"]["spec"]))
    config.write_text(yaml.safe_dump(_configuration(rendered["ServiceMonitor"], rules, targets)))
    address = f"127.0.0.1:{port}"
    command: list[str | Path] = [
        programs["prometheus"],
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]
    with served(command, f"http://{address}/-/ready", folder / "prometheus.log", {}):
        yield Prometheus(f"http://{address}", rendered["PrometheusRule"]["spec"])
