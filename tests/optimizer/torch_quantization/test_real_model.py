"""The trained super-resolution network on photographs."""

from __future__ import annotations

from pathlib import Path

import build
import pytest

from mopt_api.inputs import ImageTransform
from mopt_optimizer.opening.loading import load_exported_program
from mopt_optimizer.torch_quantization import ModelQuantizer, QuantizationConfig, QuantizationType
from mopt_optimizer.torch_quantization.sampling import samples

pytestmark = pytest.mark.optimizer

CONVOLUTIONS = 18
IMAGES = ImageTransform(resize=[48, 48])


def test_static_int8_of_a_trained_network_from_a_folder_of_photographs(tmp_path: Path) -> None:
    build.export(tmp_path / "model.pt2")
    network = load_exported_program(tmp_path / "model.pt2", tmp_path)
    build.cut_tiles({"astronaut.png": 2, "coffee.png": 2}, tmp_path / "calibration")
    build.cut_tiles({"chelsea.png": 1}, tmp_path / "evaluation")
    quantizer = ModelQuantizer(
        QuantizationConfig(quantization_type=QuantizationType.STATIC, images=IMAGES)
    )
    quantized = quantizer.quantize(network, tmp_path / "calibration")
    assert len(quantized.report.quantized) == CONVOLUTIONS
    assert quantized.report.samples == 4
    (unseen,) = samples(tmp_path / "evaluation", ["image"], IMAGES, 1, required=1)
    result = quantizer.benchmark_quantization(network, quantized, unseen, 2, data_range=1.0)
    assert result["compiled"]
    assert result["quality"]["psnr_db"] > 30
    assert result["size_reduction_percent"] > 50
