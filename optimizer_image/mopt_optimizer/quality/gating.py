"""The resource's quality gates: which metrics they need, and their results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from mopt_api.enums import QualityMetric
from mopt_api.figures import QualityResult
from mopt_api.spec import QualityGate
from mopt_optimizer.errors import ConflictingRange, NoClasses, NotAnImage, SpecError

from .evaluating import Agreement
from .metrics import Array, Metric

_WITHOUT_GATES = (QualityMetric.PSNR, QualityMetric.SSIM)


def data_ranges(gates: Sequence[QualityGate]) -> dict[QualityMetric, float]:
    """Return which metrics to compute, each with the span of the output's values.

    Without gates PSNR and SSIM are computed, for outputs from 0 to 1.

    Raises:
        ConflictingRange: One metric with two ranges: a result holds one value per metric.
    """
    if not gates:
        return dict.fromkeys(_WITHOUT_GATES, 1.0)
    ranges: dict[QualityMetric, float] = {}
    for gate in gates:
        if ranges.setdefault(gate.metric, gate.data_range) != gate.data_range:
            raise ConflictingRange(
                f"quality: {gate.metric} has gates with dataRange {ranges[gate.metric]:g} and "
                f"{gate.data_range:g}; give them the same"
            )
    return ranges


@contextmanager
def fitting_gates() -> Iterator[None]:
    """Tell a gate that does not fit the model's outputs as a fault of the spec.

    Raises:
        SpecError: Says which metric to leave out.
    """
    try:
        yield
    except NotAnImage as error:
        raise SpecError(f"quality: {error}; leave SSIM out") from error
    except NoClasses as error:
        raise SpecError(f"quality: {error}; leave Top1Agreement out") from error


@dataclass
class Comparison:
    """An Agreement in the API's terms.

    Attributes:
        ranges: Metrics to compute, each with its data range.
        required: False leaves SSIM out where the outputs are no images, instead of raising.
    """

    ranges: Mapping[QualityMetric, float]
    required: bool = True
    _agreement: Agreement = field(init=False)

    def __post_init__(self) -> None:
        by_name = {Metric(metric.value): span for metric, span in self.ranges.items()}
        self._agreement = Agreement(by_name, required=self.required)

    def add(self, reference: Sequence[Array], outputs: Sequence[Array]) -> None:
        """Compare the outputs of the next sample.

        Raises:
            ShapeMismatch, NonFiniteOutput, NotAnImage
        """
        self._agreement.add(reference, outputs)

    def add_truth(self, truth: Sequence[Array], outputs: Sequence[Array]) -> None:
        """Compare the outputs of the next sample with ground truth, which may be class labels.

        Raises:
            ComparisonError: As add; labels may have another shape for Top1Agreement only.
        """
        self._agreement.add_truth(truth, outputs)

    def results(self) -> list[QualityResult]:
        """Return worst, mean and each sample's value per metric; empty before any sample."""
        return [
            QualityResult(
                metric=QualityMetric(summary.metric.value),
                worst=summary.worst,
                mean=summary.mean,
                exact=summary.exact,
                per_sample=list(summary.per_sample),
            )
            for summary in self._agreement.summaries()
        ]
