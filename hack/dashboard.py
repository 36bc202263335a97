"""The Grafana dashboard of the chart: rows of panels, and their expressions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_WIDTH = 24  # columns of Grafana's grid
_HEIGHT = 8
_ALL = 'namespace=~"$namespace"'


@dataclass(frozen=True)
class Panel:
    """One panel.

    Attributes:
        queries: Expressions, each with the legend of its series.
        kind: Grafana's name of the kind of panel.
        instant: It shows what is now, not how it came to be.
    """

    title: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    kind: str = "timeseries"
    instant: bool = False


def _quantile(share: float, metric: str, *labels: str) -> str:
    by = ", ".join((*labels, "le"))
    rate = f"sum by ({by}) (rate({metric}_bucket[$__rate_interval]))"
    return f"histogram_quantile({share}, {rate})"


def _age(matchers: str) -> str:
    """Return since how many seconds a condition has said something, for each resource."""
    metric = "mopt_resource_condition_transition_timestamp_seconds"
    return f"time() - max by (namespace, name, reason) ({metric}{{{matchers},{_ALL}}})"


ROWS: dict[str, tuple[Panel, ...]] = {
    "Resources": (
        Panel("By Ready", (("sum by (ready, reason) (mopt_resources)", "{{ready}} {{reason}}"),)),
        Panel(
            "Stalled for",
            ((_age('type="Stalled",status="True"'), "{{namespace}}/{{name}} {{reason}}"),),
            *("s", "table"),
            instant=True,
        ),
        Panel(
            "Without progress for",
            (
                (
                    "time() - max by (namespace, name) "
                    f"(mopt_resource_waiting_timestamp_seconds{{{_ALL}}})",
                    "{{namespace}}/{{name}}",
                ),
            ),
            *("s", "table"),
            instant=True,
        ),
        Panel(
            "Not published for",
            ((_age('type="Published",status="False"'), "{{namespace}}/{{name}} {{reason}}"),),
            *("s", "table"),
            instant=True,
        ),
        Panel(
            "Outdated for",
            ((_age('type="Outdated",status="True"'), "{{namespace}}/{{name}} {{reason}}"),),
            *("s", "table"),
            instant=True,
        ),
        Panel(
            "Age of resources that are not Ready",
            (
                (
                    "time() - max by (namespace, name) "
                    f"(mopt_resource_created_timestamp_seconds{{{_ALL}}}) and on (namespace, name) "
                    f'mopt_resource_condition{{type="Ready",status!="True",{_ALL}}}',
                    "{{namespace}}/{{name}}",
                ),
            ),
            *("s", "table"),
            instant=True,
        ),
        Panel(
            "Speedup of what is selected",
            (
                (
                    f"max by (namespace, name, target) (mopt_selected_speedup_ratio{{{_ALL}}})",
                    "{{namespace}}/{{name}} {{target}}",
                ),
            ),
            "none",
        ),
        Panel(
            "Quality of what is selected",
            (
                (
                    "min by (namespace, name, target, metric, output, slice) "
                    f"(mopt_selected_quality{{{_ALL}}})",
                    "{{namespace}}/{{name}} {{target}} {{metric}} {{output}} {{slice}}",
                ),
            ),
            "none",
        ),
    ),
    "Jobs": (
        Panel("Waiting for a slot", (("max by (profile) (mopt_jobs_waiting)", "{{profile}}"),)),
        Panel(
            "Nodes that fit valid profiles",
            (
                (
                    "max by (profile) (mopt_profile_nodes) "
                    "* on (profile) min by (profile) (mopt_profile_valid)",
                    "{{profile}}",
                ),
            ),
        ),
        Panel(
            "Ended per hour",
            (
                (
                    "sum by (stage, outcome) (increase(mopt_job_duration_seconds_count[1h]))",
                    "{{stage}} {{outcome}}",
                ),
                ("sum by (stage) (increase(mopt_jobs_deleted_total[1h]))", "{{stage}} deleted"),
            ),
        ),
        Panel(
            "Median time in a queue, to start, to run",
            (
                (_quantile(0.5, "mopt_job_queue_seconds", "stage"), "{{stage}} in a queue"),
                (_quantile(0.5, "mopt_job_startup_seconds", "stage"), "{{stage}} to start"),
                (_quantile(0.5, "mopt_job_run_seconds", "stage"), "{{stage}} to run"),
            ),
            "s",
        ),
        Panel(
            "Measurements per hour",
            (
                (
                    "sum by (profile, state) (increase(mopt_measurements_total[1h]))",
                    "{{profile}} {{state}}",
                ),
            ),
        ),
        Panel(
            "Failures per hour",
            (
                (
                    "sum by (stage, reason) (increase(mopt_job_failures_total[1h]))",
                    "{{stage}} {{reason}}",
                ),
                (
                    "sum by (stage, reason) (increase(mopt_job_retries_total[1h]))",
                    "{{stage}} {{reason}}, tried again",
                ),
            ),
        ),
    ),
    "Operator": (
        Panel(
            "Leader",
            (
                ("max by (namespace, instance) (mopt_leader)", "{{namespace}} {{instance}}"),
                (
                    "max by (namespace) (increase(mopt_lease_transitions_total[1h]))",
                    "{{namespace}} changes per hour",
                ),
            ),
        ),
        Panel(
            "Version",
            (
                (
                    "sum by (version, optimizer_image) (mopt_build_info)",
                    "{{version}} {{optimizer_image}}",
                ),
            ),
            *("none", "table"),
            instant=True,
        ),
        Panel(
            "Restarts per hour",
            (("sum by (cause) (increase(mopt_restarts_total[1h]))", "{{cause}}"),),
        ),
        Panel(
            "Reconciliations per second",
            (("sum by (result) (rate(mopt_reconcile_total[$__rate_interval]))", "{{result}}"),),
            "ops",
        ),
        Panel(
            "Time to wait for a worker, and to be looked at (p90)",
            (
                (_quantile(0.9, "mopt_queue_wait_seconds"), "waiting"),
                (_quantile(0.9, "mopt_reconcile_duration_seconds"), "looked at"),
            ),
            "s",
        ),
        Panel("Queue", (("max by (instance) (mopt_queue_depth)", "{{instance}}"),)),
        Panel(
            "Lag of the event loop (p99)",
            ((_quantile(0.99, "mopt_event_loop_lag_seconds", "instance"), "{{instance}}"),),
            "s",
        ),
        Panel(
            "Memory",
            (
                (
                    "process_resident_memory_bytes "
                    "* on (namespace, job, instance) group_left () mopt_build_info",
                    "{{instance}}",
                ),
            ),
            "bytes",
        ),
        Panel("Objects", (("max by (kind) (mopt_store_objects)", "{{kind}}"),)),
        Panel(
            "Spec and status in memory",
            (("max by (instance) (mopt_store_bytes)", "{{instance}}"),),
            "bytes",
        ),
    ),
    "API server": (
        Panel(
            "Requests per second",
            (
                (
                    "sum by (method, code) (rate(mopt_api_requests_total[$__rate_interval]))",
                    "{{method}} {{code}}",
                ),
            ),
            "reqps",
        ),
        Panel(
            "Their duration (p90)",
            ((_quantile(0.9, "mopt_api_request_duration_seconds", "method"), "{{method}}"),),
            "s",
        ),
        Panel(
            "Bytes of lists per second",
            (("sum by (kind) (rate(mopt_api_list_bytes_total[$__rate_interval]))", "{{kind}}"),),
            "Bps",
        ),
        Panel(
            "Watches behind",
            (("max by (kind) (mopt_watch_behind_seconds)", "{{kind}}"),),
            "s",
        ),
        Panel(
            "Comparisons with the cluster",
            (
                ("time() - max(mopt_resync_timestamp_seconds)", "age of the last one"),
                (_quantile(0.9, "mopt_resync_duration_seconds"), "duration (p90)"),
            ),
            "s",
        ),
        Panel(
            "What comparisons found",
            (
                ("sum(increase(mopt_watch_missed_total[1h]))", "missed by the watches, per hour"),
                ("sum(increase(mopt_resync_failures_total[1h]))", "failed comparisons, per hour"),
            ),
        ),
        Panel("Namespaces that refuse Jobs", (("max(mopt_namespaces_refused)", "namespaces"),)),
    ),
}


def dashboard() -> str:
    """Return the dashboard as Grafana reads it."""
    board = {
        "uid": "mopt-operator",
        "title": "mopt",
        "tags": ["mopt"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "1m",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": _variables()},
        "panels": _panels(),
    }
    return json.dumps(board, indent=1) + "\n"


def _variables() -> list[Json]:
    query = "label_values(mopt_resource_condition, namespace)"
    return [
        {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Source"},
        {
            "name": "namespace",
            "type": "query",
            "label": "Namespace",
            "datasource": _SOURCE,
            "query": {"query": query, "refId": "namespaces"},
            "definition": query,
            "refresh": 2,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
        },
    ]


def _panels() -> list[Json]:
    """Return rows and their panels, two beside each other."""
    found: list[Json] = []
    top = 0
    for row, panels in ROWS.items():
        place = {"h": 1, "w": _WIDTH, "x": 0, "y": top}
        found.append({"id": len(found) + 1, "type": "row", "title": row, "gridPos": place})
        top += 1
        for number, panel in enumerate(panels):
            x, y = _WIDTH // 2 * (number % 2), top + _HEIGHT * (number // 2)
            place = {"h": _HEIGHT, "w": _WIDTH // 2, "x": x, "y": y}
            found.append(_panel(panel, len(found) + 1) | {"gridPos": place})
        top += _HEIGHT * ((len(panels) + 1) // 2)
    return found


def _panel(panel: Panel, number: int) -> Json:
    targets = [
        {
            "refId": chr(ord("A") + index),
            "datasource": _SOURCE,
            "expr": expression,
            "legendFormat": legend,
            "instant": panel.instant,
            "range": not panel.instant,
            "format": "table" if panel.kind == "table" else "time_series",
        }
        for index, (expression, legend) in enumerate(panel.queries)
    ]
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {},
        "targets": targets,
    }
