"""The resource's quality gates: which metrics they need, and gates that do not fit a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mopt_api.enums import Aggregate, QualityMetric
from mopt_api.jobs.data_statistics import DataFault, DataWarning
from mopt_api.jobs.measure_result import OutputSpan
from mopt_api.metrics import METRICS, Outputs, listed, names
from mopt_api.spec import QualityGate
from mopt_api.unseen import LEAST_SAMPLES
from mopt_optimizer.errors import (
    ConflictingRange,
    NoClasses,
    NotAnImage,
    NotDetections,
    NotEmbeddings,
    NotSequences,
    SpecError,
)

_FAR_OFF = 10.0
"""A dataRange so many times the outputs' span, or so small a part of it: 20 dB of PSNR."""
_ONLY_OF: dict[type[Exception], Outputs] = {
    NotAnImage: Outputs.IMAGES,
    NoClasses: Outputs.CLASSES,
    NotSequences: Outputs.SEQUENCES,
    NotDetections: Outputs.DETECTIONS,
    NotEmbeddings: Outputs.EMBEDDINGS,
}
_WITHOUT_GATES = (QualityMetric.PSNR, QualityMetric.SSIM)


def data_ranges(gates: Sequence[QualityGate]) -> dict[QualityMetric, float]:
    """Return the metrics to compute of every output, each with the span of its values.

    The default without gates is PSNR and SSIM, for outputs from 0 to 1. Gates on one output or
    slice are not among them, see declared_figures.

    Raises:
        ConflictingRange: A metric has two ranges; a result holds one value per metric.
    """
    if not gates:
        return dict.fromkeys(_WITHOUT_GATES, 1.0)
    ranges: dict[QualityMetric, float] = {}
    for gate in gates:
        if (
            gate.part == (None, None)
            and ranges.setdefault(gate.metric, gate.data_range) != gate.data_range
        ):
            raise ConflictingRange(
                f"quality: {gate.metric} has gates with dataRange {ranges[gate.metric]:g} and "
                f"{gate.data_range:g}; give them the same"
            )
    return ranges


def range_warnings(
    gates: Sequence[QualityGate], outputs: Sequence[OutputSpan]
) -> list[DataWarning]:
    """Return which gates have a dataRange far from what the outputs span: 255 for outputs 0..1.

    A gate on a slice is not looked at: the span is that of all the output.
    """
    found: dict[str, None] = {}
    for gate in gates:
        if not METRICS[gate.metric].needs_range or gate.slice is not None:
            continue
        for output in outputs:
            span = output.high - output.low
            if gate.output not in (None, output.name) or span <= 0:
                continue
            if max(gate.data_range / span, span / gate.data_range) >= _FAR_OFF:
                found[
                    f"{gate.metric} has dataRange {gate.data_range:g}, and output {output.name} "
                    f"is {output.low:.4g} to {output.high:.4g}: its values are "
                    f"{'too good' if gate.data_range > span else 'too bad'}; give the span that "
                    "the output can take"
                ] = None
    return [
        DataWarning(fault=DataFault.DATA_RANGE, field="spec.quality", message=text[:512])
        for text in found
    ]


@contextmanager
def fitting_gates() -> Iterator[None]:
    """Report a gate that does not fit the model's outputs as a spec error.

    Raises:
        SpecError: The message says which metrics to leave out.
    """
    try:
        yield
    except tuple(_ONLY_OF) as error:
        unfit = listed(names(outputs=_ONLY_OF[type(error)]))
        raise SpecError(f"quality: {error}; leave {unfit} out") from error


def too_few(count: int) -> str:
    """Return why samples have no tolerance."""
    return (
        f"aggregate {Aggregate.TOLERANCE} is a value that, with 95 % confidence, at least 95 % of "
        f"new samples reach, and needs {LEAST_SAMPLES} samples; there are {count}"
    )


def check_sample_count(gates: Sequence[QualityGate], count: int) -> None:
    """Refuse gates on metrics of all samples together, and on tolerances, where these are too few.

    Raises:
        SpecError: Names the metric, or the aggregate, and how many it needs.
    """
    if count < LEAST_SAMPLES and any(gate.aggregate is Aggregate.TOLERANCE for gate in gates):
        raise SpecError(f"quality: {too_few(count)}; add some, or judge the worst")
    for metric in dict.fromkeys(gate.metric for gate in gates):
        if count < (least := METRICS[metric].least_samples):
            raise SpecError(
                f"quality: {metric} is of all samples of data.evaluation together and needs "
                f"{least} at least, there are {count}; add samples, or leave it out"
            )
