"""A gate on the maximum error, judged anew from what status holds."""

from __future__ import annotations

import pytest

from mopt_api.enums import ObjectiveMetric, QualityMetric
from mopt_api.figures import Hardware, Latency, QualityResult
from mopt_api.jobs.termination import MeasureSummary, VariantSummary, decode, encode
from mopt_api.objective import Objective
from mopt_api.spec import ModelOptimizationSpec
from mopt_api.status import Measurement, TargetStatus
from mopt_operator.decide.rejudge import measures_all, rejudged
from mopt_operator.decide.status import sentence, summary_of, target_status

DIGEST = f"sha256:{'1' * 64}"
MEASUREMENT = Measurement(key="k", data_ranges={"MaxAbsError": 1.0}, judged="before")


def spec(maximum: float) -> ModelOptimizationSpec:
    return ModelOptimizationSpec.model_validate(
        {
            "model": {"uri": "s3://models/m.pt2", "sha256": "0" * 64, "format": "ExportedProgram"},
            "inputs": [{"name": "x", "shape": [1]}],
            "data": {"evaluation": {"uri": "s3://data/"}},
            "quality": [{"metric": "MaxAbsError", "maximum": maximum}],
        }
    )


def measured(name: str, runtime: str, p50: float, error: float | None) -> VariantSummary:
    quality = [] if error is None else [(QualityMetric.MAX_ABS_ERROR, error)]
    return VariantSummary(
        name=name,
        runtime=runtime,
        precision="FP32",
        state="Passed",
        latency_ms=Latency(p50=p50, p90=p50, p99=p50),
        throughput=1.0,
        quality=[QualityResult(metric=m, worst=e, mean=e / 2) for m, e in quality],
    )


@pytest.fixture
def target() -> TargetStatus:
    summary = MeasureSummary(
        target="default",
        result=DIGEST,
        point="opt",
        hardware=Hardware(),
        software={},
        baseline=measured("baseline", "PyTorch", 10, None),
        variants=[
            measured("fast", "OpenVINO", 1, 0.05),
            measured("close", "ONNXRuntime", 2, 0.0012345),
        ],
        selected="fast",
    )
    return told(summary)


def told(summary: MeasureSummary) -> TargetStatus:
    decoded = decode(encode(summary))
    assert isinstance(decoded, MeasureSummary)
    return target_status(
        decoded, spec(0.1), output_uri="s3://out", source=None, measurement=MEASUREMENT
    )


@pytest.mark.parametrize(
    ("maximum", "selected"), [(0.1, "fast"), (0.01, "close"), (0.001, "baseline")]
)
def test_a_lower_maximum_rejects_more(target: TargetStatus, maximum: float, selected: str) -> None:
    judged = rejudged(target, spec(maximum), "now")
    assert judged is not None
    assert judged.selected == selected


def test_the_reason_and_the_summary_name_the_error(target: TargetStatus) -> None:
    gates = spec(0.01).quality
    judged = rejudged(target, spec(0.01), "now")
    assert judged is not None
    assert judged.variants[0].message == "worst MaxAbsError 0.05 is above 0.01"
    assert summary_of([judged], 1, 1, gates).quality == "MaxAbsError 0.001234"
    assert sentence(judged, spec(0.01)).endswith("MaxAbsError 0.001234")


def test_unstable_figures_stay_unstable_and_the_message_says_so(target: TargetStatus) -> None:
    unstable = target.model_copy(update={"unstable": True})
    for maximum in (0.1, 0.01, 0.001):
        judged = rejudged(unstable, spec(maximum), "now")
        assert judged is not None
        words = sentence(judged, spec(maximum))
        assert words.endswith("; unstable: other processes used the CPU")
    assert "unstable" not in sentence(target, spec(0.1))


@pytest.mark.parametrize(
    ("objective", "words"),
    [
        (None, "fast, 10.0x over PyTorch FP32 eager, 1.0x over the fastest FP32, MaxAbsError 0.05"),
        (
            ObjectiveMetric.SIZE_BYTES,
            "fast, 10.0x smaller than PyTorch FP32 eager, 1.0x smaller than the smallest FP32, "
            "MaxAbsError 0.05",
        ),
    ],
)
def test_the_sentence_says_what_the_ratio_is_of(
    target: TargetStatus, objective: ObjectiveMetric | None, words: str
) -> None:
    judged = rejudged(target, spec(0.1), "now")
    assert judged is not None
    wanted = Objective(metric=objective) if objective else Objective()
    judged_by = spec(0.1).model_copy(update={"objective": wanted})
    assert sentence(judged, judged_by) == f"default: {words}"


def test_only_metrics_that_were_measured_are_rejudged() -> None:
    assert measures_all(MEASUREMENT, spec(0.01))
    assert not measures_all(Measurement(key="k", data_ranges={"PSNR": 1.0}), spec(0.01))


def test_the_job_says_that_its_figures_are_unstable() -> None:
    summary = MeasureSummary(
        target="default",
        result=DIGEST,
        point="opt",
        hardware=Hardware(),
        software={},
        baseline=measured("baseline", "PyTorch", 10, None),
        variants=[],
        selected="baseline",
    )
    assert told(summary).unstable is None
    assert told(summary.model_copy(update={"unstable": True})).unstable is True
