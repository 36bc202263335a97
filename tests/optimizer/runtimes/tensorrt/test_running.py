"""EngineRunner and the benchmark around a context that computes in host memory.

The context stands for TensorRT's: it sees nothing but shapes, addresses and a stream, and computes
y = 2 x from one address to the other. Real engines run in tests/gpu.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from mopt_optimizer.errors import EngineRunError, ProfileViolation, SpecError
from mopt_optimizer.machine.nvidia_clocks import ClockSample, throttling_reasons
from mopt_optimizer.machine.nvidia_gpus import Gpu
from mopt_optimizer.runtimes.tensorrt.backends import Backend, BackendName
from mopt_optimizer.runtimes.tensorrt.building import Messages
from mopt_optimizer.runtimes.tensorrt.loading import LoadedEngine
from mopt_optimizer.runtimes.tensorrt.manifest import EngineManifest
from mopt_optimizer.runtimes.tensorrt.memory import GraphRefused
from mopt_optimizer.runtimes.tensorrt.running import EngineRunner, numpy_dtype
from mopt_optimizer.runtimes.tensorrt.timing import LatencySummary, benchmark_engine, doubts

STREAM = 7
TENSORRT = Backend(BackendName.TENSORRT, "11.1.0.106", object())


class HostBuffer:
    def __init__(self, size: int) -> None:
        self.bytes = np.zeros(size, np.uint8)
        self.address = int(self.bytes.ctypes.data)
        self.size = size


class HostMemory:
    """DeviceMemory in host memory; its device's clock is advanced by the context."""

    stream = STREAM

    def __init__(self) -> None:
        self.now = 0.0
        self.allocated: list[int] = []
        self.recording: list[Callable[[], None]] | None = None
        self.captures = 0
        self.refusal: str | None = None

    def allocate(self, size: int) -> HostBuffer:
        self.allocated.append(size)
        return HostBuffer(size)

    def upload(self, array: NDArray[Any], buffer: HostBuffer) -> None:
        buffer.bytes[: array.nbytes] = np.frombuffer(array.tobytes(), np.uint8)

    def download(self, buffer: HostBuffer, array: NDArray[Any]) -> None:
        array.reshape(-1).view(np.uint8)[:] = buffer.bytes[: array.nbytes]

    def synchronize(self) -> None:
        pass

    def mark(self) -> float:
        return self.now

    def milliseconds(self, start: float, end: float) -> float:
        return end - start

    def capture(self, queue: Callable[[], None]) -> Callable[[], None]:
        if self.refusal is not None:
            raise GraphRefused(self.refusal)
        self.captures += 1
        recorded = self.recording = []
        try:
            queue()
        finally:
            self.recording = None

        def replay() -> None:
            for work in recorded:
                work()

        return replay


class DoublingContext:
    def __init__(self, memory: HostMemory, times: list[float] | None = None) -> None:
        self.memory = memory
        self.times = times or [1.0]
        self.runs = 0
        self.calls = 0
        self.shape: tuple[int, ...] = ()
        self.addresses: dict[str, int] = {}
        self.answers = {"set_input_shape": True, "execute_async_v3": True, "captured": True}
        self.output_shape: tuple[int, ...] | None = None

    def set_input_shape(self, _name: str, shape: tuple[int, ...]) -> bool:
        self.shape = shape
        return self.answers["set_input_shape"]

    def get_tensor_shape(self, _name: str) -> tuple[int, ...]:
        return self.output_shape or self.shape

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == STREAM
        if self.memory.recording is not None:
            self.memory.recording.append(self.compute)
            return self.answers["captured"]
        self.compute()
        self.calls += 1
        return self.answers["execute_async_v3"]

    def compute(self) -> None:
        floats = ctypes.c_float * math.prod(self.shape)
        x = np.ctypeslib.as_array(floats.from_address(self.addresses["x"]))
        np.ctypeslib.as_array(floats.from_address(self.addresses["y"]))[:] = 2 * x
        self.memory.now += self.times[self.runs % len(self.times)]
        self.runs += 1


class Setting:
    """A runner with what it stands on."""

    def __init__(
        self,
        manifest: EngineManifest,
        backend: Backend,
        times: list[float],
        *,
        cuda_graphs: bool = False,
    ) -> None:
        self.memory = HostMemory()
        self.context = DoublingContext(self.memory, times)
        messages = cast(Messages, SimpleNamespace(errors=["Error Code 1: Cuda Runtime\nmore"]))
        engine = SimpleNamespace(create_execution_context=lambda: self.context)
        self.loaded = LoadedEngine(engine, manifest, backend, messages)
        self.runner = EngineRunner(self.loaded, self.memory, cuda_graphs=cuda_graphs)


@pytest.fixture
def setting(manifest: EngineManifest, rtx_stub: Backend) -> Setting:
    return Setting(manifest, rtx_stub, [1.0])


def rows(count: int) -> dict[str, NDArray[Any]]:
    return {"x": np.arange(count * 3, dtype=np.float32).reshape(count, 3)}


def test_outputs_are_what_the_engine_wrote_at_each_size(setting: Setting) -> None:
    for count in (1, 4, 2):
        found = setting.runner(rows(count))
        assert found["y"].dtype == np.float32
        np.testing.assert_array_equal(found["y"], 2 * rows(count)["x"])


def test_results_stay_when_the_engine_runs_again(setting: Setting) -> None:
    first = setting.runner(rows(2))["y"]
    setting.runner({"x": np.ones((2, 3), np.float32)})
    np.testing.assert_array_equal(first, 2 * rows(2)["x"])


def test_memory_is_kept_while_sizes_stay(setting: Setting) -> None:
    setting.runner(rows(2))
    setting.runner(rows(2))
    assert setting.memory.allocated == [24, 24]


def test_arrays_that_are_not_contiguous_or_writable_are_taken(setting: Setting) -> None:
    transposed = np.asfortranarray(rows(3)["x"])
    transposed.setflags(write=False)
    found = setting.runner({"x": transposed})
    np.testing.assert_array_equal(found["y"], 2 * transposed)


@pytest.mark.parametrize(
    ("feeds", "words"),
    [
        ({}, "inputs none are given, the engine takes x"),
        ({"z": np.zeros((1, 3), np.float32)}, "inputs z are given, the engine takes x"),
        ({"x": np.zeros((1, 3), np.float64)}, "input x is float64, the engine takes float32"),
        ({"x": np.zeros((5, 3), np.float32)}, "input x, axis 0: 5 is not 1 to 4"),
        ({"x": np.zeros((2, 4), np.float32)}, "input x, axis 1: 4 is not 3"),
    ],
)
def test_inputs_outside_the_profile_never_reach_tensorrt(
    setting: Setting, feeds: dict[str, NDArray[Any]], words: str
) -> None:
    with pytest.raises(ProfileViolation, match=words):
        setting.runner(feeds)
    assert setting.context.runs == 0
    assert setting.context.shape == ()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("set_input_shape", r"refuses input x of shape \(1, 3\): Error Code 1: Cuda Runtime$"),
        ("execute_async_v3", "fails to run the engine: Error Code 1: Cuda Runtime$"),
    ],
)
def test_tensorrts_failures_are_errors_with_its_words(
    setting: Setting, answer: str, words: str
) -> None:
    setting.context.answers[answer] = False
    with pytest.raises(EngineRunError, match=words):
        setting.runner(rows(1))


def test_outputs_whose_size_depends_on_values_are_refused(setting: Setting) -> None:
    setting.context.output_shape = (-1, 3)
    with pytest.raises(EngineRunError, match=r"output y has shape \(-1, 3\): its size depends"):
        setting.runner(rows(1))


def test_an_engine_without_a_context_is_refused(setting: Setting) -> None:
    engine = SimpleNamespace(create_execution_context=lambda: None)
    loaded = LoadedEngine(engine, setting.loaded.manifest, setting.loaded.backend, _messages())
    with pytest.raises(EngineRunError, match="no execution context: it gave no reason"):
        EngineRunner(loaded, setting.memory)


@pytest.fixture
def graphs(manifest: EngineManifest) -> Setting:
    return Setting(manifest, TENSORRT, [1.0], cuda_graphs=True)


def test_the_second_run_at_a_size_is_replayed(graphs: Setting) -> None:
    for value in (1.0, 2.0, 3.0):
        found = graphs.runner({"x": np.full((2, 3), value, np.float32)})
        np.testing.assert_array_equal(found["y"], np.full((2, 3), 2 * value, np.float32))
    assert (graphs.memory.captures, graphs.context.calls, graphs.context.runs) == (1, 1, 3)
    assert graphs.runner.graph_refusal is None


def test_other_sizes_are_captured_anew(graphs: Setting) -> None:
    for count in (2, 2, 4, 4, 2):
        np.testing.assert_array_equal(graphs.runner(rows(count))["y"], 2 * rows(count)["x"])
    assert (graphs.memory.captures, graphs.context.calls) == (3, 3)


def test_where_capture_is_refused_it_runs_without_and_says_why(graphs: Setting) -> None:
    graphs.memory.refusal = "pycuda has no CUDA graphs"
    for count in (2, 2, 4):
        np.testing.assert_array_equal(graphs.runner(rows(count))["y"], 2 * rows(count)["x"])
    assert graphs.runner.graph_refusal == "pycuda has no CUDA graphs"
    assert (graphs.memory.captures, graphs.context.calls) == (0, 3)


def test_an_engine_that_cannot_be_captured_runs_without(graphs: Setting) -> None:
    graphs.context.answers["captured"] = False
    for _ in range(2):
        np.testing.assert_array_equal(graphs.runner(rows(2))["y"], 2 * rows(2)["x"])
    assert "fails to run the engine" in (graphs.runner.graph_refusal or "")
    assert (graphs.memory.captures, graphs.context.calls) == (1, 2)


def test_without_the_option_nothing_is_captured(setting: Setting) -> None:
    setting.runner(rows(2))
    setting.runner(rows(2))
    assert (setting.memory.captures, setting.runner.graph_refusal) == (0, None)


class RuntimeConfig:
    """TensorRT for RTX's: attributes that are set, and a cache that gives back its bytes."""

    def __init__(self, *, takes: bool = True) -> None:
        self.cuda_graph_strategy = "DISABLED"
        self.cache: Any = None
        self.takes = takes

    def create_runtime_cache(self) -> Any:
        kept: list[bytes] = []

        def deserialize(data: bytes) -> bool:
            kept.append(data)
            return self.takes

        return SimpleNamespace(
            deserialize=deserialize, serialize=lambda: b"".join(kept) + b"kernel"
        )

    def set_runtime_cache(self, cache: Any) -> None:
        self.cache = cache


def rtx_runner(
    manifest: EngineManifest, config: RuntimeConfig, **options: Any
) -> tuple[EngineRunner, list[Any]]:
    memory, asked = HostMemory(), []

    def create(runtime_config: Any = None) -> DoublingContext:
        asked.append(runtime_config)
        return DoublingContext(memory)

    engine = SimpleNamespace(create_execution_context=create, create_runtime_config=lambda: config)
    api = SimpleNamespace(CudaGraphStrategy=SimpleNamespace(WHOLE_GRAPH_CAPTURE="WHOLE"))
    backend = Backend(BackendName.TENSORRT_RTX, "1.7.1.116", api)
    loaded = LoadedEngine(engine, manifest, backend, _messages())
    return EngineRunner(loaded, memory, **options), asked


def test_rtx_captures_by_itself(manifest: EngineManifest) -> None:
    config = RuntimeConfig()
    runner, asked = rtx_runner(manifest, config, cuda_graphs=True)
    runner(rows(2))
    assert asked == [config]
    assert config.cuda_graph_strategy == "WHOLE"
    assert cast(HostMemory, runner.memory).captures == 0


def test_without_options_rtx_gets_no_configuration(manifest: EngineManifest) -> None:
    runner, asked = rtx_runner(manifest, RuntimeConfig())
    runner.save_runtime_cache()
    assert asked == [None]


def test_the_runtime_cache_is_read_and_written(
    manifest: EngineManifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "mopt_optimizer.runtimes.tensorrt.running.visible_gpus", lambda: [Gpu("NVIDIA L4", "8.9")]
    )
    for expected in (b"kernel", b"kernelkernel"):
        config = RuntimeConfig()
        runner, _ = rtx_runner(manifest, config, runtime_cache=tmp_path / "kernels")
        assert config.cache is not None
        assert runner.runtime_cache_note is None
        runner(rows(2))
        runner.save_runtime_cache()
        (file,) = (tmp_path / "kernels").iterdir()
        assert file.read_bytes() == expected
    runner, _ = rtx_runner(manifest, RuntimeConfig(takes=False), runtime_cache=tmp_path / "kernels")
    assert "is not taken" in (runner.runtime_cache_note or "")


def test_tensorrt_has_no_runtime_cache(manifest: EngineManifest, tmp_path: Path) -> None:
    loaded = LoadedEngine(SimpleNamespace(), manifest, TENSORRT, _messages())
    with pytest.raises(SpecError, match="compiles nothing while it runs; give TensorRTConfig a"):
        EngineRunner(loaded, HostMemory(), runtime_cache=tmp_path)


def _messages() -> Messages:
    return cast(Messages, SimpleNamespace(errors=[]))


def test_types_that_numpy_lacks_are_named_too() -> None:
    assert numpy_dtype("float16").itemsize == 2
    assert numpy_dtype("bfloat16").name == "bfloat16"
    assert numpy_dtype("float8_e4m3fn").itemsize == 1


def test_the_benchmark_counts_runs_after_the_warm_up(
    manifest: EngineManifest, rtx_stub: Backend
) -> None:
    setting = Setting(manifest, rtx_stub, [2.0, 4.0])
    ticks = iter(np.arange(0, 100, 0.01))
    timing = benchmark_engine(
        setting.runner,
        rows(1),
        warm_up_seconds=0.05,
        min_seconds=0.3,
        min_runs=4,
        clock=lambda: float(next(ticks)),
        clocks=lambda: ClockSample(1500, 6000, 50.0, 60, ()),
    )
    assert timing.runs >= 4
    assert setting.context.runs > timing.runs
    assert (timing.gpu_compute.minimum, timing.gpu_compute.maximum) == (2.0, 4.0)
    # Two readings of the host's clock, 10 ms apart.
    assert timing.end_to_end.p50 == pytest.approx(10.0)
    assert len(timing.clocks) == 2
    assert timing.warnings == doubts(timing.gpu_compute, timing.clocks)


def test_the_benchmark_runs_often_enough_however_slow(setting: Setting) -> None:
    ticks = iter(range(1000))
    timing = benchmark_engine(
        setting.runner, rows(1), clock=lambda: float(next(ticks)), clocks=lambda: None
    )
    assert timing.runs == 10


def test_percentiles_and_variation() -> None:
    found = LatencySummary.of([float(value) for value in range(1, 102)])
    assert (found.p50, found.p90, found.p99, found.mean) == (51, 91, 100, 51)
    assert found.variation == pytest.approx(29.155 / 51, rel=1e-3)
    assert LatencySummary.of([3.0]).variation == 0.0


def test_doubts_are_told() -> None:
    steady, unsteady = LatencySummary.of([1.0, 1.01]), LatencySummary.of([1.0, 2.0])
    cool = ClockSample(1500, 6000, 50.0, 60, ())
    hot = ClockSample(900, 6000, None, 90, ("power cap",))
    assert doubts(steady, [cool, cool]) == ()
    (varies,) = doubts(unsteady, [cool])
    assert "varies by 33.3%" in varies
    assert doubts(steady, [cool, hot]) == ("the GPU was slowed down: power cap",)
    (unknown,) = doubts(steady, [])
    assert "NVML does not tell" in unknown


def test_only_what_slows_a_gpu_down_counts() -> None:
    idle, application_clocks = 0x1, 0x2
    assert throttling_reasons(idle | application_clocks) == ()
    assert throttling_reasons(0x4 | 0x40) == ("power cap", "hardware thermal slowdown")
