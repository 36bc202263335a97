"""Limits on a command line."""

from __future__ import annotations

import pytest

from mopt_api.enums import Aggregate
from mopt_optimizer.proofs.wanted import WantedGate

FIGURES = [
    {"metric": "PSNR", "worst": 40.0, "mean": 45.0, "tolerance": 41.0},
    {"metric": "PSNR", "worst": 30.0, "mean": 31.0, "output": "scores"},
    {"metric": "Cosine", "worst": 0.9, "mean": 0.99, "output": "out", "slice": "boxes"},
    {"metric": "MaxAbsError", "worst": 0.1, "mean": 0.01},
]


@pytest.mark.parametrize(
    ("text", "holds", "message"),
    [
        pytest.param("PSNR>=40", True, "40", id="the limit itself holds"),
        pytest.param("PSNR>=40.001", False, "40", id="just above it does not"),
        pytest.param("psnr >= 35", True, "40", id="blanks and case do not matter"),
        pytest.param("mean PSNR>=44", True, "45", id="the mean"),
        pytest.param("tolerance PSNR>=41", True, "41", id="what most of new samples reach"),
        pytest.param(
            "tolerance MaxAbsError<=1", False, "MaxAbsError was not measured", id="too few samples"
        ),
        pytest.param("PSNR of scores>=35", False, "30", id="of an output"),
        pytest.param("Cosine of boxes of out >= 0.5", True, "0.9", id="of a slice of an output"),
        pytest.param("Cosine>=0.5", False, "Cosine was not measured", id="of a part only"),
        pytest.param("SSIM>=0.9", False, "SSIM was not measured", id="not measured"),
        pytest.param("MaxAbsError<=1e-1", True, "0.1", id="smaller is better"),
    ],
)
def test_a_gate_is_judged_by_its_figure(text: str, holds: bool, message: str) -> None:
    assert WantedGate.parse(text).judged(FIGURES) == (holds, message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("PSNR", "is no gate", id="no limit"),
        pytest.param("PSNR>=high", "is no gate", id="no number"),
        pytest.param("PSNR>=1e", "is no gate", id="half a number"),
        pytest.param("PSNR==35", "is no gate", id="no such sign"),
        pytest.param("VMAF>=90", "no metric VMAF", id="an unknown metric"),
        pytest.param("PSNR<=35", "larger is the better", id="the wrong side"),
        pytest.param("MaxAbsError>=0.1", "smaller is the better", id="the wrong side of an error"),
    ],
)
def test_what_is_no_gate_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WantedGate.parse(text)


def test_a_gate_judges_the_worst_sample_unless_told() -> None:
    assert WantedGate.parse("PSNR>=1").aggregate is Aggregate.WORST
