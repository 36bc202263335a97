"""Gates of a generated ModelOptimization, by what the outputs are. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from mopt_api.enums import QualityMetric
from mopt_api.metrics import METRICS
from mopt_api.spec import ModelOptimizationSpec
from mopt_optimizer.formats.base import DescribedValue

from .initial_inputs import quoted

_IMAGE_RANK = 4
_IMAGE_CHANNELS = (1, 3)
_SCORES = re.compile(r"logit|score|prob|class|softmax|pred", re.I)
_VECTORS = re.compile(r"embed|feature|pool|hidden|repr|vector|latent", re.I)
_FEW = 1
"""Values of a sample up to which Cosine says nothing: of one value it is 1 or -1."""
_LEAST = METRICS[QualityMetric.NEIGHBOR_AGREEMENT].least_samples
_NEIGHBORS = (
    f"{{metric: {QualityMetric.NEIGHBOR_AGREEMENT}, minimum: 0.9, aggregate: Mean}}  "
    f"# where they are searched; of {_LEAST} samples and more"
)
_MOST_GATES = next(
    part.max_length
    for part in ModelOptimizationSpec.model_fields["quality"].metadata
    if hasattr(part, "max_length")
)


class Kind(Enum):
    """What an output holds, as far as its shape, its name and a run tell it."""

    IMAGE = auto()
    CLASSES = auto()
    VECTORS = auto()
    FEW = auto()
    OTHER = auto()


@dataclass(frozen=True)
class Gate:
    """A gate and why it is this one; output is None for all of them.

    Attributes:
        also: Another one that may be added, as a comment.
    """

    metric: str
    minimum: str
    comment: str
    output: str | None = None
    data_range: str | None = None
    mean: bool = False
    also: str | None = None


def kind_of(output: DescribedValue, *, images: bool, alone: bool) -> Kind:
    """Return the kind of an output.

    Args:
        images: Whether the model takes a picture.
        alone: Whether it is the only output; else only its name or values make it classes.
    """
    sizes = _sizes(output)
    if output.dtype is not None and not output.dtype.startswith("float"):
        return Kind.OTHER
    if images and len(sizes) == _IMAGE_RANK and sizes[1] in _IMAGE_CHANNELS:
        return Kind.IMAGE
    seen = output.seen
    if len(sizes) == 2 and ((seen and seen.unit_length) or _VECTORS.search(output.name)):
        return Kind.VECTORS
    if len(sizes) >= 2 and (sizes[-1] or 0) > 1 and len(sizes) < _IMAGE_RANK:
        named = _SCORES.search(output.name) is not None
        if (seen and seen.sums_to_one) or named or (alone and len(sizes) == 2):
            return Kind.CLASSES
    values = [size for size in sizes[1:] if size is not None]
    if len(values) == len(sizes[1:]) and math.prod(values) <= _FEW:
        return Kind.FEW
    return Kind.OTHER


def _sizes(output: DescribedValue) -> list[int | None]:
    """Return the sizes that the file fixes, or those of the run where it says nothing."""
    if output.axes is not None and (output.axes or output.seen is None):
        return [axis.size for axis in output.axes]
    return list(output.seen.shape) if output.seen else []


def gates_of(outputs: Sequence[DescribedValue], *, images: bool) -> list[Gate]:
    """Return gates: of outputs that have a metric of their own, and one of all the others."""
    alone = len(outputs) == 1
    kinds = [(one, kind_of(one, images=images, alone=alone)) for one in outputs]
    gates = [
        _own_gate(output, kind, None if alone else output.name)
        for output, kind in kinds
        if kind in (Kind.IMAGE, Kind.CLASSES, Kind.FEW)
    ][: _MOST_GATES - 1]
    if not kinds or any(kind not in (Kind.IMAGE, Kind.FEW) for _, kind in kinds):
        vectors = bool(kinds) and all(kind is Kind.VECTORS for _, kind in kinds)
        comment = "embeddings, of the worst sample" if vectors else "of the worst sample"
        gates.append(Gate("Cosine", "0.99", comment, also=_NEIGHBORS if vectors else None))
    return gates


def _own_gate(output: DescribedValue, kind: Kind, name: str | None) -> Gate:
    if kind is Kind.IMAGE:
        span, why = _span(output)
        comment = "dB, of the worst image; the outputs span dataRange" + why
        return Gate("PSNR", "40", comment, name, data_range=span)
    if kind is Kind.FEW:
        comment = "dB, of the worst sample: of one value Cosine says nothing"
        return Gate("SQNR", "30", comment, name)
    return Gate("Top1Agreement", "0.99", "share of samples with the same class", name, mean=True)


def _span(output: DescribedValue) -> tuple[str, str]:
    seen = output.seen
    if seen is None or seen.minimum is None or seen.maximum is None:
        return "1.0", ""
    low, high = seen.minimum, seen.maximum
    span = "255.0" if high - low > 4 else "2.0" if low < -0.5 else "1.0"
    return span, f": a guess, from {low:.2g}..{high:.2g} on noise"


def gate_lines(gates: Sequence[Gate]) -> list[str]:
    """Return the field quality."""
    heading = (
        "Compared with the FP32 output. A variant that misses a gate is Rejected, however fast."
    )
    lines = [f"  # {heading}", "  quality:"]
    for gate in gates:
        lines += [
            f"    - metric: {gate.metric}",
            f"      minimum: {gate.minimum}  # {gate.comment}",
        ]
        if gate.output is not None:
            lines.append(f"      output: {quoted(gate.output)}")
        if gate.data_range is not None:
            lines.append(f"      dataRange: {gate.data_range}")
        if gate.mean:
            lines.append("      aggregate: Mean")
        if gate.also is not None:
            lines.append(f"    # - {gate.also}")
    return lines
