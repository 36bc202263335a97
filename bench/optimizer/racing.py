"""Times all forms of a subject in one process, on the same inputs, and compares their outputs.

A form's turn stands between two turns of the reference, FP32 in ONNX Runtime from the file as it
came, and each round gives one ratio to the mean of the two. What slows the machine for a while
therefore slows both sides of a ratio.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from catalogue import PYTORCH, Recipe
from gates import Figure
from samples import Sample
from surviving import DIED, deaths

from mopt_api.enums import FloatPrecision, Precision, Runtime
from mopt_api.metrics import METRICS
from mopt_optimizer import OptimizerError
from mopt_optimizer.quality import Array, Comparison
from mopt_optimizer.runtimes import Opening, RuntimeFailure, open_runner
from mopt_optimizer.timing.interleave import time_calls

REFERENCE_NAME = "FP32 in ONNX Runtime"
_NS_PER_MS = 1e6
_TURN_SECONDS = 0.2
_TURN_CALLS = 2
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


Quality = Mapping[str, float]
"""Of the outputs over the evaluation samples: figures by their keys, see gates."""


@dataclass(frozen=True)
class Contender:
    """A file that takes part.

    Attributes:
        opening: How mopt's runtimes open it; None is a PyTorch file of a tool's own.
    """

    path: Path
    opening: Opening | None


def contender(recipe: Recipe, path: Path, threads: int) -> Contender:
    """Return the file of a recipe, opened as the recipe says."""
    if recipe.runtime == PYTORCH and recipe.precision == Precision.INT8:
        return Contender(path, None)
    opening = Opening(
        runtime=Runtime(recipe.runtime),
        precision=Precision(recipe.precision),
        float_precision=FloatPrecision(recipe.float_precision),
        path=path,
        threads=threads,
    )
    return Contender(path, opening)


@dataclass(frozen=True)
class Judging:
    """What forms are judged on.

    Attributes:
        samples: Evaluation; the first is the one that is timed.
        truth: The right answers of each sample; empty where they are not known.
        figures: Of quality.
    """

    samples: Sequence[Sample]
    truth: Sequence[Sequence[Array]]
    figures: Sequence[Figure]

    def quality(
        self, outputs: Sequence[list[Array]], expected: Sequence[list[Array]]
    ) -> dict[str, float]:
        """Return the figures of a form, by their keys.

        Args:
            outputs, expected: Of each sample; expected are the reference's.
        """
        found: dict[str, float] = {}
        for against_truth, wanted in ((False, expected), (True, self.truth)):
            mine = [figure for figure in self.figures if figure.truth is against_truth]
            if not mine:
                continue
            # Of pictures from 0 to 1; other metrics need no range.
            spans = {f.metric: 1.0 if METRICS[f.metric].needs_range else None for f in mine}
            comparison = Comparison(spans)
            add = comparison.add_truth if against_truth else comparison.add
            for one, other in zip(wanted, outputs, strict=True):
                add(one, other)
            results = {result.metric: result for result in comparison.results()}
            for figure in mine:
                value = results[figure.metric].value(figure.aggregate)
                if value is not None:
                    found[figure.key] = value
        return found


@dataclass
class Form:
    """A form that takes turns.

    Attributes:
        turns: Median milliseconds of each turn.
        relative: Of each round, its milliseconds over the reference's around it.
        quality: None where it did not open.
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


def _opened(one: Contender, threads: int, stack: ExitStack) -> _Opened:
    if one.opening is None:
        return _torch(one.path, threads)
    runner = stack.enter_context(open_runner(one.opening))
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


def _tried(one: Contender, sample: Sample, threads: int) -> None:
    """Open and run a form once. What it raises is told where it is opened again."""
    with ExitStack() as stack:
        _opened(one, threads, stack).evaluate(sample)


def race(
    contenders: Mapping[str, Contender],
    reference: Path,
    judging: Judging,
    *,
    threads: int,
    rounds: int,
    log: Callable[[str], None],
) -> dict[str, Form]:
    """Return every form and the reference, compared and timed.

    Args:
        contenders: By name.
        reference: The FP32 ONNX file.
        rounds: At least one.
    """
    forms: dict[str, Form] = {}
    source = Opening(
        runtime=Runtime.ONNX_RUNTIME, precision=Precision.FP32, path=reference, threads=threads
    )
    first = judging.samples[0]
    with ExitStack() as stack:
        base = _opened(Contender(reference, source), threads, stack)
        expected = [base.evaluate(sample) for sample in judging.samples]
        quality = judging.quality(expected, expected)
        forms[REFERENCE_NAME] = Form(REFERENCE_NAME, base.bind(first), quality)
        tries = {n: (_tried, (one, first, threads)) for n, one in contenders.items() if one.opening}
        died = deaths(tries)
        for name, one in contenders.items():
            forms[name] = form = Form(name, lambda: None)
            if name in died:
                form.error = DIED
                continue
            try:
                opened = _opened(one, threads, stack)
                outputs = [opened.evaluate(sample) for sample in judging.samples]
                form.quality = judging.quality(outputs, expected)
                form.call = opened.bind(first)
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


def _words(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
