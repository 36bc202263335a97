"""Alerts and dashboard name only what an operator exports, labels included."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from job_messages import measure_message
from operator_world import MakeWorld
from promql_names import exported, unknown_names

from mopt_operator.cluster.cache import Store
from mopt_operator.config.settings import Settings
from mopt_operator.loop.call_metrics import CallMetrics
from mopt_operator.loop.metrics import Metrics
from mopt_operator.loop.queue import WorkQueue
from mopt_operator.loop.restarts import Restarts
from mopt_operator.loop.turns import Turns
from mopt_operator.objects import Resource, observe_job, observe_pod

FILES = Path(__file__).resolve().parents[3] / "helm" / "mopt" / "files"


def _alerts() -> list[tuple[str, str]]:
    groups = yaml.safe_load((FILES / "alerts.yaml").read_text())
    return [(alert["alert"], alert["expr"]) for group in groups for alert in group["alerts"]]


def _panels() -> list[tuple[str, str]]:
    panels = json.loads((FILES / "dashboard.json").read_text())["panels"]
    return [(p["title"], target["expr"]) for p in panels for target in p.get("targets", ())]


NAMED = [*_alerts(), *_panels()]


@pytest.fixture
def known(settings: Settings, make_world: MakeWorld, tmp_path: Path) -> dict[str, set[str]]:
    """Return the series of an operator to which everything has happened that metrics tell of."""
    store, queue, calls = Store(), WorkQueue(), CallMetrics()
    turns = Turns(settings, queue)
    metrics = Metrics(
        settings,
        store=store,
        queue=queue,
        turns=turns,
        calls=calls,
        transitions=lambda: 1,
        beside=[Restarts(tmp_path / "restarts.json")],
    )
    settled, waiting = make_world(name="a"), make_world(name="b")
    settled.run()
    waiting.settle()
    (raw,) = waiting.jobs.values()
    pods = [observe_pod(waiting.terminated_pod(raw, "", exit_code=1)) for _ in range(2)]
    began = [replace(pod, began=waiting.now) for pod in pods]
    failed = replace(observe_job(raw), failed=("BackoffLimitExceeded", ""))
    metrics.job_ended(failed, began, waiting.now)
    measured = observe_pod(waiting.terminated_pod(raw, measure_message()))
    metrics.job_ended(
        replace(observe_job(raw), stage="measure", completed=waiting.now), [measured], waiting.now
    )
    metrics.job_deleted(failed)
    waiting.raw["metadata"] |= {"uid": "uid-b", "creationTimestamp": waiting.now.isoformat()}
    progress: dict[str, Any] = waiting.raw["status"]["progress"]
    progress["waitingSince"] = waiting.now.isoformat()
    for world in (settled, waiting):
        store.resources.put(world.raw)
    labels = {"mopt.dev/stage": "measure", "mopt.dev/profile": "default"}
    for name in "cd":
        resource = Resource("team", name, "uid", 1, "1", {}, {}, created=name)
        turns.ask(resource, [{"metadata": {"name": name, "labels": labels}}])
    calls.asked("GET", "200", 0.1)
    calls.listed("jobs", 1000)
    profile = {"name": "l4", "uid": "uid-l4", "resourceVersion": "1", "generation": 1}
    status = {"observedGeneration": 1, "nodes": 3}
    store.offers.put({"metadata": profile, "spec": {}, "status": status})
    return exported(metrics.text().decode())


@pytest.mark.parametrize(("where", "expression"), NAMED, ids=[f"{w}: {e}" for w, e in NAMED])
def test_expression_names_what_is_exported(
    known: dict[str, set[str]], where: str, expression: str
) -> None:
    assert unknown_names(expression, known) == [], where


@pytest.mark.parametrize(
    ("expression", "missing"),
    [
        ("sum by (ready) (mopt_resources)", []),
        ("sum by (raedy) (mopt_resources)", ["raedy"]),
        ("mopt_resource", ["mopt_resource"]),
        ('mopt_resources{redy="True",job="a"}', ["mopt_resources.redy"]),
        ('mopt_resources{ready="kind=x",%selector%}', []),
    ],
)
def test_names_that_are_not_exported_are_found(
    known: dict[str, set[str]], expression: str, missing: list[str]
) -> None:
    assert unknown_names(expression, known) == missing


def test_each_metric_is_shown_or_watched(known: dict[str, set[str]]) -> None:
    used = " ".join(expression for _, expression in NAMED)
    bare = {
        re.sub("_(created|count|sum|bucket)$", "", name)
        for name in known
        if name.startswith("mopt_")
    }
    unused = {name for name in bare if name not in used}
    # For those who look closer: a watch of a quiet cluster shows nothing, and tasks are a detail.
    assert unused == {"mopt_watch_age_seconds", "mopt_event_loop_tasks"}
