"""Quality over many samples: worst, mean and per-sample values, against FP32 and ground truth.

Outputs are compared by position. A sample's value is that of its worst output and, for SSIM, of
the worst image in the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from mopt_api.enums import Aggregate, QualityMetric
from mopt_api.figures import QualityResult
from mopt_api.metrics import METRICS
from mopt_optimizer.errors import ComparisonError, DataError, SpecError

from .comparable import Array, Options
from .comparison import Comparison
from .gating import too_few

Sample = Mapping[str, Array]
Model = Callable[[Sample], Sequence[Array]]


@dataclass(frozen=True)
class Evaluation:
    """A candidate's quality.

    Attributes:
        samples: Number of samples compared.
        against_fp32: The candidate's outputs against the reference model's.
        against_truth: The candidate's outputs against ground truth; empty without it.
        reference_against_truth: The reference model's against it, to show what quantization cost.
    """

    samples: int
    against_fp32: tuple[QualityResult, ...]
    against_truth: tuple[QualityResult, ...] = ()
    reference_against_truth: tuple[QualityResult, ...] = ()

    def value(self, metric: str, *, aggregate: str = "Worst", truth: bool = False) -> float:
        """Return one metric's value.

        Args:
            metric: A QualityMetric, or its name.
            aggregate: An Aggregate, or its name.
            truth: Against ground truth instead of FP32.

        Raises:
            SpecError: The metric was not computed, the aggregate is unknown, or the samples are
                too few for it.
        """
        wanted = parse_metric(metric)
        over = parse_aggregate(aggregate)
        for summary in self.against_truth if truth else self.against_fp32:
            if summary.metric is wanted:
                if (value := summary.value(over)) is None:
                    raise SpecError(too_few(self.samples))
                return value
        raise SpecError(
            f"{wanted} was not computed against {'ground truth' if truth else 'FP32'}; "
            "name it in metrics"
        )


def parse_metric(name: str) -> QualityMetric:
    """Return the metric with this name.

    Raises:
        SpecError: Unknown metric; the message lists the known ones.
    """
    try:
        return QualityMetric(name)
    except ValueError as error:
        raise SpecError(f"metric {name!r} is none of {', '.join(METRICS)}") from error


def parse_aggregate(name: str) -> Aggregate:
    """Return the aggregate with this name.

    Raises:
        SpecError: Unknown aggregate; the message lists the known ones.
    """
    try:
        return Aggregate(name)
    except ValueError as error:
        raise SpecError(f"aggregate {name!r} is none of {', '.join(Aggregate)}") from error


def evaluate(
    reference: Model,
    candidate: Model,
    samples: Iterable[Sample],
    *,
    metrics: Sequence[str] = (QualityMetric.PSNR, QualityMetric.MAX_ABS_ERROR),
    data_range: float | None = 1.0,
    truth: Iterable[Sequence[Array]] | None = None,
    options: Options | None = None,
) -> Evaluation:
    """Run two models on the same samples and compare them, one sample in memory at a time.

    Args:
        reference, candidate: Take a sample, return the outputs in order.
        samples: Input name to array.
        metrics: Names of QualityMetric; duplicates count once.
        data_range: Span of the outputs' values, for PSNR and SSIM.
        truth: Expected outputs, exactly one entry per sample.

    Raises:
        DataError: No samples, or ground truth that differs in number.
        ComparisonError: An output cannot be compared; the message names the sample's number.
        SpecError: An unknown metric, or none.
    """
    chosen = list(dict.fromkeys(parse_metric(metric) for metric in metrics))
    if not chosen:
        raise SpecError(f"no metric asked for; choose among {', '.join(METRICS)}")
    ranges = {metric: data_range if METRICS[metric].needs_range else None for metric in chosen}
    options = options or Options()
    fp32, own, base = (Comparison(ranges, options=options) for _ in range(3))
    truths = None if truth is None else iter(truth)
    number = -1
    for number, sample in enumerate(samples):
        expected, found = list(reference(sample)), list(candidate(sample))
        true = None if truths is None else next(truths, None)
        if truths is not None and true is None:
            raise DataError(f"ground truth ends at sample {number}; give one for each sample")
        try:
            fp32.add(expected, found)
            if true is not None:
                own.add_truth(true, found)
                base.add_truth(true, expected)
        except ComparisonError as error:
            raise type(error)(f"sample {number}: {error}") from error
    if number < 0:
        raise DataError("no samples to evaluate on; give one at least")
    if truths is not None and next(truths, None) is not None:
        raise DataError(f"more ground truth than the {number + 1} samples")
    return Evaluation(
        samples=number + 1,
        against_fp32=tuple(fp32.results()),
        against_truth=tuple(own.results()),
        reference_against_truth=tuple(base.results()),
    )
