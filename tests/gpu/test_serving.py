"""What makes serving and rebuilding faster, on a real GPU: graphs, caches, memory without torch.

Written without a GPU at hand; see docs/gpu.md for where they ran.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from super_resolution import Samples

from mopt_optimizer.errors import SpecError
from mopt_optimizer.machine.nvidia_gpus import Gpu
from mopt_optimizer.runtimes.tensorrt import (
    EngineRunner,
    PycudaMemory,
    TensorRTConfig,
    TensorRTOptimizer,
    benchmark_engine,
)
from mopt_optimizer.runtimes.tensorrt.backends import Backend, BackendName

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of torch's exporter
]

SHAPES = {"image": ((1, 3, 32, 32), (1, 3, 64, 64), (4, 3, 96, 128))}
PYCUDA = """
import sys
import numpy as np
from mopt_optimizer.runtimes.tensorrt import EngineRunner, PycudaMemory

engine, inputs, outputs = sys.argv[1:]
runner = EngineRunner.open(engine, memory=PycudaMemory())
found = [runner({"image": image})["NAME"] for image in np.load(inputs).values()]
np.savez(outputs, *found)
assert "torch" not in sys.modules
"""


@pytest.fixture(scope="module")
def config(backend: Backend) -> TensorRTConfig:
    return TensorRTConfig(backend=backend.name.value, fp16_mode=True)


@pytest.fixture(scope="module")
def engine(config: TensorRTConfig, network: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("engine") / "model.engine"
    TensorRTOptimizer(config).optimize_from_onnx(network, path, SHAPES)
    return path


def images(*shapes: tuple[int, int, int]) -> Samples:
    generator = np.random.default_rng(0)
    return [
        {"image": generator.random((batch, 3, height, width), dtype=np.float32)}
        for batch, height, width in shapes
    ]


def test_replayed_runs_give_the_same_bits(engine: Path) -> None:
    plain, graphs = EngineRunner.open(engine), EngineRunner.open(engine, cuda_graphs=True)
    # Each size again and again, then back to the first: what was captured must not be stale.
    for sample in images(*[(1, 64, 64)] * 3, *[(4, 96, 128)] * 3, *[(1, 64, 64)] * 2):
        (expected,), (found,) = plain(sample).values(), graphs(sample).values()
        np.testing.assert_array_equal(found, expected)
    assert graphs.graph_refusal is None


def test_what_graphs_gain_is_printed(engine: Path) -> None:
    (sample,) = images((1, 32, 32))
    for cuda_graphs in (False, True):
        runner = EngineRunner.open(engine, cuda_graphs=cuda_graphs)
        timing = benchmark_engine(runner, sample, min_seconds=0.5)
        assert timing.runs >= 10
        print(f"\ngraphs {cuda_graphs}: {timing.end_to_end}")


def test_pycuda_gives_the_bits_that_torch_gives(engine: Path, tmp_path: Path) -> None:
    """In a process of its own, which never loads torch."""
    pytest.importorskip("pycuda", reason="pycuda is not installed")
    samples = images((1, 64, 64), (2, 33, 47), (1, 64, 64))
    runner = EngineRunner.open(engine)
    expected = [next(iter(runner(sample).values())) for sample in samples]
    np.savez(tmp_path / "in.npz", *[sample["image"] for sample in samples])
    script = PYCUDA.replace("NAME", runner.manifest.outputs[0].name)
    arguments = [str(engine), str(tmp_path / "in.npz"), str(tmp_path / "out.npz")]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "out.npz") as found:
        for array, other in zip(expected, found.values(), strict=True):
            np.testing.assert_array_equal(array, other)


def test_pycuda_says_that_it_has_no_graphs(engine: Path) -> None:
    pytest.importorskip("pycuda", reason="pycuda is not installed")
    runner = EngineRunner.open(engine, memory=PycudaMemory(), cuda_graphs=True)
    runner(images((1, 64, 64))[0])
    wanted = runner.manifest.backend is BackendName.TENSORRT
    assert ("pycuda" in (runner.graph_refusal or "")) == wanted


def test_the_timing_cache_is_used_again(
    config: TensorRTConfig, network: Path, backend: Backend, gpu: Gpu, tmp_path: Path
) -> None:
    cached = TensorRTOptimizer(replace(config, timing_cache=tmp_path / "caches"))
    if backend.name is not BackendName.TENSORRT:
        with pytest.raises(SpecError, match="runtime_cache"):
            cached.optimize_from_onnx(network, tmp_path / "model.engine", SHAPES)
        return
    seconds = []
    for _ in range(2):
        report = cached.optimize_from_onnx(network, tmp_path / "model.engine", SHAPES)
        assert not [words for words in report.warnings if "timing cache" in words]
        seconds.append(report.seconds)
    (file,) = (tmp_path / "caches").iterdir()
    assert gpu.compute_capability in file.name
    print(f"\nbuilt in {seconds[0]:.1f} s, with the timing cache in {seconds[1]:.1f} s")
    file.write_bytes(b"no cache")
    report = cached.optimize_from_onnx(network, tmp_path / "model.engine", SHAPES)
    assert [words for words in report.warnings if "is written anew" in words]


def test_the_runtime_cache_is_used_again(
    engine: Path, backend: Backend, evaluation: Samples, tmp_path: Path
) -> None:
    if backend.name is not BackendName.TENSORRT_RTX:
        with pytest.raises(SpecError, match="timing_cache"):
            EngineRunner.open(engine, runtime_cache=tmp_path / "caches")
        return
    outputs = []
    for _ in range(2):
        runner = EngineRunner.open(engine, runtime_cache=tmp_path / "caches")
        assert runner.runtime_cache_note is None
        outputs.append(next(iter(runner(evaluation[0]).values())))
        runner.save_runtime_cache()
    np.testing.assert_array_equal(outputs[0], outputs[1])
    (file,) = (tmp_path / "caches").iterdir()
    file.write_bytes(b"no cache")
    again = EngineRunner.open(engine, runtime_cache=tmp_path / "caches")
    assert "is written anew" in (again.runtime_cache_note or "")
    again(evaluation[0])
