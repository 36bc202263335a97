"""What OpenVINO computes in on this CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from runners import opened
from super_resolution import tiles, write_network

from mopt_api.enums import FloatPrecision, Precision, Runtime
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
from mopt_optimizer.runtimes.openvino.runner import OpenVinoRunner

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


def types_of_layers(path: Path, rest: FloatPrecision | None) -> dict[str, str]:
    """Return what OpenVINO computes each layer in, by the names of its ONNX nodes."""
    runner = opened(Runtime.OPENVINO, Precision.INT8, path, float_precision=rest)
    assert isinstance(runner, OpenVinoRunner)
    executed = [one.get_rt_info() for one in runner._compiled.get_runtime_model().get_ops()]
    return {
        name: facts["runtimePrecision"].value
        for facts in executed
        for name in facts["originalLayersNames"].value.split(",")
    }


@pytest.mark.parametrize("rest", [None, FloatPrecision.BF16])
def test_one_graph_has_int8_and_the_rest_in_what_is_asked_for(
    tmp_path: Path, rest: FloatPrecision | None
) -> None:
    """Of a real network, the same file: a layer that stays FP32 there is computed in BF16."""
    if rest is not None and not has_native_bf16(System().hardware({}).cpu_features):
        pytest.skip("the CPU does not compute in BF16")
    network, path = write_network(tmp_path), tmp_path / "int8.onnx"
    calibration = tiles({"coffee.png": 2}, tmp_path / "tiles", 48)
    layers = [n.name for n in onnx.load(network).graph.node if n.op_type == "Conv"]
    options = StaticOptions(exclude=tuple(layers[-3:]), layer_outputs=False)
    quantize_onnx_static(network, path, calibration, options)
    found = types_of_layers(path, rest)
    assert {found[name] for name in layers[1:-3]} <= {"i8", "u8"}
    assert {found[name] for name in layers[-3:]} == {"bf16" if rest else "f32"}
    # Beside layers OpenVINO leaves FP32 what is not worth a conversion: three types in one graph.
    assert {"f32"} <= {*found.values()}


def test_bf16_beside_int8_is_refused_where_it_would_be_fp32(
    model: Path, samples: Samples, tmp_path: Path
) -> None:
    path = tmp_path / "int8.onnx"
    quantize_onnx_static(model, path, samples)
    if has_native_bf16(System().hardware({}).cpu_features):
        opened(Runtime.OPENVINO, Precision.INT8, path, float_precision=FloatPrecision.BF16)
        return
    with pytest.raises(RuntimeFailure, match="not in BF16"):
        opened(Runtime.OPENVINO, Precision.INT8, path, float_precision=FloatPrecision.BF16)


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
