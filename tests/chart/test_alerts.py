"""The alerts of the chart, as promtool evaluates what helm renders."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from chart_objects import Manifest

from mopt_operator.loop.watchdog import DEAF_SECONDS

pytestmark = pytest.mark.cluster

Series = dict[str, str]
DAY = 86400

# Labels of a target, as Prometheus adds them.
TARGET = 'namespace="mopt-system",job="mopt-metrics"'
A, B = (f'{TARGET},instance="{instance}"' for instance in "ab")
OPERATORS = {f"mopt_build_info{{{A}}}": "1x600", f"mopt_build_info{{{B}}}": "1x600"}
HOME = {"namespace": "mopt-system", "job": "mopt-metrics"}
WHO = 'namespace="team",name="sr"'
RESOURCE = {"namespace": "team", "name": "sr"}
REQUESTS = f"mopt_api_requests_total{{{A},method="
ENDED = f'mopt_job_duration_seconds_count{{{A},stage="measure",outcome='
WAITED = f"mopt_queue_wait_seconds_bucket{{{A},le="


def _condition(kind: str, status: str, reason: str, age: int) -> Series:
    """Return a condition that has said the same for so many seconds when a test begins."""
    labels = f'{A[A.index("job") :]},{WHO},type="{kind}",status="{status}",reason="{reason}"'
    since = f"mopt_resource_condition_transition_timestamp_seconds{{{labels}}}"
    return {since: f"{-age}x600", f"mopt_resource_condition{{{labels}}}": "1x600"}


@dataclass(frozen=True)
class Case:
    """What makes an alert fire, and what is close to that and does not.

    Attributes:
        fires: Series, by promtool's notation: value x repetitions, a minute apart.
        quiet: For each reason not to fire, series.
        labels: Of the alert, besides its name and severity.
        minutes: After which it is looked at.
    """

    fires: Series
    quiet: dict[str, Series]
    labels: dict[str, str] = field(default_factory=lambda: dict(HOME))
    minutes: int = 30


CASES = {
    "MoptOperatorDown": Case(
        {"up": "1x600"},
        {"one is scraped": {f"mopt_build_info{{{A}}}": "1x600"}},
        labels={},
    ),
    "MoptNoLeader": Case(
        {f"mopt_leader{{{A}}}": "0x600", f"mopt_leader{{{B}}}": "0x600"},
        {
            "one leads": {f"mopt_leader{{{A}}}": "1x600", f"mopt_leader{{{B}}}": "0x600"},
            "another takes over": {f"mopt_leader{{{A}}}": "1x26 0x3 1x600"},
        },
    ),
    "MoptTwoLeaders": Case(
        {f"mopt_leader{{{A}}}": "1x600", f"mopt_leader{{{B}}}": "1x600"},
        {
            "one leads": {f"mopt_leader{{{A}}}": "1x600", f"mopt_leader{{{B}}}": "0x600"},
            "another release has its own": {
                f"mopt_leader{{{A}}}": "1x600",
                'mopt_leader{namespace="other",job="mopt-metrics",instance="c"}': "1x600",
            },
        },
    ),
    "MoptOperatorRestarting": Case(
        OPERATORS | {f"process_start_time_seconds{{{A}}}": "0+100x600"},
        {
            "three times": OPERATORS | {f"process_start_time_seconds{{{A}}}": "1x5 2x5 3x5 4x600"},
            "another program does": OPERATORS
            | {'process_start_time_seconds{namespace="x",job="y",instance="z"}': "0+100x600"},
        },
        labels=HOME,
    ),
    "MoptReconcileFaults": Case(
        {f'mopt_reconcile_total{{{A},result="fault"}}': "0x20 1x600"},
        {
            "an error that a retry may mend": {
                f'mopt_reconcile_total{{{A},result="error"}}': "0+1x600"
            },
            "long ago": {f'mopt_reconcile_total{{{A},result="fault"}}': "0x5 1x600"},
        },
    ),
    "MoptQueueSlow": Case(
        {f'{WAITED}"60"}}': "0x600", f'{WAITED}"300"}}': "0+9x600", f'{WAITED}"+Inf"}}': "0+9x600"},
        {
            "one in twenty": {
                f'{WAITED}"60"}}': "0+19x600",
                f'{WAITED}"300"}}': "0+20x600",
                f'{WAITED}"+Inf"}}': "0+20x600",
            },
            "nothing happens": {f'{WAITED}"60"}}': "0x600", f'{WAITED}"+Inf"}}': "7x600"},
        },
    ),
    "MoptWatchBehind": Case(
        # The most that an operator shows, before it ends.
        {f'mopt_watch_behind_seconds{{{A},kind="jobs"}}': f"0x29 {DEAF_SECONDS:.0f} 0x600"},
        {"a minute": {f'mopt_watch_behind_seconds{{{A},kind="jobs"}}': "60x600"}},
        labels=HOME | {"kind": "jobs"},
    ),
    "MoptResyncFailing": Case(
        {f"mopt_resync_timestamp_seconds{{{A}}}": "60x600"},
        {
            "the standby compares nothing": {
                f"mopt_resync_timestamp_seconds{{{A}}}": "0+60x600",
                f"mopt_resync_timestamp_seconds{{{B}}}": "0x600",
            },
        },
        minutes=60,
    ),
    "MoptApiErrors": Case(
        {f'{REQUESTS}"GET",code="200"}}': "0+90x600", f'{REQUESTS}"PUT",code="500"}}': "0+10x600"},
        {
            "others changed it first": {
                f'{REQUESTS}"GET",code="200"}}': "0+90x600",
                f'{REQUESTS}"PUT",code="409"}}': "0+10x600",
            },
            "one in a hundred has no answer": {
                f'{REQUESTS}"GET",code="200"}}': "0+99x600",
                f'{REQUESTS}"GET",code="<error>"}}': "0+1x600",
            },
        },
    ),
    "MoptApiThrottled": Case(
        {f'{REQUESTS}"GET",code="200"}}': "0+90x600", f'{REQUESTS}"GET",code="429"}}': "0+10x600"},
        {
            "one in a hundred": {
                f'{REQUESTS}"GET",code="200"}}': "0+99x600",
                f'{REQUESTS}"GET",code="429"}}': "0+1x600",
            },
        },
    ),
    "MoptNamespacesRefused": Case(
        {f"mopt_namespaces_refused{{{A}}}": "2x600"},
        {
            "for a while": {f"mopt_namespaces_refused{{{A}}}": "2x40 0x5 2x600"},
            "none": {f"mopt_namespaces_refused{{{A}}}": "0x600"},
        },
        minutes=90,
    ),
    "MoptProfileNotValid": Case(
        {
            f'mopt_profile_valid{{{A},profile="gpu"}}': "0x600",
            f'mopt_profile_valid{{{A},profile="default"}}': "1x600",
        },
        {
            "it was corrected": {f'mopt_profile_valid{{{A},profile="gpu"}}': "0x14 1x600"},
            "no node fits": {
                f'mopt_profile_valid{{{A},profile="gpu"}}': "1x600",
                f'mopt_profile_nodes{{{A},profile="gpu"}}': "0x600",
            },
        },
        labels=HOME | {"profile": "gpu"},
    ),
    "MoptResourcesWithoutSeries": Case(
        {f"mopt_resources_without_series{{{A}}}": "5x600"},
        {"none": {f"mopt_resources_without_series{{{A}}}": "0x600"}},
    ),
    "MoptJobsFailing": Case(
        {f'{ENDED}"Failed"}}': "0+1x600", f'{ENDED}"Complete"}}': "0+1x600"},
        {
            "three of three": {f'{ENDED}"Failed"}}': "0x50 3x600", f'{ENDED}"Complete"}}': "0x600"},
            "one in ten": {f'{ENDED}"Failed"}}': "0+1x600", f'{ENDED}"Complete"}}': "0+9x600"},
        },
        labels={"stage": "measure"},
        minutes=60,
    ),
    "MoptResourceStalled": Case(
        _condition("Stalled", "True", "InvalidModel", 600),
        {
            "just now": _condition("Stalled", "True", "InvalidModel", -1500),
            "suspended": _condition("Stalled", "True", "Suspended", DAY),
            "at work": _condition("Reconciling", "True", "Measuring", DAY),
        },
        labels=RESOURCE | {"reason": "InvalidModel"},
    ),
    "MoptResourceWithoutProgress": Case(
        {f"mopt_resource_waiting_timestamp_seconds{{{WHO}}}": "-3600x600"},
        {"it began to wait": {f"mopt_resource_waiting_timestamp_seconds{{{WHO}}}": "60x600"}},
        labels=RESOURCE,
    ),
    "MoptResourceNotReady": Case(
        _condition("Ready", "Unknown", "Measuring", DAY),
        {
            "since an hour": _condition("Ready", "Unknown", "Measuring", 3600),
            "suspended": _condition("Ready", "False", "Suspended", 2 * DAY),
            "stalled, which another alert says": _condition("Ready", "False", "InvalidModel", DAY)
            | _condition("Stalled", "True", "InvalidModel", DAY),
            "ready": _condition("Ready", "True", "Optimized", 9 * DAY),
        },
        labels=RESOURCE,
    ),
    "MoptPublishingFailing": Case(
        _condition("Published", "False", "RegistryUnreachable", 1800),
        {
            "since a minute": _condition("Published", "False", "RegistryUnreachable", -1740),
            "waits for an approval": _condition("Published", "False", "AwaitingApproval", DAY),
            "is at it": _condition("Published", "False", "Publishing", DAY),
        },
        labels=RESOURCE | {"reason": "RegistryUnreachable"},
    ),
    "MoptResultOutdated": Case(
        _condition("Outdated", "True", "OlderOptimizer", 14 * DAY),
        {"since a week": _condition("Outdated", "True", "OlderOptimizer", 7 * DAY)},
        labels=RESOURCE | {"reason": "OlderOptimizer"},
    ),
    "MoptArtifactWithdrawn": Case(
        _condition("ArtifactAvailable", "False", "Withdrawn", 0),
        {"available": _condition("ArtifactAvailable", "True", "Selected", 0)},
        labels=RESOURCE,
    ),
}
QUIET = [(name, why) for name, case in CASES.items() for why in case.quiet]


@pytest.fixture(scope="module")
def promtool(devcluster: Callable[..., str]) -> str:
    return devcluster("binary", "promtool")


@pytest.fixture(scope="module")
def rules(only: Callable[..., Manifest], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the rules that the chart installs, as Prometheus reads them; return the file."""
    rule = only("PrometheusRule", {"metrics": {"prometheusRule": {"enabled": True}}})
    file = tmp_path_factory.mktemp("rules") / "rules.yaml"
    file.write_text(yaml.safe_dump(rule["spec"]))
    return file


def _evaluate(promtool: str, rules: Path, test: Manifest) -> None:
    """Let promtool judge one test."""
    whole = {"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": [test]}
    file = rules.parent / "test.json"
    file.write_text(json.dumps(whole))
    done = subprocess.run(
        [promtool, "test", "rules", str(file)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _firing(name: str, series: Series, minutes: int, expected: list[str]) -> Manifest:
    """Return a test that an alert fires with these labels, or not at all."""
    return {
        "interval": "1m",
        "input_series": [{"series": s, "values": values} for s, values in series.items()],
        "promql_expr_test": [
            {
                "expr": f'ALERTS{{alertname="{name}",alertstate="firing"}}',
                "eval_time": f"{minutes}m",
                "exp_samples": [{"labels": labels, "value": 1} for labels in expected],
            }
        ],
    }


def test_promtool_finds_nothing_wrong(promtool: str, rules: Path) -> None:
    done = subprocess.run(
        [promtool, "check", "rules", "--lint=all", "--lint-fatal", str(rules)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_has_its_case(rules: Path) -> None:
    groups = yaml.safe_load(rules.read_text())["groups"]
    assert [rule["alert"] for group in groups for rule in group["rules"]] == list(CASES)


@pytest.mark.parametrize("name", CASES)
def test_alert_fires(promtool: str, rules: Path, name: str) -> None:
    case = CASES[name]
    groups = yaml.safe_load(rules.read_text())["groups"]
    (severity,) = [
        rule["labels"]["severity"]
        for group in groups
        for rule in group["rules"]
        if rule["alert"] == name
    ]
    labels = case.labels | {"alertname": name, "alertstate": "firing", "severity": severity}
    written = ",".join(f'{key}="{value}"' for key, value in labels.items())
    test = _firing(name, case.fires, case.minutes, [f"ALERTS{{{written}}}"])
    _evaluate(promtool, rules, test)


@pytest.mark.parametrize(("name", "why"), QUIET, ids=[f"{name}: {why}" for name, why in QUIET])
def test_alert_does_not_fire_beside_it(promtool: str, rules: Path, name: str, why: str) -> None:
    case = CASES[name]
    _evaluate(promtool, rules, _firing(name, case.quiet[why], case.minutes, []))
