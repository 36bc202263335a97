"""With ground truth the baseline is gated too, and the verdict says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from job_messages import Messages
from operator_world import MakeWorld, World
from present import present

from mopt_api.figures import QualityReference, QualityResult, VariantReason, VariantState
from mopt_api.jobs.plan import Stage
from mopt_api.jobs.termination import MeasureSummary, decode, encode
from mopt_operator.decide.decide import Plan

EVALUATION = {"uri": "s3://data/low/", "references": {"uri": "s3://data/high/"}}
FAILURE = "worst PSNR 39.00 is below 40"


@pytest.fixture
def world(make_world: MakeWorld) -> Any:
    return make_world(data={"evaluation": EVALUATION})


@pytest.fixture
def measured(messages: Messages) -> Callable[..., str]:
    """Return what makes the message of a measurement whose baseline reached 39 dB of 40."""

    def message(
        target: str = "default",
        *,
        selected: str | None = None,
        words: str | None = FAILURE,
        worst: float = 39.0,
        passing: str | None = None,
        **options: Any,
    ) -> str:
        summary = decode(messages.measure(target, selected=selected, **options))
        assert isinstance(summary, MeasureSummary)
        quality = QualityResult(metric="PSNR", worst=worst, mean=41.0)
        rejected = {
            "state": VariantState.REJECTED.value,
            "reason": VariantReason.QUALITY_GATE.value,
        }
        variants = [
            v if v.name == passing else v.model_copy(update=rejected) for v in summary.variants
        ]
        baseline = present(summary.baseline).model_copy(
            update={"quality": [quality], "message": words} | rejected
        )
        return encode(
            summary.model_copy(
                update={
                    "reference": QualityReference.GROUND_TRUTH,
                    "baseline": baseline,
                    "variants": variants,
                }
            )
        )

    return message


def finish(world: World, prepared: str, **measured: str) -> None:
    """Carry the run to its end, with the messages of its Jobs."""
    world.settle()
    world.complete(world.the_job(Stage.PREPARE), prepared)
    world.settle()
    for target, message in measured.items():
        world.complete(world.the_job(Stage.MEASURE, target), message)
    world.settle()


def test_a_baseline_that_misses_a_gate_stalls_and_says_what_it_reached(
    world: World, messages: Messages, measured: Callable[..., str]
) -> None:
    finish(world, messages.prepare(), default=measured())
    assert world.said() == {
        "Ready": ("False", "BaselineRejected"),
        "Stalled": ("True", "BaselineRejected"),
    }
    said = world.condition("Ready")["message"]
    assert f"default: even the baseline misses a gate against ground truth: {FAILURE}." in (said)
    assert said.endswith("train it further, or correct the references.")
    (target,) = world.status["targets"]
    assert target["reference"] == "GroundTruth"
    assert (target["baseline"]["state"], target["baseline"]["quality"][0]["worst"]) == (
        "Rejected",
        39.0,
    )
    assert "selected" not in target
    world.lose_all_jobs()
    assert world.decide() == Plan()


def test_the_failure_is_told_where_the_job_had_no_room_for_it(
    world: World, messages: Messages, measured: Callable[..., str]
) -> None:
    finish(world, messages.prepare(), default=measured(words=None))
    assert FAILURE in world.condition("Ready")["message"]


def test_a_figure_that_rounds_up_to_the_gate_is_told_in_the_jobs_words(
    world: World, messages: Messages, measured: Callable[..., str]
) -> None:
    words = "worst PSNR 40.00 is below 40"
    finish(world, messages.prepare(), default=measured(worst=40.0, words=words))
    assert words in world.condition("Ready")["message"]


def test_a_variant_that_passes_but_is_too_slow_is_named(
    world: World, messages: Messages, measured: Callable[..., str]
) -> None:
    told = measured(passing="onnxruntime-fp32")
    finish(world, messages.prepare(), default=told)
    said = world.condition("Ready")["message"]
    assert "Within the gates, but not fast enough: onnxruntime-fp32." in said


def test_one_rejected_target_is_enough(
    make_world: MakeWorld, messages: Messages, measured: Callable[..., str]
) -> None:
    world = make_world(data={"evaluation": EVALUATION}, targets=[{"name": "a"}, {"name": "b"}])
    finish(world, messages.prepare(), a=messages.measure("a"), b=measured("b"))
    assert world.said()["Ready"] == ("False", "BaselineRejected")
    assert world.condition("Ready")["message"].startswith("b: ")


def test_lower_gate_keeps_the_baseline_without_a_job(
    world: World, messages: Messages, measured: Callable[..., str]
) -> None:
    finish(world, messages.prepare(), default=measured())
    world.lose_all_jobs()
    world.edit(quality=[{"metric": "PSNR", "minimum": 38}], objective={"minimumSpeedup": 900})
    world.settle()
    assert world.jobs == {}
    assert world.said() == {"Ready": ("True", "BaselineKept")}
    (target,) = world.status["targets"]
    assert (target["selected"], target["baseline"]["state"]) == ("baseline", "Passed")
    assert world.status["summary"]["quality"] == "PSNR 39.00 dB"


def test_higher_gate_rejects_the_baseline_without_a_job(
    world: World, messages: Messages, measured: Callable[..., str]
) -> None:
    finish(world, messages.prepare(), default=measured())
    world.edit(quality=[{"metric": "PSNR", "minimum": 38}], objective={"minimumSpeedup": 900})
    world.settle()
    world.edit(quality=[{"metric": "PSNR", "minimum": 39.5}])
    world.settle()
    assert world.said()["Stalled"] == ("True", "BaselineRejected")
    assert "worst PSNR 39.00 is below 39.5" in world.condition("Ready")["message"]


def test_gates_by_ground_truth_never_prepare_again(
    make_world: MakeWorld, messages: Messages, measured: Callable[..., str]
) -> None:
    calibration = {"uri": "s3://data/calibration/"}
    world = make_world(data={"calibration": calibration, "evaluation": EVALUATION}, variants=None)
    finish(world, messages.prepare(), default=measured())
    world.lose_all_jobs()
    world.edit(quality=[{"metric": "PSNR", "minimum": 38}])
    world.settle()
    assert world.jobs == {}


def test_other_references_measure_again(
    world: World, messages: Messages, measured: Callable[..., str]
) -> None:
    finish(world, messages.prepare(), default=measured())
    for data in (
        {"evaluation": {"uri": "s3://data/low/"}},
        {"evaluation": EVALUATION | {"references": {"uri": "s3://data/other/"}}},
    ):
        world.lose_all_jobs()
        world.edit(data=data)
        world.settle()
        assert world.stages() == ["prepare"]


def test_the_winner_is_told_beside_the_model_as_it_came(
    world: World, messages: Messages, measured: Callable[..., str]
) -> None:
    won = measured(selected="openvino-bf16", passing="openvino-bf16")
    finish(world, messages.prepare(), default=won)
    assert world.said() == {"Ready": ("True", "Optimized")}
    said = world.condition("Ready")["message"]
    assert said.endswith("PSNR 58.34 dB against ground truth (baseline: PSNR 39.00 dB)")


def test_a_reference_of_a_newer_version_is_judged_by_a_job(
    world: World, messages: Messages, measured: Callable[..., str]
) -> None:
    finish(world, messages.prepare(), default=measured())
    world.lose_all_jobs()
    world.status["targets"][0]["reference"] = "Oracle"
    world.edit(quality=[{"metric": "PSNR", "minimum": 38}])
    world.settle()
    assert world.stages() == ["report"]


def test_the_measurement_gets_the_evaluation_data_s_secret_and_no_more(
    make_world: MakeWorld, messages: Messages
) -> None:
    evaluation = EVALUATION | {"credentialsSecretRef": {"name": "photos"}}
    world = make_world(data={"evaluation": evaluation})
    world.settle()
    world.complete(world.the_job(Stage.PREPARE), messages.prepare())
    world.settle()
    job = world.the_job(Stage.MEASURE, "default")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    secrets = {
        variable["name"]: variable["valueFrom"]["secretKeyRef"]["name"]
        for variable in container["env"]
        if "secretKeyRef" in variable.get("valueFrom", {})
    }
    key = "AWS_ACCESS_KEY_ID"
    assert {name: secret for name, secret in secrets.items() if name.endswith(key)} == {
        f"MOPT_MODEL_{key}": "store",
        f"MOPT_EVALUATION_{key}": "photos",
        f"MOPT_OUTPUT_{key}": "store",
    }
