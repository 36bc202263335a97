"""Times all forms of a subject in one process, on the same inputs, and compares their outputs.

A form's turn stands between two turns of the reference, FP32 in ONNX Runtime from the file as it
came, and each round gives one ratio to the mean of the two. What slows the machine for a while
therefore slows both sides of a ratio.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from catalogue import PYTORCH, Recipe
from subjects import Sample

from mopt_api.enums import FloatPrecision, Precision, Runtime
from mopt_optimizer import Metric, OptimizerError
from mopt_optimizer.quality import Array, Comparison
from mopt_optimizer.runtimes import Opening, RuntimeFailure, open_runner
from mopt_optimizer.timing.interleave import time_calls

REFERENCE_NAME = "FP32 in ONNX Runtime"
_NS_PER_MS = 1e6
_TURN_SECONDS = 0.2
_TURN_CALLS = 2
_METRICS = {Metric.PSNR: 1.0, Metric.SSIM: 1.0}
# What torch and Inductor raise for a form that does not work.
_FAILURES = (OptimizerError, RuntimeFailure, RuntimeError, ValueError, TypeError, AssertionError)


@dataclass(frozen=True)
class Spread:
    """Quartiles of a figure over the rounds."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the quartiles of at least one value."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(low, median, high)


@dataclass(frozen=True)
class Quality:
    """Of the outputs against the reference's, over the evaluation samples; SSIM and dB."""

    worst_psnr: float
    mean_psnr: float
    worst_ssim: float


@dataclass
class Form:
    """A form that takes turns.

    Attributes:
        turns: Median milliseconds of each turn.
        relative: Of each round, its milliseconds over the reference's around it.
        quality: None for the reference.
        error: Why it left; its turns do not count then.
    """

    name: str
    call: Callable[[], Any]
    quality: Quality | None = None
    turns: list[float] = field(default_factory=list)
    relative: list[float] = field(default_factory=list)
    error: str | None = None


@dataclass(frozen=True)
class _Opened:
    """Outputs of a sample, and the call that is timed."""

    evaluate: Callable[[Sample], list[Array]]
    bind: Callable[[Sample], Callable[[], Any]]


def _opened(recipe: Recipe | None, path: Path, threads: int, stack: ExitStack) -> _Opened:
    if recipe is not None and recipe.runtime == PYTORCH:
        return _torch(path, threads)
    runtime = Runtime(recipe.runtime) if recipe else Runtime.ONNX_RUNTIME
    precision = Precision(recipe.precision) if recipe else Precision.FP32
    opening = Opening(
        runtime=runtime,
        precision=precision,
        float_precision=FloatPrecision(recipe.float_precision) if recipe else None,
        path=path,
        threads=threads,
    )
    runner = stack.enter_context(open_runner(opening))
    return _Opened(lambda sample: list(runner.run(sample).values()), runner.bind)


def _torch(path: Path, threads: int) -> _Opened:
    """Open a PyTorch file: mopt's by its own loader, TorchScript, or a program for Inductor."""
    import torch

    # Registers the operators that quantized programs are made of.
    import torch.ao.quantization.fx._decomposed

    from mopt_optimizer import QuantizedModel

    torch.set_num_threads(threads)
    module: Callable[..., Any]
    if path.suffix == ".ts":
        module = torch.jit.load(path)  # type: ignore[no-untyped-call]
    elif path.with_name(f"{path.name}.json").is_file():
        module = QuantizedModel.load(path)
    else:
        module = torch.compile(
            torch.export.load(path).module(),
            dynamic=False,
            fullgraph=True,
            options={"freezing": True},
        )

    def outputs(sample: Sample) -> Any:
        with torch.no_grad():
            return module(*map(torch.from_numpy, sample.values()))

    def evaluate(sample: Sample) -> list[Array]:
        made = outputs(sample)
        return [t.numpy() for t in (made if isinstance(made, (tuple, list)) else (made,))]

    def bind(sample: Sample) -> Callable[[], Any]:
        return lambda: outputs(sample)

    return _Opened(evaluate, bind)


def race(
    recipes: dict[str, tuple[Recipe, Path]],
    reference: Path,
    samples: Sequence[Sample],
    *,
    threads: int,
    rounds: int,
    log: Callable[[str], None],
) -> dict[str, Form]:
    """Return every form and the reference, compared and timed.

    Args:
        recipes: By name, with their files.
        reference: The FP32 ONNX file.
        samples: Evaluation; the first is the one that is timed.
        rounds: At least one.
    """
    forms: dict[str, Form] = {}
    with ExitStack() as stack:
        base = _opened(None, reference, threads, stack)
        expected = [base.evaluate(sample) for sample in samples]
        forms[REFERENCE_NAME] = Form(REFERENCE_NAME, base.bind(samples[0]))
        for name, (recipe, path) in recipes.items():
            forms[name] = form = Form(name, lambda: None)
            try:
                opened = _opened(recipe, path, threads, stack)
                form.quality = _quality(opened, samples, expected)
                form.call = opened.bind(samples[0])
                form.call()
            except _FAILURES as error:
                form.error = _words(error)
        log(f"timing {sum(form.error is None for form in forms.values())} forms, {rounds} rounds")
        take_rounds(forms, rounds)
    return forms


def take_rounds(forms: dict[str, Form], rounds: int) -> None:
    """Let every form take its turns between turns of the reference."""
    base = forms[REFERENCE_NAME]
    others = [form for form in forms.values() if form is not base and form.error is None]
    _turn(base)
    for number in range(rounds):
        before = _turn(base)
        base.turns.append(before)
        for form in others if number % 2 == 0 else others[::-1]:
            if form.error is not None:
                continue
            try:
                own = _turn(form)
            except _FAILURES as error:
                form.error = _words(error)
                continue
            after = _turn(base)
            base.turns.append(after)
            form.turns.append(own)
            form.relative.append(own / ((before + after) / 2))
            before = after


def _turn(form: Form) -> float:
    """Return the median milliseconds of a turn's calls."""
    times = time_calls(form.call, seconds=_TURN_SECONDS, calls=_TURN_CALLS)
    return statistics.median(times) / _NS_PER_MS


def _quality(opened: _Opened, samples: Sequence[Sample], expected: list[list[Array]]) -> Quality:
    agreement = Comparison(_METRICS)
    for sample, wanted in zip(samples, expected, strict=True):
        agreement.add(wanted, opened.evaluate(sample))
    found = {summary.metric: summary for summary in agreement.results()}
    psnr = found[Metric.PSNR]
    return Quality(psnr.worst, psnr.mean, found[Metric.SSIM].worst)


def _words(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
