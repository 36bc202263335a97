"""Engines on a real GPU: the right numbers at every size, what is refused, how fast.

Written without a GPU at hand; see docs/gpu.md for where they ran.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from super_resolution import Samples

from mopt_optimizer.errors import DamagedEngine, DigestMismatch, ProfileViolation, UnusableEngine
from mopt_optimizer.machine.nvidia_gpus import Gpu
from mopt_optimizer.onnx_files.verify import OnnxSession
from mopt_optimizer.onnx_quantization import Calibration
from mopt_optimizer.quality import psnr
from mopt_optimizer.runtimes.tensorrt import (
    EngineReport,
    EngineRunner,
    TensorRTConfig,
    TensorRTOptimizer,
    load_engine,
    nodes_in,
)
from mopt_optimizer.runtimes.tensorrt.backends import Backend
from mopt_optimizer.runtimes.tensorrt.building import Messages
from mopt_optimizer.runtimes.tensorrt.fp8 import has_fp8
from mopt_optimizer.runtimes.tensorrt.loading import check_validity
from mopt_optimizer.runtimes.tensorrt.manifest import manifest_path

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of torch's exporter
]

SHAPES = {"image": ((1, 3, 32, 32), (1, 3, 64, 64), (4, 3, 96, 128))}
# Against FP32 in ONNX Runtime, in dB of the worst tile. TF32 keeps 10 bits of the mantissa.
EXACT = {"fp32": 90.0, "tf32": 55.0, "fp16": 55.0, "bf16": 40.0}
# Against the same Q/DQ file in ONNX Runtime: rounding at the edges of steps differs, which are
# coarser in FP8.
SAME_EIGHT_BITS = {"int8": 40.0, "int8+fp16": 40.0, "fp8": 36.0, "fp8+fp16": 36.0}


@dataclass(frozen=True)
class Built:
    report: EngineReport
    typed: Path


PRECISIONS = ["fp32", "tf32", "fp16", "bf16", "int8", "int8+fp16", "fp8", "fp8+fp16"]


@pytest.fixture(scope="module", params=PRECISIONS)
def precision(request: pytest.FixtureRequest, gpu: Gpu) -> str:
    name: str = request.param
    if name.startswith("fp8") and not has_fp8(gpu.compute_capability):
        pytest.skip(f"{gpu} has no FP8")
    return name


@pytest.fixture(scope="module")
def built(
    precision: str,
    network: Path,
    calibration: Samples,
    backend: Backend,
    tmp_path_factory: pytest.TempPathFactory,
) -> Built:
    folder = tmp_path_factory.mktemp("engine")
    config = TensorRTConfig.of(
        "fp32" if precision == "tf32" else precision,
        backend=backend.name.value,
        tf32=precision == "tf32",
        calibration=Calibration.PERCENTILE,
    )
    typed = folder / "typed.onnx"
    samples = None if precision in EXACT and precision.endswith("32") else calibration
    report = TensorRTOptimizer(config).optimize_from_onnx(
        network, folder / "model.engine", SHAPES, samples, typed_onnx=typed
    )
    return Built(report, typed)


def test_the_manifest_names_this_gpu(built: Built, backend: Backend, gpu: Gpu) -> None:
    manifest = built.report.manifest
    assert manifest.cuda is not None
    if not backend.targets:
        assert manifest.gpu == gpu.name
        assert manifest.compute_capabilities == [gpu.compute_capability]


def test_outputs_are_the_right_ones(
    built: Built, precision: str, network: Path, evaluation: Samples
) -> None:
    runner = EngineRunner.open(built.report.path)
    reference = OnnxSession(network if precision in EXACT else built.typed)
    least = (EXACT | SAME_EIGHT_BITS)[precision]
    for sample in evaluation:
        (expected,) = reference.run(dict(sample))
        (found,) = runner(sample).values()
        assert psnr(expected, found, data_range=1.0) >= least


def test_every_size_of_the_profile_runs_in_one_context(
    built: Built, network: Path, precision: str
) -> None:
    runner = EngineRunner.open(built.report.path)
    reference = OnnxSession(network if precision in EXACT else built.typed)
    generator = np.random.default_rng(0)
    for batch, height, width in ((1, 32, 32), (4, 96, 128), (3, 33, 47), (1, 64, 64)):
        image = generator.random((batch, 3, height, width), dtype=np.float32)
        (expected,) = reference.run({"image": image})
        (found,) = runner({"image": image}).values()
        assert found.shape == (batch, 3, 4 * height, 4 * width)
        # Noise is harder than photographs: a broken engine is far below, a right one above.
        assert psnr(expected, found, data_range=1.0) > 25


def test_the_same_input_gives_the_same_bits(built: Built, evaluation: Samples) -> None:
    runner = EngineRunner.open(built.report.path)
    (first,) = runner(evaluation[0]).values()
    runner(evaluation[1])
    (second,) = runner(evaluation[0]).values()
    np.testing.assert_array_equal(first, second)


def test_the_inspector_agrees_with_the_builders_listing(built: Built, precision: str) -> None:
    layers = load_engine(built.report.path).layers()
    assert layers
    kind = precision.split("+")[0].upper()
    wanted = "FP32" if kind == "TF32" else kind
    assert nodes_in(layers, wanted) or any(layer.datatype == wanted for layer in layers)


def test_fp8_reaches_the_layers_that_the_report_says(built: Built, precision: str) -> None:
    if not precision.startswith("fp8"):
        pytest.skip(f"{precision} has no FP8 layers")
    assert built.report.fp8 is not None
    if built.report.fp8.layers is None:
        pytest.skip("this TensorRT's builder lists no layers")
    inspected = nodes_in(load_engine(built.report.path).layers(), "FP8")
    assert set(built.report.fp8.layers) <= inspected


def test_sizes_outside_the_profile_are_refused(built: Built) -> None:
    runner = EngineRunner.open(built.report.path)
    with pytest.raises(ProfileViolation, match="axis 2: 97 is not 32 to 96"):
        runner({"image": np.zeros((1, 3, 97, 64), np.float32)})
    with pytest.raises(ProfileViolation, match="float64"):
        runner({"image": np.zeros((1, 3, 64, 64), np.float64)})


def test_memory_is_given_back(built: Built, evaluation: Samples) -> None:
    import torch

    def round_trip() -> int:
        runner = EngineRunner.open(built.report.path)
        runner(evaluation[0])
        del runner
        gc.collect()
        torch.cuda.synchronize()
        return int(torch.cuda.mem_get_info()[0])

    round_trip()  # what CUDA and TensorRT keep for good
    free = [round_trip() for _ in range(5)]
    assert free[0] - free[-1] < 64 * 1024 * 1024


def test_the_benchmark_measures(built: Built, evaluation: Samples) -> None:
    optimizer = TensorRTOptimizer()
    timing = optimizer.benchmark(built.report.path, evaluation[0], min_seconds=0.5)
    assert timing.runs >= 10
    assert 0 < timing.gpu_compute.p50 <= timing.end_to_end.p50
    assert timing.gpu_compute.minimum <= timing.gpu_compute.p50 <= timing.gpu_compute.p99
    print(f"\n{built.report.manifest.precision}: {timing}")


def test_a_damaged_engine_does_not_reach_the_gpu(built: Built, tmp_path: Path) -> None:
    engine = tmp_path / "model.engine"
    data = bytearray(built.report.path.read_bytes())
    manifest_path(engine).write_bytes(manifest_path(built.report.path).read_bytes())
    engine.write_bytes(data[: len(data) // 2])
    with pytest.raises(DamagedEngine, match="truncated"):
        load_engine(engine)
    data[len(data) // 2] ^= 0xFF
    engine.write_bytes(data)
    with pytest.raises(DigestMismatch):
        load_engine(engine)


def test_tensorrt_itself_refuses_what_is_no_engine(backend: Backend) -> None:
    runtime = backend.api.Runtime(Messages(backend.api).logger)
    if not hasattr(runtime, "get_engine_validity"):
        pytest.skip(f"{backend} cannot be asked whether an engine is valid")
    with pytest.raises(UnusableEngine):
        check_validity("model.engine", backend, runtime, b"no engine" * 100)


def test_an_engine_for_another_gpu_is_refused(
    network: Path, backend: Backend, gpu: Gpu, tmp_path: Path
) -> None:
    from mopt_optimizer.errors import WrongGpu

    others = [target for target in backend.targets if target != gpu.compute_capability]
    if not others:
        pytest.skip(f"{backend} builds only for the GPU that is here")
    config = TensorRTConfig(backend=backend.name.value, compute_capabilities=(others[0],))
    engine = tmp_path / "model.engine"
    TensorRTOptimizer(config).optimize_from_onnx(network, engine, SHAPES)
    with pytest.raises(WrongGpu, match=f"built for compute capability {others[0]}, here is"):
        load_engine(engine)
