"""The trained super-resolution network on photographs: what the small graphs cannot show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from super_resolution import tiles, write_network

from mopt_api.enums import QualityMetric
from mopt_api.spec import QualityGate
from mopt_optimizer.onnx_quantization import (
    Calibration,
    FloatType,
    Scheme,
    StaticOptions,
    convert_float,
    quantize_onnx_static,
)

pytestmark = pytest.mark.optimizer

SIDE = 48


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_network(tmp_path_factory.mktemp("srvgg"))


def test_fallback_holds_the_gate_on_photographs_it_did_not_see(
    network: Path, tmp_path: Path
) -> None:
    calibration = tiles({"astronaut.png": 2, "coffee.png": 2}, tmp_path / "calibration", SIDE)
    evaluation = tiles({"chelsea.png": 2}, tmp_path / "evaluation", SIDE)
    out = tmp_path / "int8.onnx"
    easy = QualityGate(metric=QualityMetric.PSNR, minimum=1.0)
    options = StaticOptions(
        calibration=Calibration.PERCENTILE, scheme=Scheme.U8S8, gates=(easy,), search_samples=2
    )
    everything = quantize_onnx_static(network, out, calibration, options).sensitivity
    assert everything is not None
    assert everything.exclude == ()
    # Two decibels more than all of it in INT8 reaches, the margin included.
    aim = everything.quality_all_int8 + 1.5
    gate = easy.model_copy(update={"minimum": aim})
    report = quantize_onnx_static(
        network, out, calibration, replace(options, gates=(gate,)), evaluation=evaluation
    )
    found = report.sensitivity
    assert found is not None
    assert found.quality >= aim + 0.5
    assert report.gate_holds
    assert 0.2 < found.int8_mac_share < 1
    assert found.exclude


def test_half_precision_is_exact_to_the_eye(network: Path, tmp_path: Path) -> None:
    samples = tiles({"coffee.png": 1}, tmp_path / "tiles", SIDE)
    out = tmp_path / "fp16.onnx"
    report = convert_float(network, out, FloatType.FP16, samples)
    assert report.sqnr_db is not None
    assert report.sqnr_db > 60
    assert out.stat().st_size < 0.55 * network.stat().st_size
    # The enlargement, and what computes its sizes; all of the network itself is narrow.
    assert not any("conv" in name or "prelu" in name for name in report.kept)
    assert report.converted >= 35
