"""Statuses that other versions wrote: read where they can be, and never damaged.

golden/ holds the Ready status of each release, as its operator wrote it: add one per release.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from operator_world import MakeWorld, World

from mopt_operator.config.settings import Settings
from mopt_operator.decide.decide import Plan
from mopt_operator.decide.request import read_status

GOLDEN = {p.stem: json.loads(p.read_text()) for p in (Path(__file__).parent / "golden").iterdir()}
Status = dict[str, Any]


@pytest.fixture(params=sorted(GOLDEN))
def golden(request: pytest.FixtureRequest) -> Status:
    return copy.deepcopy(GOLDEN[request.param]["status"])


def test_ready_of_any_release_is_settled_and_says_what_to_serve(
    world: World, golden: Status
) -> None:
    world.raw["status"] = golden
    world.settle()
    assert world.jobs == {}
    assert world.said() == {"Ready": ("True", "Optimized")}
    (target,) = world.status["targets"]
    assert target["artifact"]["variant"] == target["selected"] == "openvino-bf16"
    assert target["artifact"]["time"].startswith("2026-11-01")
    assert world.condition("ArtifactAvailable")["status"] == "True"
    assert world.status["history"] == golden["history"]
    assert world.decide() == Plan()


def test_published_of_any_release_is_not_published_again(make_world: MakeWorld) -> None:
    world = make_world(publish={"oci": {"repository": "registry.test/team/sr"}})
    world.raw["status"] = copy.deepcopy(GOLDEN["0.1.0-published"]["status"])
    assert world.settle() == Plan()
    assert world.jobs == {}
    assert world.status_writes == 0
    assert world.published() == ("True", "Published")


def condition_type(status: Status) -> None:
    status["conditions"].append(status["conditions"][0] | {"type": "RolledOut"})


def other_controllers_condition(status: Status) -> None:
    minimal = {"type": "example.com/Rolled-out", "status": "True", "reason": "x", "message": ""}
    status["conditions"].append(minimal | {"lastTransitionTime": "2026-11-01T12:00:00Z"})


def artifact_format(status: Status) -> None:
    status["targets"][0]["variants"][0]["artifact"]["format"] = "CoreML"


def model_format(status: Status) -> None:
    status["source"]["format"] = "SafeTensors"


def metric(status: Status) -> None:
    status["targets"][0]["variants"][0]["quality"][0]["metric"] = "Perplexity"


def field_type(status: Status) -> None:
    status["history"][0]["generation"] = {"spec": 1}
    status["summary"]["size"] = 3


def new_fields(status: Status) -> None:
    status["rolledOut"] = {"to": "v1"}
    status["targets"][0]["rolledOut"] = {"to": "v1"}


def published(status: Status) -> None:
    status["targets"][0]["published"] = {"reference": "registry/sr@sha256:1", "signed": "twice"}


NEWER = [
    condition_type,
    other_controllers_condition,
    artifact_format,
    model_format,
    metric,
    field_type,
    new_fields,
    published,
]


@pytest.mark.parametrize("newer", NEWER)
@pytest.mark.parametrize("upgraded", [False, True])
def test_what_a_newer_version_wrote_survives_a_rollback(
    world: World, settings: Settings, newer: Callable[[Status], None], *, upgraded: bool
) -> None:
    world.run()
    newer(world.status)
    before = copy.deepcopy(world.status)
    if upgraded:
        image = "mopt/optimizer:older"
        world.settings = settings.model_copy(update={"optimizer_image": image})
    world.lose_all_jobs()
    world.settle()
    assert world.jobs == {}
    said = [c for c in world.status["conditions"] if c["type"] != "Outdated"]
    assert world.status | {"conditions": said} == before


@pytest.mark.parametrize("newer", NEWER)
def test_new_wish_is_carried_out_and_loses_no_artifact(
    world: World, newer: Callable[[Status], None]
) -> None:
    world.run()
    newer(world.status)
    before = copy.deepcopy(world.status)
    world.request("again")
    world.settle()
    assert world.said()["Ready"] == ("Unknown", "Preparing")
    assert world.status["targets"][0]["artifact"] == before["targets"][0]["artifact"]
    types = {c["type"] for c in world.status["conditions"]} - {"Ready", "Reconciling"}
    assert types >= {c["type"] for c in before["conditions"]} - {"Ready"}
    assert world.status.get("rolledOut") == before.get("rolledOut")


def test_what_cannot_be_read_at_all_is_no_error(world: World) -> None:
    statuses: list[Status] = [
        {"conditions": "x"},
        {"targets": [None, 3, {}]},
        {"history": {}, "source": []},
    ]
    for status in statuses:
        world.raw["status"] = status
        status_read, complete = read_status(world.snapshot().resource)
        assert not complete
        assert status_read.targets == []
