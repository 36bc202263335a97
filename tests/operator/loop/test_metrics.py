"""The metrics, as Prometheus reads them."""

from __future__ import annotations

import asyncio
import copy
import json
import re
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from operator_world import MakeWorld, World
from prometheus_client.parser import text_string_to_metric_families

from mopt_operator.cluster.cache import Store
from mopt_operator.config.settings import Settings
from mopt_operator.loop import resource_metrics
from mopt_operator.loop.call_metrics import CallMetrics
from mopt_operator.loop.metrics import Metrics
from mopt_operator.loop.queue import WorkQueue
from mopt_operator.loop.restarts import Restarts
from mopt_operator.loop.turns import Turns
from mopt_operator.objects import Resource, observe_job, observe_pod
from mopt_operator.version import product_version


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def queue() -> WorkQueue:
    return WorkQueue()


@pytest.fixture
def metrics(settings: Settings, store: Store, queue: WorkQueue, tmp_path: Path) -> Metrics:
    restarts = Restarts(tmp_path / "restarts.json")
    turns = Turns(settings, queue)
    return Metrics(settings, store=store, queue=queue, turns=turns, beside=[restarts])


def samples(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """Return the values of a series by its labels' values, in the order of the labels' names."""
    return {
        tuple(sample.labels[label] for label in sorted(sample.labels)): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
        if sample.name == name
    }


def test_selected_form_and_state_of_a_finished_resource(
    metrics: Metrics, store: Store, world: World
) -> None:
    world.run()
    store.resources.put(world.raw)
    assert samples(metrics, "mopt_resources") == {("True", "Optimized"): 1}
    assert samples(metrics, "mopt_selected_speedup_ratio") == {("sr", "team", "default"): 4.9}
    # The labels in their alphabetical order.
    psnr = ("Worst", "PSNR", "sr", "team", "", "", "default")
    assert samples(metrics, "mopt_selected_quality") == {psnr: 58.34}


def test_selected_quality_is_the_value_that_its_gate_judges(
    metrics: Metrics, store: Store, make_world: MakeWorld
) -> None:
    world = make_world(
        quality=[
            {"metric": "PSNR", "minimum": 40, "aggregate": "Mean"},
            {"metric": "PSNR", "minimum": 30, "output": "boxes"},
        ]
    )
    world.run()
    chosen = next(v for v in world.status["targets"][0]["variants"] if v["name"] == "openvino-bf16")
    (whole,) = chosen["quality"]
    whole["mean"] = 61.5
    chosen["quality"] = [whole, whole | {"output": "boxes", "worst": 33.0}]
    store.resources.put(world.raw)
    assert samples(metrics, "mopt_selected_quality") == {
        ("Mean", "PSNR", "sr", "team", "", "", "default"): 61.5,
        ("Worst", "PSNR", "sr", "team", "boxes", "", "default"): 33.0,
    }


def test_gates_that_cannot_be_read_leave_the_worst(
    metrics: Metrics, store: Store, world: World
) -> None:
    world.run()
    world.raw["spec"]["quality"] = [{"metric": "Newer", "aggregate": "Median"}]
    store.resources.put(world.raw)
    ((labels, _),) = samples(metrics, "mopt_selected_quality").items()
    assert labels[:2] == ("Worst", "PSNR")


def test_kept_baseline_has_speedup_one(metrics: Metrics, store: Store, world: World) -> None:
    world.run(selected="baseline")
    store.resources.put(world.raw)
    assert samples(metrics, "mopt_selected_speedup_ratio") == {("sr", "team", "default"): 1}


def test_resources_that_were_not_looked_at_count_as_unknown(
    metrics: Metrics, store: Store, world: World
) -> None:
    store.resources.put(world.raw)
    assert samples(metrics, "mopt_resources") == {("Unknown", ""): 1}


def test_number_of_series_is_bounded(
    metrics: Metrics,
    store: Store,
    make_world: MakeWorld,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resource_metrics, "MAX_RESOURCES", 2)
    world = make_world()
    world.run()
    for name in "abc":
        raw = copy.deepcopy(world.raw)
        raw["metadata"] |= {"name": name, "uid": f"uid-{name}"}
        store.resources.put(raw)
    assert len(samples(metrics, "mopt_selected_speedup_ratio")) == 2
    assert samples(metrics, "mopt_resources_without_series") == {(): 1}
    assert samples(metrics, "mopt_resources") == {("True", "Optimized"): 3}


async def test_resource_that_is_not_ready_is_shown_before_others(
    metrics: Metrics, store: Store, make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource_metrics, "MAX_RESOURCES", 1)
    settled, new = make_world(name="a"), make_world(name="b")
    settled.run()
    new.raw["metadata"]["uid"] = "uid-new"
    for world in (settled, new):
        store.resources.put(world.raw)
    (said,) = samples(metrics, "mopt_resource_condition")
    assert said == ("b", "team", "", "Unknown", "Ready")
    assert b'mopt_resource_condition{name="b"' in await metrics.page()


def test_conditions_and_ages_leave_with_their_resource(
    metrics: Metrics, store: Store, world: World
) -> None:
    world.raw["metadata"]["creationTimestamp"] = created = "2026-11-01T12:00:00Z"
    world.run()
    store.resources.put(world.raw)
    # The labels in their alphabetical order: name, namespace, reason, status, type.
    ready = ("sr", "team", "Optimized", "True", "Ready")
    assert samples(metrics, "mopt_resource_condition")[ready] == 1
    since = samples(metrics, "mopt_resource_condition_transition_timestamp_seconds")
    assert since[ready] == world.now.timestamp()
    assert samples(metrics, "mopt_resource_created_timestamp_seconds") == {
        ("sr", "team"): datetime.fromisoformat(created).timestamp()
    }
    store.resources.remove(world.raw)
    text = metrics.text().decode()
    assert 'name="sr"' not in text
    assert samples(metrics, "mopt_resources") == {}


def test_run_without_progress_has_its_time(metrics: Metrics, store: Store, world: World) -> None:
    progress = {"stage": "Prepare", "targetsDone": 0, "targetsTotal": 1}
    since = "2026-11-01T12:00:00Z"
    world.raw["status"] = {"progress": progress | {"waitingSince": since}}
    store.resources.put(world.raw)
    waiting = samples(metrics, "mopt_resource_waiting_timestamp_seconds")
    assert waiting == {("sr", "team"): datetime.fromisoformat(since).timestamp()}


async def test_standby_shows_no_resources(
    settings: Settings, store: Store, queue: WorkQueue, world: World
) -> None:
    leading = asyncio.Event()
    turns = Turns(settings, queue)
    standby = Metrics(settings, store=store, queue=queue, turns=turns, leads=leading.is_set)
    world.run()
    store.resources.put(world.raw)
    assert b'name="sr"' not in await standby.page()
    assert samples(standby, "mopt_resources") == {}
    assert samples(standby, "mopt_store_objects")["modeloptimizations",] == 1
    leading.set()
    assert b'name="sr"' in await standby.page()


async def test_waiting_for_a_worker_is_told_of(metrics: Metrics, queue: WorkQueue) -> None:
    queue.add(("team", "sr"))
    await queue.get()
    assert samples(metrics, "mopt_queue_wait_seconds_count") == {(): 1}


def test_requests_are_counted_by_method_and_answer(
    settings: Settings, store: Store, queue: WorkQueue
) -> None:
    calls = CallMetrics()
    metrics = Metrics(settings, store=store, queue=queue, turns=Turns(settings, queue), calls=calls)
    for code in ("200", "200", "429", "<error>"):
        calls.asked("GET", code, 0.5)
    # In alphabetical order: code, method.
    assert samples(metrics, "mopt_api_requests_total") == {
        ("200", "GET"): 2,
        ("429", "GET"): 1,
        ("<error>", "GET"): 1,
    }
    assert samples(metrics, "mopt_api_request_duration_seconds_sum") == {("GET",): 2}


def test_job_durations_by_stage_and_outcome(metrics: Metrics, world: World) -> None:
    world.settle()
    (raw,) = world.jobs.values()
    job = observe_job(raw)
    started, ended = (job.created + timedelta(seconds=seconds) for seconds in (3600, 3642))
    queued = replace(job, started=started, completed=ended, ended=ended)
    metrics.job_ended(queued, [], world.now)
    metrics.job_ended(replace(job, failed=("", ""), ended=job.created), [], world.now)
    took = samples(metrics, "mopt_job_duration_seconds_sum")
    assert {labels: seconds for labels, seconds in took.items() if seconds} == {
        ("Complete", "prepare"): 42
    }
    counts = samples(metrics, "mopt_job_duration_seconds_count")
    assert counts["Complete", "prepare"] == counts["Failed", "prepare"] == 1
    assert counts["Failed", "measure"] == 0
    assert samples(metrics, "mopt_job_queue_seconds_sum") == {("prepare",): 3600}
    # In alphabetical order: reason, stage.
    assert samples(metrics, "mopt_job_failures_total") == {("JobFailed", "prepare"): 1}


def test_starting_running_and_retries_of_jobs(metrics: Metrics, world: World) -> None:
    world.settle()
    (raw,) = world.jobs.values()
    begun = {"startedAt": "2026-11-01T12:00:10Z", "finishedAt": "2026-11-01T12:00:40Z"}
    evicted = world.terminated_pod(raw, "", exit_code=137)
    evicted["status"]["conditions"] = [{"type": "DisruptionTarget", "status": "True"}]
    ran = world.terminated_pod(raw, "")
    ran["status"]["containerStatuses"][0]["state"]["terminated"] |= begun
    started = datetime.fromisoformat("2026-11-01T12:00:00Z")
    job = replace(observe_job(raw), created=started, started=started, completed=world.now)
    metrics.job_ended(job, [observe_pod(evicted), observe_pod(ran)], world.now)
    assert samples(metrics, "mopt_job_startup_seconds_sum") == {("prepare",): 10}
    assert samples(metrics, "mopt_job_run_seconds_sum") == {("Complete", "prepare"): 30}
    assert samples(metrics, "mopt_job_retries_total") == {("Disrupted", "prepare"): 1}
    metrics.job_deleted(job)
    assert samples(metrics, "mopt_jobs_deleted_total") == {("prepare",): 1}


async def test_queue_depth_build_and_watch_age(
    metrics: Metrics, queue: WorkQueue, settings: Settings, store: Store
) -> None:
    queue.add(("team", "sr"))
    assert samples(metrics, "mopt_queue_depth") == {(): 1}
    ((version, image),) = samples(metrics, "mopt_build_info")
    assert {version, image} == {product_version(), settings.optimizer_image}
    assert {kind for (kind,) in samples(metrics, "mopt_watch_age_seconds")} == set(store.kinds())
    assert set(samples(metrics, "mopt_watch_behind_seconds").values()) == {0}
    assert set(samples(metrics, "mopt_reconcile_total")) == {
        ("done",),
        ("conflict",),
        ("error",),
        ("fault",),
    }


async def test_queue_of_a_standby_is_not_shown(settings: Settings, queue: WorkQueue) -> None:
    leading = asyncio.Event()
    turns = Turns(settings, queue)
    metrics = Metrics(settings, store=Store(), queue=queue, turns=turns, leads=leading.is_set)
    queue.add(("team", "sr"))
    assert samples(metrics, "mopt_queue_depth") == {(): 0}
    assert samples(metrics, "mopt_leader") == {(): 0}
    leading.set()
    assert samples(metrics, "mopt_queue_depth") == {(): 1}
    assert samples(metrics, "mopt_leader") == {(): 1}


def test_changes_of_the_leader_are_those_of_the_lease(settings: Settings, queue: WorkQueue) -> None:
    turns = Turns(settings, queue)
    metrics = Metrics(settings, store=Store(), queue=queue, turns=turns, transitions=lambda: 3)
    assert samples(metrics, "mopt_lease_transitions_total") == {(): 3}
    alone = Metrics(settings, store=Store(), queue=queue, turns=turns)
    assert samples(alone, "mopt_lease_transitions_total") == {}


async def test_jobs_that_wait_are_counted(settings: Settings, queue: WorkQueue) -> None:
    turns = Turns(settings, queue)
    metrics = Metrics(settings, store=Store(), queue=queue, turns=turns)
    assert samples(metrics, "mopt_jobs_waiting") == {}
    assert samples(metrics, "mopt_namespaces_refused") == {(): 0}
    for name in "abc":
        labels = {"mopt.dev/stage": "measure", "mopt.dev/profile": "default"}
        job = {"metadata": {"name": f"{name}-job", "labels": labels}}
        turns.ask(Resource("team", name, "uid", 1, "1", {}, {}, created=name), [job])
    turns.refusals.refused(("team", "d"), "d-job", 403, "exceeded quota")
    assert samples(metrics, "mopt_jobs_waiting") == {("default",): 2}
    assert samples(metrics, "mopt_namespaces_refused") == {(): 1}
    queue.close()


def test_every_metric_is_documented(metrics: Metrics) -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "operator.md").read_text()
    ours = {
        family.name
        for family in text_string_to_metric_families(metrics.text().decode())
        if family.name.startswith("mopt_") and not family.name.endswith("_created")
    }
    documented = set(re.findall(r"^\| `(mopt_[a-z_]+)", page, re.MULTILINE))
    suffixes = ("_total", "_info")
    plain = {name.removesuffix(suffixes[0]).removesuffix(suffixes[1]) for name in documented}
    assert plain == {n.removesuffix(suffixes[0]).removesuffix(suffixes[1]) for n in ours}


def test_profiles_show_whether_they_are_valid_and_their_nodes(
    metrics: Metrics, store: Store
) -> None:
    for name, spec, status in (
        ("l4", {}, {"observedGeneration": 1, "nodes": 3}),
        ("t4", {"podLabels": {"job-name": "a"}}, {"observedGeneration": -1}),
    ):
        metadata = {"name": name, "uid": name, "resourceVersion": "1", "generation": 1}
        store.offers.put({"metadata": metadata, "spec": spec, "status": status})
    assert samples(metrics, "mopt_profile_valid") == {("l4",): 1, ("t4",): 0}
    assert samples(metrics, "mopt_profile_nodes") == {("l4",): 3}


def test_bytes_at_rest_are_those_of_what_is_held(
    metrics: Metrics, store: Store, make_world: MakeWorld
) -> None:
    assert samples(metrics, "mopt_store_bytes") == {(): 0}
    world = make_world(name="a")
    world.run()
    store.resources.put(world.raw)
    (size,) = samples(metrics, "mopt_store_bytes").values()
    held = len(json.dumps({key: world.raw[key] for key in ("spec", "status")}))
    assert 0 < size < held
