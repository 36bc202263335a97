"""How far above a missed gate a second search must aim, from what both data showed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mopt_api.artifacts import Artifact, ArtifactFormat
from mopt_api.enums import Aggregate, ModelFormat, Precision, QualityMetric, Runtime, TargetKind
from mopt_api.figures import (
    MOST_AIM_DECIBELS,
    QualityResult,
    SourceInfo,
    VariantReason,
    VariantState,
)
from mopt_api.jobs.aim import GateAim, raised
from mopt_api.jobs.measure_result import VariantResult
from mopt_api.jobs.prepare_result import (
    FallbackReport,
    KindArtifacts,
    PreparedArtifact,
    PrepareResult,
    QuantizationReport,
)
from mopt_api.jobs.termination import summarize_prepare
from mopt_api.spec import QualityGate
from mopt_optimizer.stages.measure.aiming import decibels_to_aim, with_aims

GATE = QualityGate(metric=QualityMetric.SQNR, minimum=30)
TOP1 = QualityGate(metric=QualityMetric.TOP1_AGREEMENT, minimum=0.97)


def variant(name: str = "int8", sqnr: float = 22.0, **fields: Any) -> VariantResult:
    return VariantResult(
        **{
            "name": name,
            "runtime": Runtime.ONNX_RUNTIME,
            "precision": Precision.INT8,
            "state": VariantState.REJECTED,
            "reason": VariantReason.QUALITY_GATE,
            "quality": [QualityResult(metric=QualityMetric.SQNR, worst=sqnr, mean=sqnr)],
        }
        | fields
    )


def searched(quality: float = 31.5, **fields: Any) -> FallbackReport:
    return FallbackReport(
        **{
            "metric": QualityMetric.SQNR,
            "aggregate": Aggregate.WORST,
            "minimum": 30,
            "required": 30.5,
            "quality_all_int8": 24.0,
            "quality": quality,
            "int8_mac_share": 0.5,
            "trials": 12,
            "budget_seconds": 60.0,
            "seconds": 10.0,
            "exclude": [],
        }
        | fields
    )


@pytest.mark.parametrize(
    ("search", "reached", "decibels"),
    [
        (searched(31.5), 22.0, 10),  # 9.5 dB between the data, rounded up
        (searched(31.0), 22.0, 9),
        (searched(36.0), 29.0, 7),  # It held with room to spare: the gap counts, not the miss.
        (searched(36.0, held_back=31.0), 29.0, 2),  # What was held back was nearer.
        (searched(29.0), 28.0, 2),  # Cut short below the gate: the gate itself at least.
        (searched(31.0), 29.99, 2),
        (searched(40.0), 19.9, None),  # too far apart
        (searched(40.0), 20.0, MOST_AIM_DECIBELS),
        (searched(seconds=30.0), 22.0, 10),
        (searched(seconds=30.1), 22.0, None),  # No time for another as long.
        (searched(seconds=99.0, budget_seconds=None), 22.0, 10),
        (searched(seconds=None), 22.0, None),  # of an older version, which does not say
    ],
)
def test_decibels(search: FallbackReport, reached: float, decibels: int | None) -> None:
    assert decibels_to_aim(variant(sqnr=reached), [search], [GATE]) == decibels


def test_only_what_misses_a_gate_is_aimed() -> None:
    passed = variant(sqnr=31.0, state=VariantState.PASSED, reason=None)
    assert decibels_to_aim(passed, [searched()], [GATE]) is None
    constant = variant(reason=VariantReason.CONSTANT_CHANNEL)
    assert decibels_to_aim(constant, [searched()], [GATE]) is None
    assert decibels_to_aim(variant(quality=[]), [searched()], [GATE]) is None


def test_miss_that_calibration_data_cannot_show_is_not_aimed_at() -> None:
    """Every prediction of the calibration data agrees, so no search can raise that."""
    found = QualityResult(metric=QualityMetric.TOP1_AGREEMENT, worst=0.9, mean=0.9)
    search = searched(1.0, metric=QualityMetric.TOP1_AGREEMENT, minimum=0.97)
    assert decibels_to_aim(variant(quality=[found]), [search], [TOP1]) is None


def test_miss_of_a_gate_that_is_not_searched_for_is_not_aimed_at() -> None:
    f1 = QualityGate(metric=QualityMetric.DETECTION_F1, minimum=0.9)
    low = QualityResult(metric=QualityMetric.DETECTION_F1, worst=0.1, mean=0.1)
    one = variant()
    both = one.model_copy(update={"quality": [*one.quality, low]})
    assert decibels_to_aim(both, [searched()], [GATE, f1]) is None
    assert decibels_to_aim(one, [searched()], [GATE]) == 10


@given(st.floats(30, 60), st.floats(30, 60), st.floats(5, 29.9))
def test_what_keeps_the_gap_holds_the_gate(first: float, held_back: float, reached: float) -> None:
    """A form that reaches the raised gate on calibration data holds the gate on evaluation data,
    where that is as far from the worse of the calibration data as before."""
    search = searched(first, held_back=held_back)
    decibels = decibels_to_aim(variant(sqnr=reached), [search], [GATE])
    known = min(first, held_back)
    if decibels is None:
        assert known - reached > MOST_AIM_DECIBELS
        return
    (strict,) = raised([GATE], [GateAim.of(GATE, decibels)])
    assert strict.minimum is not None
    assert strict.minimum - (known - reached) >= 30 - 1e-9


def manifest(**reports: FallbackReport) -> PrepareResult:
    """Return what was prepared: each variant with a form of its own, int8-NAME."""
    artifact = Artifact(
        digest="sha256:" + "0" * 64, size_bytes=1, format=ArtifactFormat.ONNX, uri="s3://a/b"
    )
    return PrepareResult(
        source=SourceInfo(sha256="0" * 64, format=ModelFormat.ONNX, size_bytes=1),
        artifacts=[PreparedArtifact(name=f"int8-{name}", artifact=artifact) for name in reports],
        artifacts_by_kind={
            TargetKind.CPU: KindArtifacts(
                artifacts={name: f"int8-{name}" for name in reports} | {"fp32": "fp32"}
            )
        },
        quantizations=[
            QuantizationReport(name=f"int8-{name}", quantized_nodes=1, fallbacks=[report])
            for name, report in reports.items()
        ],
    )


def test_variants_say_what_they_were_or_would_be_aimed_by() -> None:
    prepared = manifest(first=searched(), second=searched(aim_decibels=9))
    fp32 = variant("fp32")
    found = with_aims([variant("first"), variant("second"), fp32], prepared, TargetKind.CPU, [GATE])
    assert [(v.aim_decibels, v.aimed_by) for v in found] == [
        (10, None),
        (None, "Evaluation"),
        (None, None),
    ]
    assert summarize_prepare(prepared, "sha256:" + "1" * 64).aimed == ["second"]
