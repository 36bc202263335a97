"""The recommendation in status: with the other results, and by another price without a Job."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from job_messages import Messages
from operator_world import MakeWorld, World, manifest

from mopt_api.jobs.plan import Stage
from mopt_api.spec import ModelOptimizationSpec
from mopt_operator.config.settings import Settings, parse_settings
from mopt_operator.decide.decide import Plan
from mopt_operator.decide.work import judging_key

TARGETS = [{"name": name, "profile": name} for name in ("half", "one", "two")]
LIMITS = {"half": "500m", "one": "1", "two": "2"}
BOUND = {"metric": "LatencyP99", "maximum": "50ms"}
COST: dict[str, Any] = {"metric": "CostPerMillion", "constraints": [BOUND]}
LOAD = {"load": {"durationSeconds": 5}}
# Samples per second of the baseline under load; the winner serves 4.9 times as many.
RATES = {"half": 5.0, "one": 11.0, "two": 20.0}


def priced(**prices: str | None) -> Settings:
    profiles = {
        name: {"resources": {"limits": {"cpu": cpus}}, "pricePerHour": prices.get(name)}
        for name, cpus in LIMITS.items()
    }
    text = {"optimizerImage": "mopt/optimizer:test", "profiles": profiles | {"default": {}}}
    return parse_settings(json.dumps(text))


PRICES = {"half": "0.02", "one": "0.04", "two": "0.09"}


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    """Return a finished run on three targets with prices."""
    world = make_world(settings=priced(**PRICES), targets=TARGETS, objective=COST, benchmark=LOAD)
    begin(world)
    for name, rate in RATES.items():
        world.measure((name,), load=rate)
    return world


def begin(world: World) -> None:
    world.settle()
    world.complete(world.the_job(Stage.PREPARE), Messages.prepare())
    world.settle()


def recommended(world: World) -> Any:
    return world.status["recommendation"]


def test_the_cheapest_target_is_recommended_with_what_serves_some_rates(world: World) -> None:
    assert world.said() == {"Ready": ("True", "Optimized")}
    found = recommended(world)
    assert (found["target"], found["variant"], found["basis"]) == (
        "one",
        "openvino-bf16",
        "Measured",
    )
    assert found["serving"] == {"instances": 2, "threads": 1, "batch": 1}
    assert found["throughput"] == 53.9
    served = next(t["artifact"] for t in world.status["targets"] if t["name"] == "one")
    assert found["uri"] == served["uri"]
    assert found["costPerMillion"] == pytest.approx(0.04 / 3600 / 53.9 * 1e6, rel=1e-3)
    assert [(r["rate"], r["replicas"]) for r in found["replicasFor"]] == [
        (10, 1),
        (100, 2),
        (1000, 19),
    ]
    assert found["replicasFor"][1]["costPerDay"] == 1.92
    assert [(c["target"], c["cpus"]) for c in found["considered"]] == [
        ("half", 0.5),
        ("one", 1),
        ("two", 2),
    ]
    assert world.decide() == Plan()


def test_another_price_recommends_another_target_without_a_job(world: World) -> None:
    world.lose_all_jobs()
    before = world.status | {"recommendation": None}
    world.settings = priced(**PRICES | {"two": "0.05"})
    world.settle()
    assert world.jobs == {}
    assert recommended(world)["target"] == "two"
    assert world.status | {"recommendation": None} == before
    assert world.decide() == Plan()


def test_prices_that_are_gone_leave_what_no_price_says(world: World) -> None:
    world.settings = priced()
    world.settle()
    # The objective cannot be judged without; the results stand all the same.
    message = recommended(world)["message"]
    assert message.startswith("No target can be recommended. half: its CostPerMillion is not known")
    assert "target" not in recommended(world)
    assert world.said() == {"Ready": ("True", "Optimized")}


def test_bound_on_cost_is_judged_across_targets_without_a_job(world: World) -> None:
    world.lose_all_jobs()
    bounds = [BOUND, {"metric": "CostPerMillion", "maximum": "0.21"}]
    world.edit(objective={"metric": "LatencyP50", "constraints": bounds})
    world.settle()
    assert world.jobs == {}
    found = recommended(world)
    assert found["target"] == "one"
    missed = {c["target"]: c.get("message", "") for c in found["considered"]}
    assert missed["two"].startswith("CostPerMillion 0.255 is 21.5 % above 0.21")


def test_without_a_price_the_spec_is_refused_until_there_is_one(make_world: MakeWorld) -> None:
    settings = priced(**PRICES | {"one": None})
    world = make_world(settings=settings, targets=TARGETS, objective=COST, benchmark=LOAD)
    world.settle()
    assert world.said()["Ready"] == ("False", "InvalidSpec")
    assert "profile one of target one has no pricePerHour" in world.condition("Ready")["message"]
    world.settings = priced(**PRICES)
    world.settle()
    assert world.stages() == ["prepare"]


def test_while_targets_are_measured_the_last_recommendation_stays(world: World) -> None:
    before = recommended(world)
    world.request("again")
    begin(world)
    world.measure(("half",), load=500)
    assert recommended(world) == before
    world.measure(("one",), load=500)
    world.measure(("two",), load=500)
    assert recommended(world)["target"] == "half"


def test_neither_prices_nor_load_no_recommendation(make_world: MakeWorld) -> None:
    world = make_world()
    world.run()
    assert "recommendation" not in world.status


def test_single_calls_are_an_estimate(make_world: MakeWorld) -> None:
    world = make_world(
        settings=priced(**PRICES), targets=TARGETS, dimensions=batches(), objective={}
    )
    world.run(tuple(LIMITS))
    found = recommended(world)
    assert (found["basis"], found["throughput"]) == ("Estimated", 49)
    assert found["serving"] == {"instances": 1, "threads": 2, "batch": 3}
    # Equally fast: the cheapest.
    assert found["target"] == "half"


def batches() -> dict[str, Any]:
    size = {"min": 32, "opt": 128, "max": 256}
    return {"batch": {"min": 1, "opt": 3, "max": 4}, "height": size, "width": size}


def bounded(*constraints: dict[str, Any], **objective: Any) -> dict[str, Any]:
    return objective | {"constraints": list(constraints)}


MEMORY = {"metric": "SizeBytes", "maximum": "2M"}


def test_other_constraint_rejects_the_winner_without_a_job(world: World) -> None:
    world.lose_all_jobs()
    world.edit(objective=bounded(BOUND, MEMORY, onNoWinner="Fail"))
    world.settle()
    assert world.jobs == {}
    assert world.said()["Ready"] == ("False", "ConstraintsMissed")
    message = world.condition("Ready")["message"]
    assert "half: the baseline misses a constraint, and no variant wins." in message
    assert (
        "Nearest to the constraints is onnxruntime-fp32: SizeBytes 2.34 MiB is 22.5 % above 2M"
    ) in message
    (target, *_) = world.status["targets"]
    states = {v["name"]: (v["state"], v.get("reason")) for v in target["variants"]}
    assert states["openvino-bf16"] == ("Rejected", "Constraint")
    assert states["onnxruntime-int8"] == ("Rejected", "QualityGate")
    world.edit(objective=COST)
    world.settle()
    assert world.jobs == {}
    assert recommended(world)["target"] == "one"


def test_another_bound_of_the_search_measures_again(world: World) -> None:
    world.lose_all_jobs()
    world.edit(objective=COST | {"constraints": [BOUND | {"maximum": "80ms"}]})
    world.settle()
    assert world.stages() == ["prepare"]


def test_figures_under_load_that_a_message_had_no_room_for_are_read_by_a_job(
    world: World,
) -> None:
    world.lose_all_jobs()
    for target in world.status["targets"]:
        for variant in target["variants"]:
            if variant["name"] != target["selected"]:
                del variant["load"]
    world.edit(objective=bounded(BOUND))
    world.settle()
    assert set(world.stages()) == {"report"}


def test_keys_without_load_and_constraints_are_those_of_older_versions() -> None:
    """An upgrade of the operator alone must neither judge nor measure anything again."""
    golden = Path(__file__).parent / "golden" / "0.1.0.json"
    (target,) = json.loads(golden.read_text())["status"]["targets"]
    choices: list[dict[str, Any]] = [{}, {"constraints": []}]
    for objective in choices:
        read = ModelOptimizationSpec.model_validate(manifest(objective=objective)["spec"])
        assert judging_key(read) == target["measurement"]["judged"]
