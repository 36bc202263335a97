"""A gate of every metric, as the search for layers that stay FP32 sees it."""

from __future__ import annotations

import pytest

from mopt_api.enums import QualityMetric
from mopt_api.noise import minimum_with_margin, noise_of
from mopt_api.spec import QualityGate


@pytest.mark.parametrize(
    ("metric", "bounds", "margin_db", "required"),
    [
        ("PSNR", {"minimum": 40}, 0.5, 40.5),
        ("SQNR", {"minimum": 20}, 3, 23),
        ("SSIM", {"minimum": 0.9}, 10, 0.99),
        ("Cosine", {"minimum": 0.9}, 10, 0.99),
        ("Top1Agreement", {"minimum": 0.5}, 10, 0.95),
        ("MaxAbsError", {"maximum": 0.5}, 20, -0.05),
        ("MaxAbsError", {"maximum": 0.5}, 0, -0.5),
    ],
)
def test_the_margin_lowers_the_noise_allowed(
    metric: str, bounds: dict[str, float], margin_db: float, required: float
) -> None:
    gate = QualityGate.model_validate({"metric": metric, **bounds})
    assert minimum_with_margin(gate, margin_db) == pytest.approx(required)
    stricter = noise_of(minimum_with_margin(gate, 10), gate.metric)
    assert stricter == pytest.approx(noise_of(minimum_with_margin(gate, 0), gate.metric) / 10)


@pytest.mark.parametrize("metric", QualityMetric)
def test_noise_falls_with_quality(metric: QualityMetric) -> None:
    worse, better = (-2.0, -1.0) if metric is QualityMetric.MAX_ABS_ERROR else (0.1, 0.9)
    assert noise_of(worse, metric) > noise_of(better, metric) > 0
