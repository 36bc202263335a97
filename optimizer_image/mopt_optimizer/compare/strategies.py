"""The strategy table: variants of a torch model, built, compared and timed at once.

The variants are those that Auto knows for CPUs; their files are made as prepare makes them. All
take turns in one process on the same input and threads (see timing.interleave). Each figure is
measured here; what cannot be measured on this machine says so, with the reason.

Start the process with OMP_WAIT_POLICY=passive: torch's threads would spin, and where a neighbour
takes a core that slows PyTorch more than the others, which flatters them (see runtimes).
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mopt_api.auto.cpu import CPU_POOL
from mopt_api.auto.unsupported import NO_BF16, NO_COMPILER, unsupported_on_kind
from mopt_api.benchmark import BenchmarkPoint
from mopt_api.enums import Precision, QualityMetric, Runtime, TargetKind
from mopt_api.figures import QualityResult
from mopt_api.jobs.measure_result import PointResult
from mopt_api.variants import Variant
from mopt_optimizer.errors import OptimizerError, RuntimeFailure, SpecError, first_line
from mopt_optimizer.machine.facts import Machine, this_machine
from mopt_optimizer.machine.system import has_native_bf16
from mopt_optimizer.quality import Comparison
from mopt_optimizer.timing.interleave import Calls, interleave, point_result, schedule

from .building import Builder, Opened, Sample, arrays_of
from .table import Row, State, StrategyTable

if TYPE_CHECKING:
    import torch

_LOG = logging.getLogger(__name__)

BASELINE = "PyTorch FP32"
STRATEGIES: tuple[Variant, ...] = tuple(entry.variant for entry in CPU_POOL)
"""What is compared where nothing else is asked for; a row bears its variant's name."""
_POINT = "sample"
# What torch, Inductor and the runtimes let out of a form that does not work: its row says so.
_FAILURES = (OptimizerError, RuntimeError, ValueError, TypeError)


@dataclass(frozen=True)
class Options:
    """How to compare.

    Attributes:
        strategies: Names of the variants to compare, in the order of the rows; empty is all.
        variants: What there is to compare.
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
    variants: tuple[Variant, ...] = STRATEGIES
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
        known = [variant.name for variant in self.variants]
        if unknown := [name for name in self.strategies if name not in known]:
            raise SpecError(f"strategies {unknown} are not known; there are {known}")
        if min(self.warmup_seconds, self.min_duration_seconds) < 0:
            raise SpecError("warmup_seconds and min_duration_seconds are 0 or more")
        if self.threads is not None and self.threads < 1:
            raise SpecError(f"threads {self.threads}: at least 1, or None")

    @property
    def chosen(self) -> list[Variant]:
        """The variants to compare, in the order of the rows."""
        by_name = {variant.name: variant for variant in self.variants}
        return [by_name[name] for name in self.strategies or by_name]


def unmeasurable(variant: Variant, machine: Machine) -> str | None:
    """Return why a variant cannot be measured on a machine's CPU; None where it can."""
    if (lack := unsupported_on_kind(variant, TargetKind.CPU)) is not None:
        return f"this table is measured on the CPU: {lack.message}"
    if variant.runtime.value not in machine.runtimes:
        return f"{variant.runtime} is not installed"
    features = list(machine.cpu_features)
    if variant.uses_bf16 and not has_native_bf16(features):
        return NO_BF16.message
    if variant.compiled and machine.compiler is None:
        return NO_COMPILER.message
    return None


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
        samples: Real inputs, each a tensor, a tuple, or a dict by input name. Quality is computed
            over all of them, speed on the first.
        calibration: Other real inputs for the ranges of INT8. Without them `samples` serve, and
            the table says so: quality then looks a little better than on unseen data.

    Raises:
        DataError: No samples, or samples that the model does not take.
        SpecError: As Options.
        NonFiniteOutput: The FP32 model itself gives nothing but NaN and infinity.
        ExportError: torch cannot capture the model as a program.
    """
    from mopt_optimizer.torch_quantization.capturing import float_copy, input_names

    options = options or Options()
    machine = machine or this_machine()
    work = float_copy(model)
    names, _ = input_names(work)
    arrays = arrays_of(samples, names, "sample")
    ranges = arrays
    if calibration is not None:
        ranges = arrays_of(calibration, names, "calibration sample")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mopt-compare-")))
        threads = options.threads or machine.threads
        stack.enter_context(_torch_threads(threads))
        builder = Builder(
            model=work,
            names=names,
            samples=arrays,
            calibration=ranges,
            dynamic_axes=options.dynamic_axes,
            threads=threads,
            folder=folder,
            stack=stack,
        )
        rows = _Comparison(builder, options, machine).rows()
    return StrategyTable(
        rows=tuple(rows),
        cpu=machine.cpu,
        threads=threads,
        samples=len(arrays),
        calibration_samples=None if calibration is None else len(ranges),
        input_shapes={name: array.shape for name, array in arrays[0].items()},
        measured_at=datetime.now(UTC),
    )


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
    """One run: what was opened by row name, and the rows that they end in."""

    def __init__(self, builder: Builder, options: Options, machine: Machine) -> None:
        self._builder = builder
        self._options = options
        self._machine = machine
        self._opened: dict[str, Opened] = {}
        self._rows: dict[str, Row] = {}

    def rows(self) -> list[Row]:
        """Build, compare and time; the baseline's row is the first."""
        self._opened[BASELINE] = self._builder.baseline()
        self._rows[BASELINE] = Row(
            BASELINE, Precision.FP32, State.MEASURED, runtime=Runtime.PYTORCH
        )
        for variant in self._options.chosen:
            self._rows[variant.name] = Row(
                variant.name,
                variant.precision,
                State.NOT_MEASURED,
                runtime=variant.runtime,
                reason=unmeasurable(variant, self._machine),
            )
            if self._rows[variant.name].reason is None:
                _LOG.info("building %s", variant.name)
                self._attempt(variant)
        _LOG.info("timing %s", ", ".join(self._opened))
        self._time()
        return list(self._rows.values())

    def _attempt(self, variant: Variant) -> None:
        name = variant.name
        try:
            opened = self._builder.opened(variant)
            quality = self._quality(opened)
        except _FAILURES as error:
            self._fail(name, error)
            return
        self._opened[name] = opened
        self._rows[name] = replace(
            self._rows[name], state=State.MEASURED, quality=tuple(quality), reason=None
        )

    def _quality(self, opened: Opened) -> list[QualityResult]:
        options = self._options
        agreement = Comparison({QualityMetric(m): options.data_range for m in options.metrics})
        for sample, expected in zip(self._builder.samples, self._builder.expected, strict=True):
            outputs = opened.runner.run(sample).values()
            agreement.add(expected, [output.astype("float32", copy=False) for output in outputs])
        return agreement.results()

    def _fail(self, name: str, error: Exception) -> None:
        self._opened.pop(name, None)
        self._rows[name] = replace(
            self._rows[name], state=State.FAILED, reason=first_line(error), quality=()
        )

    def _time(self) -> None:
        first = self._builder.samples[0]
        times = interleave(
            [*self._bound(first)],
            _POINT,
            schedule(self._options.min_duration_seconds),
            warmup_seconds=self._options.warmup_seconds,
            drop=lambda calls, error: self._fail(calls.name, error),
            failures=RuntimeFailure,
        )
        batch = next(iter(first.values())).shape[:1]
        point = BenchmarkPoint(name=_POINT)
        results = {n: point_result(point, t, batch[0] if batch else 1) for n, t in times.items()}
        for name, result in results.items():
            self._rows[name] = self._measured(name, result, results[BASELINE])

    def _bound(self, sample: Sample) -> Iterator[Calls]:
        for name, opened in list(self._opened.items()):
            try:
                yield Calls(name, opened.runner.bind(sample))
            except RuntimeFailure as error:
                self._fail(name, error)

    def _measured(self, name: str, result: PointResult, baseline: PointResult) -> Row:
        size, before = self._opened[name].size_bytes, self._opened[BASELINE].size_bytes
        return replace(
            self._rows[name],
            size_bytes=size,
            size_reduction_percent=100 * (1 - size / before),
            latency_ms=result.latency_ms,
            cpu_speedup=baseline.latency_ms.p50 / result.latency_ms.p50,
            runs=result.runs,
        )
