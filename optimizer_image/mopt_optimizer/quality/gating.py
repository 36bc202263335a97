"""The resource's quality gates: which metrics they need, and gates that do not fit a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mopt_api.enums import QualityMetric
from mopt_api.metrics import Outputs, listed, names
from mopt_api.spec import QualityGate
from mopt_optimizer.errors import ConflictingRange, NoClasses, NotAnImage, SpecError

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


@contextmanager
def fitting_gates() -> Iterator[None]:
    """Report a gate that does not fit the model's outputs as a spec error.

    Raises:
        SpecError: The message says which metrics to leave out.
    """
    try:
        yield
    except NotAnImage as error:
        raise SpecError(f"quality: {error}; leave {_named(Outputs.IMAGES)} out") from error
    except NoClasses as error:
        raise SpecError(f"quality: {error}; leave {_named(Outputs.CLASSES)} out") from error


def _named(outputs: Outputs) -> str:
    return listed(names(outputs=outputs))
