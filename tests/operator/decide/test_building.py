"""Targets that only build engines: Built, judged by their quality, and never a winner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import pytest
from job_messages import Messages
from operator_world import MakeWorld, World

from mopt_api.jobs.plan import Stage
from mopt_operator.config.settings import Profile, Settings

CAPABILITIES = ["8.6", "8.9", "12.0"]
ENGINES = {"name": "rtx", "profile": "engines"}
GOOD = {"tensorrt-fp16": 80.0, "tensorrt-int8": 41.0}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    engines = Profile(build_only=True, compute_capabilities=CAPABILITIES)
    return settings.model_copy(update={"profiles": settings.profiles | {"engines": engines}})


class Build(Protocol):
    """Runs targets to their end."""

    def __call__(
        self, *others: str, psnr: Mapping[str, float | None], selected: str | None = ...
    ) -> World: ...


@pytest.fixture
def build(make_world: MakeWorld, messages: Messages) -> Build:
    """Return a function that runs targets to their end; `psnr` is as built_message has it."""

    def run(
        *others: str, psnr: Mapping[str, float | None], selected: str | None = "openvino-bf16"
    ) -> World:
        world = make_world(targets=[*({"name": name} for name in others), ENGINES])
        world.settle()
        world.complete(world.the_job(Stage.PREPARE), messages.prepare())
        world.settle()
        built = messages.built("rtx", psnr=psnr)
        world.complete(world.the_job(Stage.MEASURE, "rtx"), built)
        for name in others:
            done = messages.measure(name, selected=selected)
            world.complete(world.the_job(Stage.MEASURE, name), done)
        world.settle()
        return world

    return run


def test_built_engines_make_it_ready(build: Build) -> None:
    world = build(psnr=GOOD)
    assert world.said() == {"Ready": ("True", "Built")}
    assert world.condition("Ready")["message"] == (
        "rtx: built tensorrt-fp16 (PSNR 80.00 dB), tensorrt-int8 (PSNR 41.00 dB) "
        "for 8.6, 8.9, 12.0; not run"
    )
    (target,) = world.status["targets"]
    assert target["computeCapabilities"] == CAPABILITIES
    assert not {"baseline", "point", "selected"} & set(target)
    states = {v["name"]: v["state"] for v in target["variants"]}
    assert states == {
        "tensorrt-fp16": "Built",
        "tensorrt-int8": "Built",
        "openvino-fp32": "Skipped",
    }
    fp16 = target["variants"][0]
    assert fp16["artifact"]["format"] == "TensorRTEngine"
    assert "speedup" not in fp16
    assert world.status["summary"] == {"targets": "1/1"}
    assert world.status["history"] == []


def test_one_engine_is_enough_and_the_other_is_explained(build: Build) -> None:
    world = build(psnr={"tensorrt-fp16": 80.0, "tensorrt-int8": None})
    assert world.said() == {"Ready": ("True", "Built")}
    assert world.condition("Ready")["message"].endswith(
        "not run. tensorrt-int8: BuildFailed (TensorRT refuses it)"
    )


def test_without_an_engine_it_stalls_and_says_why(build: Build) -> None:
    world = build(psnr={"tensorrt-int8": None})
    assert world.said() == {
        "Ready": ("False", "NoEngineBuilt"),
        "Stalled": ("True", "NoEngineBuilt"),
    }
    message = world.condition("Ready")["message"]
    assert message.startswith("rtx: no engine was built. tensorrt-int8: BuildFailed (TensorRT")
    assert message.endswith("as each one's message says.")


@pytest.mark.parametrize(
    ("selected", "reason"), [("openvino-bf16", "Optimized"), ("baseline", "BaselineKept")]
)
def test_beside_a_measured_target_the_winner_counts(
    build: Build, selected: str, reason: str
) -> None:
    world = build("cpu", psnr=GOOD, selected=selected)
    assert world.said() == {"Ready": ("True", reason)}
    assert "rtx: built tensorrt-fp16" in world.condition("Ready")["message"]
    assert world.status["summary"]["selected"] == selected
    assert [record["target"] for record in world.status["history"]] == ["cpu"]


def test_a_winner_does_not_hide_that_no_engine_was_built(build: Build) -> None:
    world = build("cpu", psnr={"tensorrt-int8": None})
    assert world.said()["Ready"] == ("False", "NoEngineBuilt")


def test_a_target_without_a_winner_comes_first(build: Build) -> None:
    world = build("cpu", psnr={"tensorrt-int8": None}, selected=None)
    assert world.said()["Ready"] == ("False", "NoVariantPassed")


def test_other_gates_judge_engines_anew_without_a_job(build: Build) -> None:
    world = build(psnr=GOOD)
    before, made = world.status["targets"], set(world.jobs)

    def states() -> list[str]:
        return [v["state"] for v in world.status["targets"][0]["variants"]]

    world.edit(quality=[{"metric": "PSNR", "minimum": 50}])
    world.settle()
    assert states() == ["Built", "Rejected", "Skipped"]
    assert world.said() == {"Ready": ("True", "Built")}
    assert (
        "tensorrt-int8: QualityGate (worst PSNR 41.00 is below 50)"
        in (world.condition("Ready")["message"])
    )
    world.edit(quality=[{"metric": "PSNR", "minimum": 90}])
    world.settle()
    assert world.said()["Ready"] == ("False", "NoEngineBuilt")
    world.edit(quality=[{"metric": "PSNR", "minimum": 40}])
    world.settle()
    assert states() == ["Built", "Built", "Skipped"]
    assert set(world.jobs) <= made
    judged = [target["variants"] for target in world.status["targets"]]
    assert judged == [target["variants"] for target in before]


def test_another_objective_or_benchmark_costs_nothing(build: Build) -> None:
    world = build(psnr=GOOD)
    made = set(world.jobs)
    points = [{"name": "tile", "dimensions": {"batch": 2}}]
    world.edit(objective={"metric": "LatencyP99", "point": "tile"}, benchmark={"points": points})
    world.settle()
    assert world.said() == {"Ready": ("True", "Built")}
    assert set(world.jobs) <= made
