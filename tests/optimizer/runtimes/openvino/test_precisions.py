"""What OpenVINO computes in on this CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from runners import opened

from mopt_api.enums import Precision, Runtime
from mopt_optimizer.machine.system import System, has_native_bf16
from mopt_optimizer.onnx_quantization import (
    Calibration,
    FloatType,
    StaticOptions,
    convert_float,
    quantize_onnx_static,
)
from mopt_optimizer.quality import sqnr
from mopt_optimizer.runtimes import RuntimeFailure

pytestmark = pytest.mark.optimizer

Samples = list[dict[str, NDArray[np.float32]]]


def test_bf16_is_computed_where_native_and_refused_elsewhere(model: Path, samples: Samples) -> None:
    if not has_native_bf16(System().hardware({}).cpu_features):
        with pytest.raises(RuntimeFailure, match="not in BF16"):
            opened(Runtime.OPENVINO, Precision.BF16, model, 1)
        return
    outputs: list[NDArray[np.float32]] = []
    for precision in (Precision.FP32, Precision.BF16):
        with opened(Runtime.OPENVINO, precision, model, 1) as runner:
            outputs += runner.run(samples[0]).values()
    # 8 bits of mantissa: neither FP32's 24 nor INT8.
    assert 35 < sqnr(*outputs) < 80


def test_one_qdq_file_gives_the_same_numbers_in_both_runtimes(
    model: Path, samples: Samples, tmp_path: Path
) -> None:
    path = tmp_path / "int8.onnx"
    quantize_onnx_static(model, path, samples, StaticOptions(calibration=Calibration.ENTROPY))
    outputs: list[NDArray[np.float32]] = []
    for runtime in (Runtime.ONNX_RUNTIME, Runtime.OPENVINO):
        with opened(runtime, Precision.INT8, path, 1) as runner:
            outputs += runner.run({"image": np.tile(samples[0]["image"], (2, 1, 2, 1))}).values()
    assert sqnr(*outputs) > 40


@pytest.mark.parametrize("kind", FloatType)
def test_narrow_onnx_files_open_with_dynamic_sizes(
    model: Path, samples: Samples, tmp_path: Path, kind: FloatType
) -> None:
    path = tmp_path / "narrow.onnx"
    convert_float(model, path, kind, samples)
    outputs: list[NDArray[np.float32]] = []
    for file in (model, path):
        with opened(Runtime.OPENVINO, Precision.FP32, file, 1) as runner:
            outputs += runner.run({"image": np.tile(samples[0]["image"], (2, 1, 1, 2))}).values()
    assert sqnr(*outputs) > (55 if kind is FloatType.FP16 else 35)
