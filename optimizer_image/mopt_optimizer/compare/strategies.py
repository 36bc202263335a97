"""The strategy table: every optimized form of a torch model, built, compared and timed at once.

All forms take turns in one process on the same input and threads (see benchmarking). Each figure
is measured here; what cannot be measured on this machine says so, with the reason.

Start the process with OMP_WAIT_POLICY=passive: torch's threads would spin, and where a neighbour
takes a core that slows PyTorch more than the others, which flatters them (see runtimes).
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mopt_api.enums import Precision, QualityMetric, Runtime
from mopt_api.figures import QualityResult
from mopt_api.jobs.measure_result import PointResult
from mopt_api.spec import BenchmarkPoint
from mopt_optimizer.errors import DataError, OptimizerError, SpecError
from mopt_optimizer.machine.facts import TENSORRT, Machine, this_machine
from mopt_optimizer.machine.system import has_native_bf16
from mopt_optimizer.quality import Array, Comparison, check_finite
from mopt_optimizer.runtimes import Opening, Runner, RuntimeFailure, open_runner
from mopt_optimizer.timing.interleave import interleave, point_result, schedule, time_calls

from .table import Row, State, StrategyTable

if TYPE_CHECKING:
    import torch

_LOG = logging.getLogger(__name__)

BASELINE = "PyTorch FP32"
_POINT = "sample"
# What torch, Inductor and the runtimes let out of a form that does not work: its row says so.
_FAILURES = (OptimizerError, RuntimeFailure, RuntimeError, ValueError, TypeError)

Sample = dict[str, Array]


@dataclass(frozen=True)
class Options:
    """How to compare.

    Attributes:
        strategies: Names of STRATEGIES, in the order of the rows; empty is all of them.
        dynamic_axes: {input: {axis: name}} for the ONNX file; None fixes the first sample's sizes.
        data_range: Span of the outputs' values, for PSNR.
        metrics: Names of QualityMetric.
        warmup_seconds: For each form, uncounted.
        min_duration_seconds: Counted, for each form.
        threads: For each runtime; None takes this machine's.

    Raises:
        SpecError: A strategy that is not known, or a duration below 0.
    """

    strategies: tuple[str, ...] = ()
    dynamic_axes: Mapping[str, Mapping[int, str]] | None = None
    data_range: float = 1.0
    metrics: tuple[str, ...] = (
        QualityMetric.PSNR,
        QualityMetric.COSINE,
        QualityMetric.MAX_ABS_ERROR,
    )
    warmup_seconds: float = 1.0
    min_duration_seconds: float = 5.0
    threads: int | None = None

    def __post_init__(self) -> None:
        if unknown := [name for name in self.strategies if name not in STRATEGIES]:
            raise SpecError(f"strategies {unknown} are not known; there are {list(STRATEGIES)}")
        if min(self.warmup_seconds, self.min_duration_seconds) < 0:
            raise SpecError("warmup_seconds and min_duration_seconds are 0 or more")
        if self.threads is not None and self.threads < 1:
            raise SpecError(f"threads {self.threads}: at least 1, or None")


@dataclass
class _Form:
    """One built form: evaluates samples, and makes the call that is timed."""

    runtime: str
    size_bytes: int
    evaluate: Callable[[Sample], list[Array]]
    bind: Callable[[Sample], Callable[[], Any]]


@dataclass
class _Workshop:
    """What strategies build from; the ONNX files are made once, on demand."""

    model: torch.nn.Module
    names: list[str]
    samples: Sequence[Sample]
    calibration: Sequence[Sample]
    options: Options
    threads: int
    folder: Path
    stack: ExitStack
    _made: dict[str, Path] = field(default_factory=dict)

    def tensors(self, sample: Sample) -> tuple[torch.Tensor, ...]:
        """Return a sample as the model's positional inputs."""
        import torch

        return tuple(torch.from_numpy(sample[name]) for name in self.names if name in sample)

    def onnx(self) -> Path:
        """Return the optimized and verified ONNX file in FP32."""
        if "fp32" not in self._made:
            from mopt_optimizer.export import ONNXExporter

            path = self.folder / "fp32.onnx"
            axes = self.options.dynamic_axes
            ONNXExporter().export(
                self.model,
                self.tensors(self.samples[0]),
                path,
                None if axes is None else {name: dict(a) for name, a in axes.items()},
            )
            self._made["fp32"] = path
        return self._made["fp32"]

    def onnx_int8(self) -> Path:
        """Return the ONNX file in static INT8, its ranges from the calibration samples."""
        if "int8" not in self._made:
            from mopt_optimizer.onnx_quantization import quantize_onnx_static

            path = self.folder / "int8.onnx"
            quantize_onnx_static(self.onnx(), path, self.calibration)
            self._made["int8"] = path
        return self._made["int8"]


def _program_bytes(shop: _Workshop) -> int:
    """Return the size of the model as it came, saved as a .pt2."""
    from mopt_optimizer.torch_quantization.capturing import capture
    from mopt_optimizer.torch_quantization.quantized_model import save_program

    path = shop.folder / "baseline.pt2"
    save_program(capture(shop.model, shop.tensors(shop.samples[0]), dynamic=True), path)
    return path.stat().st_size


def _torch_form(shop: _Workshop, module: Callable[..., Any], size_bytes: int) -> _Form:
    import torch

    from mopt_optimizer.torch_quantization.capturing import tensors

    def evaluate(sample: Sample) -> list[Array]:
        with torch.inference_mode():
            return [t.float().numpy() for t in tensors(module(*shop.tensors(sample)))]

    def bind(sample: Sample) -> Callable[[], Any]:
        inputs = shop.tensors(sample)

        def call() -> None:
            with torch.inference_mode():
                module(*inputs)

        return call

    return _Form(Runtime.PYTORCH, size_bytes, evaluate, bind)


def _quantized(kind: str) -> Callable[[_Workshop], _Form]:
    """Return what builds a form with ModelQuantizer."""

    def build(shop: _Workshop) -> _Form:
        from mopt_optimizer.torch_quantization import QuantizationType, quantize_model

        quantized = quantize_model(shop.model, QuantizationType(kind), shop.calibration)
        path = shop.folder / f"{kind}.pt2"
        quantized.save(path)
        return _torch_form(shop, quantized, path.stat().st_size)

    return build


def _onnx(
    runtime: Runtime, precision: Precision, pick: Callable[[_Workshop], Path]
) -> Callable[[_Workshop], _Form]:
    """Return what builds a form that a runtime opens from an ONNX file."""

    def build(shop: _Workshop) -> _Form:
        path = pick(shop)
        runner: Runner = shop.stack.enter_context(
            open_runner(
                Opening(runtime=runtime, precision=precision, path=path, threads=shop.threads)
            )
        )
        data = path.with_name(f"{path.name}.data")
        size = path.stat().st_size + (data.stat().st_size if data.is_file() else 0)
        return _Form(runtime, size, lambda s: list(runner.run(s).values()), runner.bind)

    return build


STRATEGIES: dict[str, tuple[str, Callable[[_Workshop], _Form] | None]] = {
    "Dynamic INT8": ("INT8", _quantized("dynamic")),
    "Static INT8": ("INT8", _quantized("static")),
    "FP16": ("FP16", _quantized("fp16")),
    "BF16": ("BF16", _quantized("bf16")),
    "ONNX": ("FP32", _onnx(Runtime.ONNX_RUNTIME, Precision.FP32, _Workshop.onnx)),
    "ONNX INT8": ("INT8", _onnx(Runtime.ONNX_RUNTIME, Precision.INT8, _Workshop.onnx_int8)),
    "OpenVINO": ("FP32", _onnx(Runtime.OPENVINO, Precision.FP32, _Workshop.onnx)),
    "OpenVINO BF16": ("BF16", _onnx(Runtime.OPENVINO, Precision.BF16, _Workshop.onnx)),
    "OpenVINO INT8": ("INT8", _onnx(Runtime.OPENVINO, Precision.INT8, _Workshop.onnx_int8)),
    "TensorRT FP16": ("FP16", None),
    "TensorRT INT8": ("INT8", None),
}
"""Each row of the table: its precision, and what builds it; None where this machine's CPU cannot
run it at all."""


def _not_here(name: str, machine: Machine) -> str | None:
    """Return why a strategy cannot be measured on a machine, or None."""
    if name.startswith(TENSORRT):
        if not machine.gpus:
            return "no GPU on this machine"
        if TENSORRT not in machine.runtimes:
            return "TensorRT is not installed"
        return "this table is measured on the CPU"
    if name == "OpenVINO BF16" and not has_native_bf16(list(machine.cpu_features)):
        return "the CPU has no bf16 arithmetic; FP32 would run under that name"
    return None


@dataclass
class _Participant:
    """A form in the rounds of benchmarking.interleave."""

    name: str
    call: Callable[[], Any]

    def take_turn(self, point: str, *, seconds: float, calls: int) -> list[int]:  # noqa: ARG002
        try:
            return time_calls(self.call, seconds=seconds, calls=calls)
        except _FAILURES as error:
            raise RuntimeFailure(f"{type(error).__name__}: {error}") from error


def compare_strategies(
    model: torch.nn.Module,
    samples: Sequence[Any],
    *,
    calibration: Sequence[Any] | None = None,
    options: Options | None = None,
    machine: Machine | None = None,
) -> StrategyTable:
    """Build every strategy's form of a model, compare it with FP32, and time them side by side.

    A strategy that fails keeps its row, with the reason. Torch's thread count is that of the
    options while this runs.

    Args:
        model: For inference on the CPU; it is copied.
        samples: Real inputs, each a tensor, a tuple, or a dict by input name. Quality is told
            over all of them, speed on the first.
        calibration: Other real inputs for the ranges of INT8. Without them `samples` serve, and
            the table says so: quality then looks a little better than on unseen data.

    Raises:
        DataError: No samples, or samples that the model does not take.
        SpecError: As Options.
        NonFiniteOutput: The FP32 model itself gives NaN or infinity.
    """
    from mopt_optimizer.torch_quantization.capturing import float_copy, input_names

    options = options or Options()
    machine = machine or this_machine()
    work = float_copy(model)
    names, _ = input_names(work)
    arrays = _arrays(samples, names, "sample")
    own = calibration is not None
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mopt-compare-")))
        threads = options.threads or machine.threads
        stack.enter_context(_torch_threads(threads))
        shop = _Workshop(
            work,
            names,
            arrays,
            _arrays(calibration or [], names, "calibration sample") if own else arrays,
            options,
            threads,
            folder,
            stack,
        )
        rows = _Comparison(shop, machine).rows()
    return StrategyTable(
        rows=tuple(rows),
        cpu=machine.cpu,
        threads=threads,
        samples=len(arrays),
        calibration_samples=len(shop.calibration) if own else None,
        input_shapes={name: array.shape for name, array in arrays[0].items()},
        measured_at=datetime.now(UTC),
    )


def _arrays(samples: Sequence[Any], names: Sequence[str], what: str) -> list[Sample]:
    from mopt_optimizer.torch_quantization.sampling import positional

    if not len(samples):
        raise DataError(f"no {what}s; give at least one real input")
    return [
        {
            name: np.ascontiguousarray(tensor.numpy())
            for name, tensor in zip(
                names, positional(s, names, f"{what} {i}", DataError), strict=False
            )
        }
        for i, s in enumerate(samples)
    ]


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Comparison:
    """One run: forms by row name, and the rows that they end in."""

    def __init__(self, shop: _Workshop, machine: Machine) -> None:
        self._shop = shop
        self._forms: dict[str, _Form] = {}
        self._rows: dict[str, Row] = {}
        chosen = shop.options.strategies or tuple(STRATEGIES)
        self._reasons = {name: _not_here(name, machine) for name in chosen}

    def rows(self) -> list[Row]:
        """Build, compare and time; the baseline's row is the first."""
        self._rows[BASELINE] = Row(BASELINE, Precision.FP32, State.MEASURED)
        # First that the samples fit, then what is made of them.
        self._forms[BASELINE] = _torch_form(self._shop, self._shop.model, size_bytes=0)
        self._reference()
        self._forms[BASELINE].size_bytes = _program_bytes(self._shop)
        for name, reason in self._reasons.items():
            precision, build = STRATEGIES[name]
            self._rows[name] = Row(name, precision, State.NOT_MEASURED, reason=reason)
            if reason is None and build is not None:
                _LOG.info("building %s", name)
                self._attempt(name, build)
        _LOG.info("timing %s", ", ".join(self._forms))
        self._time()
        return list(self._rows.values())

    def _reference(self) -> None:
        self._expected = []
        for number, sample in enumerate(self._shop.samples):
            try:
                outputs = self._forms[BASELINE].evaluate(sample)
            except (RuntimeError, ValueError, TypeError, IndexError) as error:
                raise DataError(f"sample {number} is not for this model: {error}") from error
            for index, output in enumerate(outputs):
                check_finite(f"FP32, sample {number}, output {index}", output)
            self._expected.append(outputs)

    def _attempt(self, name: str, build: Callable[[_Workshop], _Form]) -> None:
        try:
            form = build(self._shop)
            quality = self._quality(form)
        except _FAILURES as error:
            self._fail(name, error)
            return
        self._forms[name] = form
        self._rows[name] = replace(
            self._rows[name], state=State.MEASURED, quality=tuple(quality), reason=None
        )

    def _quality(self, form: _Form) -> list[QualityResult]:
        options = self._shop.options
        agreement = Comparison({QualityMetric(m): options.data_range for m in options.metrics})
        for sample, expected in zip(self._shop.samples, self._expected, strict=True):
            agreement.add(expected, form.evaluate(sample))
        return agreement.results()

    def _fail(self, name: str, error: Exception) -> None:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        self._forms.pop(name, None)
        self._rows[name] = replace(
            self._rows[name], state=State.FAILED, reason=lines[0], quality=()
        )

    def _time(self) -> None:
        options, first = self._shop.options, self._shop.samples[0]
        participants = [_Participant(n, form.bind(first)) for n, form in self._forms.items()]
        times = interleave(
            participants,
            _POINT,
            schedule(options.min_duration_seconds),
            warmup_seconds=options.warmup_seconds,
            drop=lambda participant, error: self._fail(participant.name, error),
            failures=RuntimeFailure,
        )
        batch = next(iter(first.values())).shape[:1]
        point = BenchmarkPoint(name=_POINT)
        results = {n: point_result(point, t, batch[0] if batch else 1) for n, t in times.items()}
        for name, result in results.items():
            self._rows[name] = self._measured(name, result, results[BASELINE])

    def _measured(self, name: str, result: PointResult, baseline: PointResult) -> Row:
        size, before = self._forms[name].size_bytes, self._forms[BASELINE].size_bytes
        return replace(
            self._rows[name],
            runtime=self._forms[name].runtime,
            size_bytes=size,
            size_reduction_percent=100 * (1 - size / before),
            latency_ms=result.latency_ms,
            cpu_speedup=baseline.latency_ms.p50 / result.latency_ms.p50,
            runs=result.runs,
        )
