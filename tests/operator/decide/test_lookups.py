"""Which Jobs are asked about, and what the answers say."""

from __future__ import annotations

from typing import Any

import pytest
from operator_world import World

from mopt_api.jobs.plan import Stage
from mopt_operator.decide.lookups import podless, queued, refusal
from mopt_operator.objects import Held


@pytest.fixture
def job(world: World) -> dict[str, Any]:
    """Return a Job that its controller has begun a while ago."""
    world.settle()
    raw: dict[str, Any] = world.the_job(Stage.PREPARE)
    raw["status"] = {"startTime": world.now.isoformat()}
    world.sleep(30)
    return raw


def names(world: World) -> list[str]:
    return [found.name for found in podless(world.snapshot(), world.now)]


def test_job_without_a_pod_is_asked_about(world: World, job: dict[str, Any]) -> None:
    assert names(world) == [job["metadata"]["name"]]


def test_job_whose_pods_failed_is_asked_about(world: World, job: dict[str, Any]) -> None:
    world.pod(job, {"phase": "Failed"})
    assert names(world) == [job["metadata"]["name"]]


@pytest.mark.parametrize("phase", ["Pending", "Running", "Succeeded"])
def test_job_with_a_pod_is_not(world: World, job: dict[str, Any], phase: str) -> None:
    world.pod(job, {"phase": phase})
    assert names(world) == []


def test_job_that_its_controller_has_not_begun_is_not(world: World, job: dict[str, Any]) -> None:
    job["status"] = {}
    assert names(world) == []


def test_queued_or_young_job_is_not(world: World, job: dict[str, Any]) -> None:
    job["spec"]["suspend"] = True
    assert names(world) == []
    job["spec"]["suspend"] = False
    world.sleep(-29)
    assert names(world) == []


def test_job_that_its_queue_holds_for_a_while_is_asked_about(
    world: World, job: dict[str, Any]
) -> None:
    assert queued(world.snapshot(), world.now) == []
    job["spec"]["suspend"] = True
    (found,) = queued(world.snapshot(), world.now)
    assert found.name == job["metadata"]["name"]
    world.sleep(-29)
    assert queued(world.snapshot(), world.now) == []


def test_kueue_s_words_are_those_of_the_missing_quota() -> None:
    admitted = {"type": "Admitted", "status": "False", "message": "no"}
    reserved = {"type": "QuotaReserved", "status": "False", "message": "LocalQueue a is stopped"}
    assert refusal([{"status": {"conditions": [admitted, reserved]}}]) == Held(reserved["message"])
    assert refusal([{"status": {"conditions": [reserved | {"status": "True"}]}}]) is None
    assert refusal([{}]) is None
    assert refusal([]) is None


@pytest.mark.parametrize(
    ("reason", "out_of_order"),
    [
        ("Inadmissible", True),
        ("Misconfigured", True),
        ("Suspended", True),
        ("Pending", False),
        ("SomethingNewer", False),
        (None, False),
    ],
)
def test_queue_that_is_not_there_is_told_from_one_that_is_full(
    reason: str | None, out_of_order: bool
) -> None:
    reserved = {"type": "QuotaReserved", "status": "False", "message": "words"}
    condition = reserved | ({"reason": reason} if reason else {})
    assert refusal([{"status": {"conditions": [condition]}}]) == Held("words", out_of_order)
