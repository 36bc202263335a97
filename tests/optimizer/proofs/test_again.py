"""What a second measurement says of a statement."""

from __future__ import annotations

from typing import Any

import pytest
from proved_image import facts, measured

from mopt_api.enums import TargetKind
from mopt_api.jobs.measure_result import MeasureResult
from mopt_optimizer.errors import ProofRefused
from mopt_optimizer.proofs.again import Places, compared, manifest_of, plan_of
from mopt_optimizer.proofs.predicates import quality_predicate

PLACES = Places("file:///a/model.pt2", "file:///a/data", "file:///a/out")
PREPARED = f"sha256:{'6' * 64}"


def stated(**changed: Any) -> dict[str, Any]:
    return quality_predicate(facts(), {}) | changed


def with_figure(metric: str, **values: float) -> MeasureResult:
    """Return the measurement with other values of one figure of the winner's."""
    result = measured()
    variants = [
        variant.model_copy(
            update={
                "quality": [
                    figure.model_copy(update=values) if figure.metric == metric else figure
                    for figure in variant.quality
                ]
            }
        )
        for variant in result.variants
    ]
    return result.model_copy(update={"variants": variants})


def refused(quality: dict[str, Any], again: MeasureResult) -> list[str]:
    return [check.name for check in compared(quality, again) if not check.holds]


def test_the_plan_runs_the_published_form_alone() -> None:
    quality = stated()
    manifest = manifest_of(quality)
    assert manifest.artifacts[0].artifact.digest == facts().form.artifact
    assert manifest.artifacts_on(TargetKind.CPU) == {"ov-int8": manifest.artifacts[0].name}
    plan = plan_of(quality, PREPARED, PLACES)
    assert [variant.name for variant in plan.variants] == ["ov-int8"]
    assert (plan.model.uri, plan.output_uri) == (PLACES.source, PLACES.output)
    assert plan.evaluation is not None
    assert plan.evaluation.uri == PLACES.data
    assert plan.model.sha256 == measured().source.sha256
    assert len(plan.quality) == 3


def test_the_statement_does_not_tell_where_results_are_kept() -> None:
    assert "outputUri" not in stated()["measurement"]


@pytest.mark.parametrize(
    ("quality", "message"),
    [
        pytest.param(
            stated(form=stated()["form"] | {"name": "baseline"}), "source model", id="the baseline"
        ),
        pytest.param(
            stated(form=stated()["form"] | {"format": "TensorRTEngine"}), "engine", id="an engine"
        ),
        pytest.param(
            stated(form={"name": "ov-int8", "digest": PREPARED}), "what was measured", id="old"
        ),
    ],
)
def test_what_cannot_be_measured_is_said(quality: dict[str, Any], message: str) -> None:
    with pytest.raises(ProofRefused, match=message):
        manifest_of(quality)


def test_ground_truth_has_to_be_named() -> None:
    quality = stated()
    references = {"uri": "s3://data/truth", "images": {}}
    quality["measurement"] = quality["measurement"] | {"references": references}
    with pytest.raises(ProofRefused, match="--references"):
        plan_of(quality, PREPARED, PLACES)


PSNR = 58.55262474587551
MEAN = 58.98271332169436


@pytest.mark.parametrize(
    ("again", "expected"),
    [
        pytest.param(measured(), [], id="the same"),
        pytest.param(with_figure("PSNR", worst=PSNR + 0.009), [], id="within 0.01 dB"),
        pytest.param(
            with_figure("PSNR", worst=PSNR - 0.011), ["PSNR measured here"], id="0.011 dB below"
        ),
        pytest.param(
            with_figure("PSNR", mean=MEAN + 0.02), ["PSNR measured here"], id="another mean"
        ),
        pytest.param(with_figure("SSIM", worst=0.999), ["SSIM measured here"], id="another SSIM"),
        pytest.param(
            measured(evaluationDigest=PREPARED), ["evaluation data here"], id="other data"
        ),
        pytest.param(measured(variants=[]), ["ov-int8 measured here"], id="it was not measured"),
    ],
)
def test_quality_is_held_to_what_is_stated(again: MeasureResult, expected: list[str]) -> None:
    assert refused(stated(), again) == expected


def test_fp32_results_beyond_rounding_are_equal() -> None:
    quality = quality_predicate(facts(variant="ov-fp32"), {})
    assert refused(quality, with_figure("PSNR", worst=150.0, mean=151.0)) == []


@pytest.mark.parametrize(
    ("interval", "holds", "message"),
    [
        pytest.param(None, True, "no interval is known", id="no interval"),
        pytest.param([20.0, 30.0], True, "within 20 to 30", id="inside"),
        pytest.param([1.0, 2.0], False, "within 1 to 2", id="outside"),
    ],
)
def test_the_ratio_is_held_to_its_interval(
    interval: list[float] | None, holds: bool, message: str
) -> None:
    quality = stated()
    if interval is not None:
        quality["speed"] = quality["speed"] | {"interval": interval}
    check = list(compared(quality, measured()))[-1]
    assert (check.name, check.holds) == ("speedup measured here", holds)
    assert message in check.message
