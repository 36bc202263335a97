"""The trained super-resolution network as engines for GPUs that are not here.

Its numbers come from ONNX Runtime, which computes the same file that the engine is built from.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from own_forms import IS_NARROW
from super_resolution import tiles, write_network

from mopt_api.enums import Precision, QualityMetric
from mopt_api.spec import QualityGate
from mopt_optimizer.errors import CalibrationError, DamagedEngine, GpuNotFound
from mopt_optimizer.machine.nvidia_gpus import visible_gpus
from mopt_optimizer.onnx_files.verify import OnnxSession
from mopt_optimizer.onnx_quantization import Calibration, Scheme
from mopt_optimizer.quality import psnr
from mopt_optimizer.runtimes.tensorrt import (
    TensorRTConfig,
    TensorRTOptimizer,
    load_engine,
    nodes_in,
    optimize_tensorrt,
    read_manifest,
    write_typed_model,
)

pytestmark = [
    pytest.mark.tensorrt,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of torch's exporter
]
pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")

Samples = list[dict[str, NDArray[np.float32]]]
SIDE = 48
TARGETS = ("8.6", "8.9", "12.0")
SHAPES = {"image": ((1, 3, 32, 32), (1, 3, 128, 128), (4, 3, 256, 320))}
ONLY_RTX: dict[str, Any] = {"backend": "tensorrt_rtx", "compute_capabilities": TARGETS}
RTX = TensorRTConfig(**ONLY_RTX)
INT8 = replace(RTX, int8_mode=True, calibration=Calibration.PERCENTILE)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_network(tmp_path_factory.mktemp("srvgg"))


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    folder = tmp_path_factory.mktemp("calibration")
    return tiles({"astronaut.png": 2, "coffee.png": 2}, folder, SIDE)


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    return tiles({"chelsea.png": 2}, tmp_path_factory.mktemp("evaluation"), SIDE)


def convolutions(path: Path) -> set[str]:
    return {node.name for node in onnx.load(path).graph.node if node.op_type == "Conv"}


def worst_psnr(reference: Path, candidate: Path, samples: Samples) -> float:
    # Node by node where this CPU's kernels would saturate, as the search does it.
    first, second = (OnnxSession(path, optimized=not IS_NARROW) for path in (reference, candidate))
    return min(psnr(first.run(dict(s))[0], second.run(dict(s))[0], data_range=1.0) for s in samples)


def test_fp32_builds_for_every_target(network: Path, tmp_path: Path) -> None:
    engine = tmp_path / "model.engine"
    report = TensorRTOptimizer(RTX).optimize_from_onnx(network, engine, SHAPES)
    assert set(report.manifest.layer_datatypes) == {"FP32"}
    manifest = read_manifest(engine)
    assert manifest == report.manifest
    assert manifest.compute_capabilities == list(TARGETS)
    assert manifest.precision is Precision.FP32
    assert manifest.inputs[0].shape == [-1, 3, -1, -1]
    assert manifest.inputs[0].maximum == [4, 3, 256, 320]
    assert manifest.gpu is None


@pytest.mark.parametrize(("precision", "datatype"), [("fp16", "FP16"), ("bf16", "BF16")])
def test_half_precision_is_really_in_the_engine(
    network: Path,
    calibration: Samples,
    evaluation: Samples,
    tmp_path: Path,
    precision: str,
    datatype: str,
) -> None:
    config = TensorRTConfig.of(precision, **ONLY_RTX)
    typed = tmp_path / "typed.onnx"
    report = TensorRTOptimizer(config).optimize_from_onnx(
        network, tmp_path / "model.engine", SHAPES, calibration[:1], typed_onnx=typed
    )
    assert convolutions(network) <= nodes_in(report.layers, datatype)
    assert report.manifest.layer_datatypes[datatype] >= len(convolutions(network))
    assert report.half is not None
    assert report.half.sqnr_db is not None
    # Inputs and outputs stay as they were: who serves it changes nothing.
    assert {t.dtype for t in (*report.manifest.inputs, *report.manifest.outputs)} == {"float32"}
    if precision == "fp16":
        assert worst_psnr(network, typed, evaluation) > 60


def test_int8_is_really_in_the_engine_and_as_exact_as_in_onnx_runtime(
    network: Path, calibration: Samples, evaluation: Samples, tmp_path: Path
) -> None:
    typed = tmp_path / "typed.onnx"
    report = TensorRTOptimizer(INT8).optimize_from_onnx(
        network, tmp_path / "model.engine", SHAPES, calibration, typed_onnx=typed
    )
    assert convolutions(network) <= nodes_in(report.layers, "INT8")
    assert report.manifest.layer_datatypes["INT8"] >= len(convolutions(network))
    assert report.manifest.precision is Precision.INT8
    assert report.int8 is not None
    assert report.int8.scheme is Scheme.S8S8
    assert 30 < worst_psnr(network, typed, evaluation) < 60


@pytest.mark.parametrize(("precision", "datatype"), [("fp16", "FP16"), ("int8", "INT8")])
def test_each_gpu_alone_gets_the_type_as_well(
    network: Path, calibration: Samples, tmp_path: Path, precision: str, datatype: str
) -> None:
    """RTX lists the layers once, however many GPUs it builds for."""
    typed = tmp_path / "typed.onnx"
    config = TensorRTConfig.of(precision, **ONLY_RTX, calibration=Calibration.PERCENTILE)
    write_typed_model(network, typed, config, calibration[:1])
    for target in TARGETS:
        alone = TensorRTOptimizer(replace(config, compute_capabilities=(target,)))
        report = alone.build_typed(typed, tmp_path / "model.engine", SHAPES)
        assert convolutions(network) <= nodes_in(report.layers, datatype)


def test_fp8_is_really_in_the_engine_and_as_exact_as_in_onnx_runtime(
    network: Path, calibration: Samples, evaluation: Samples, tmp_path: Path
) -> None:
    config = TensorRTConfig(
        backend="tensorrt_rtx",
        fp8_mode=True,
        compute_capabilities=("8.9", "12.0"),
        calibration=Calibration.MIN_MAX,
    )
    typed = tmp_path / "typed.onnx"
    report = TensorRTOptimizer(config).optimize_from_onnx(
        network, tmp_path / "model.engine", SHAPES, calibration, typed_onnx=typed
    )
    assert convolutions(network) <= nodes_in(report.layers, "FP8")
    assert report.fp8 is not None
    assert set(report.fp8.layers or ()) == convolutions(network)
    assert report.fp8.missed == {}
    assert 30 < worst_psnr(network, typed, evaluation) < 60


def test_a_gate_keeps_layers_out_of_the_engines_int8(
    network: Path, calibration: Samples, tmp_path: Path
) -> None:
    typed, gated = tmp_path / "all.onnx", tmp_path / "gated.onnx"
    everything = TensorRTOptimizer(INT8)
    everything.optimize_from_onnx(
        network, tmp_path / "all.engine", SHAPES, calibration, typed_onnx=typed
    )
    reached = worst_psnr(network, typed, calibration)
    gate = QualityGate(metric=QualityMetric.PSNR, minimum=reached + 1.0, data_range=1.0)
    report = TensorRTOptimizer(replace(INT8, gate=gate)).optimize_from_onnx(
        network, tmp_path / "gated.engine", SHAPES, calibration, typed_onnx=gated
    )
    assert report.int8 is not None
    assert report.int8.sensitivity is not None
    left_out = set(report.int8.sensitivity.exclude) & convolutions(network)
    assert left_out
    int8 = nodes_in(report.layers, "INT8")
    assert left_out.isdisjoint(int8)
    assert convolutions(network) - left_out <= int8
    # The gate's number is that of the file which the engine is built from.
    found = worst_psnr(network, gated, calibration)
    assert found == pytest.approx(report.int8.sensitivity.quality, abs=1e-6)
    assert found >= gate.minimum  # type: ignore[operator]


def test_fp16_takes_the_place_of_fp32_beside_int8(
    network: Path, calibration: Samples, tmp_path: Path
) -> None:
    typed = tmp_path / "typed.onnx"
    # All of it in INT8 stays below this by 5 dB.
    gate = QualityGate(metric=QualityMetric.PSNR, minimum=41.0, data_range=1.0)
    config = replace(INT8, fp16_mode=True, gate=gate)
    report = TensorRTOptimizer(config).optimize_from_onnx(
        network, tmp_path / "model.engine", SHAPES, calibration, typed_onnx=typed
    )
    assert report.int8 is not None
    assert report.int8.sensitivity is not None
    left_out = set(report.int8.sensitivity.exclude) & convolutions(network)
    assert left_out
    assert left_out <= nodes_in(report.layers, "FP16")
    assert convolutions(network) - left_out <= nodes_in(report.layers, "INT8")
    assert convolutions(network).isdisjoint(
        nodes_in(report.layers, "FP32")
        - nodes_in(report.layers, "FP16")
        - nodes_in(report.layers, "INT8")
    )
    # FP16 is as good as FP32 next to the noise of INT8.
    quality = report.int8.sensitivity.quality
    assert worst_psnr(network, typed, calibration) == pytest.approx(quality, abs=0.5)


def test_ranges_do_not_depend_on_the_batch_size(
    network: Path, calibration: Samples, tmp_path: Path
) -> None:
    config = replace(INT8, calibration=Calibration.ENTROPY)
    batches = [{"image": np.concatenate([sample["image"] for sample in calibration])}]
    files = []
    for number, samples in enumerate((calibration, batches)):
        files.append(tmp_path / f"{number}.onnx")
        TensorRTOptimizer(config).optimize_from_onnx(
            network, tmp_path / "model.engine", SHAPES, samples, typed_onnx=files[-1]
        )
    held = [
        {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(file).graph.initializer}
        for file in files
    ]
    assert held[0].keys() == held[1].keys()
    for name, values in held[0].items():
        if "_bias_" in name:  # A mean, whose last digits the order of sums changes.
            np.testing.assert_allclose(held[1][name], values, rtol=1e-2, atol=1e-4)
        else:
            np.testing.assert_array_equal(held[1][name], values, err_msg=name)


def test_q_and_dq_stand_where_tensorrt_fuses_them(
    network: Path, calibration: Samples, tmp_path: Path
) -> None:
    typed = tmp_path / "typed.onnx"
    TensorRTOptimizer(INT8).optimize_from_onnx(
        network, tmp_path / "model.engine", SHAPES, calibration, typed_onnx=typed
    )
    graph = onnx.load(typed).graph
    makers = {name: node for node in graph.node for name in node.output}
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type != "Conv":
            continue
        assert makers[node.input[0]].op_type == "DequantizeLinear"
        weight = makers[node.input[1]]
        assert weights[weight.input[0]].dtype == np.int8
        assert weights[weight.input[1]].shape == (weights[weight.input[0]].shape[0],)
        assert weights[node.input[2]].dtype == np.float32
        readers = {n.op_type for n in graph.node if node.output[0] in n.input}
        assert "QuantizeLinear" not in readers
    points = [weights[n.input[2]] for n in graph.node if n.op_type == "QuantizeLinear"]
    assert points
    assert not any(point.any() for point in points)


def test_a_calibration_cache_gives_its_steps(
    network: Path, calibration: Samples, tmp_path: Path
) -> None:
    typed = tmp_path / "typed.onnx"
    optimizer = TensorRTOptimizer(INT8)
    optimizer.optimize_from_onnx(
        network, tmp_path / "a.engine", SHAPES, calibration, typed_onnx=typed
    )
    steps = _steps(typed)
    lines = [f"{name}: {struct.pack('!f', step).hex()}" for name, step in steps.items()]
    cache = tmp_path / "calibration.cache"
    cache.write_text("\n".join(["TRT-8601-EntropyCalibration2", *lines, ""]))
    imported = tmp_path / "imported.onnx"
    report = optimizer.optimize_from_onnx(
        network, tmp_path / "b.engine", SHAPES, calibration_cache=cache, typed_onnx=imported
    )
    assert report.int8 is None
    assert convolutions(network) <= nodes_in(report.layers, "INT8")
    assert _steps(imported) == pytest.approx(steps, rel=1e-6)
    cache.write_text("\n".join(["TRT-8601-EntropyCalibration2", *lines[1:], ""]))
    with pytest.raises(CalibrationError, match=r"1 of 18 tensors .* have no range"):
        optimizer.optimize_from_onnx(
            network, tmp_path / "c.engine", SHAPES, calibration_cache=cache
        )


def _steps(path: Path) -> dict[str, float]:
    graph = onnx.load(path).graph
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    return {
        node.input[0]: float(weights[node.input[1]])
        for node in graph.node
        if node.op_type == "QuantizeLinear"
    }


def test_a_quantized_file_is_taken_as_it_is(
    network: Path, calibration: Samples, tmp_path: Path
) -> None:
    typed = tmp_path / "typed.onnx"
    TensorRTOptimizer(INT8).optimize_from_onnx(
        network, tmp_path / "b.engine", SHAPES, calibration, typed_onnx=typed
    )
    report = optimize_tensorrt(typed, tmp_path / "c.engine", SHAPES, "int8", **ONLY_RTX)
    assert report.int8 is None
    assert report.manifest.layer_datatypes["INT8"] >= len(convolutions(network))


def test_int8_without_data_says_what_to_give(network: Path, tmp_path: Path) -> None:
    engine = tmp_path / "model.engine"
    with pytest.raises(CalibrationError, match="give calibration_data"):
        TensorRTOptimizer(INT8).optimize_from_onnx(network, engine, SHAPES)
    assert not engine.exists()


def test_an_engine_says_why_it_does_not_run_here(network: Path, tmp_path: Path) -> None:
    if visible_gpus():
        pytest.skip("there is a GPU: tests/gpu runs engines")
    engine = tmp_path / "model.engine"
    TensorRTOptimizer(RTX).optimize_from_onnx(network, engine, SHAPES)
    with pytest.raises(GpuNotFound, match=r"model\.engine needs an NVIDIA GPU"):
        load_engine(engine)
    engine.write_bytes(engine.read_bytes()[:-1])
    with pytest.raises(DamagedEngine, match="truncated"):
        load_engine(engine)
