"""How far a form is from the limit of its machine: the roofline, and what was really executed.

A machine multiplies and adds up only so fast in each type, and moves only so many bytes a second
between CPU and memory. A call that has to do both cannot take less than the longer of the two
alone. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from mopt_api.base import Count, Milliseconds, ObservedModel, Ratio

MOST_TYPES = 16
TypeName = Annotated[str, Field(min_length=1, max_length=16, pattern=r"^[A-Z0-9]+$")]
"""FP32, BF16, INT8 ...; open, since a reader may be older."""
Rate = Annotated[float, Field(gt=0, le=1e18)]
Counts = Annotated[dict[TypeName, Count], Field(max_length=MOST_TYPES)]

FP32, BF16, INT8 = "FP32", "BF16", "INT8"


class Bandwidth(ObservedModel):
    """How fast data of one size is read or copied, again and again, by all threads together."""

    data_bytes: Count = Field(description="Size of the data: small data stays in a cache.")
    bytes_per_second: Rate = Field(description="Read and written together.")


class Peaks(ObservedModel):
    """What a machine reaches at most, measured with the threads of the variants."""

    products: dict[TypeName, Rate] = Field(
        max_length=MOST_TYPES,
        description="Multiply-accumulates per second by type: FP32, INT8, and BF16 where the CPU "
        "computes in it.",
    )
    bandwidths: list[Bandwidth] = Field(
        default=[], max_length=16, description="By size of the data, smallest first."
    )
    unstable: bool = Field(
        default=False,
        description="Others had the CPU each time: it may reach more, and shares be less.",
    )

    def bandwidth_for(self, size: int) -> float | None:
        """Return bytes per second for data of a size; that of smaller data, which is no slower,
        between two measured sizes. None where none was measured."""
        fitting = [one for one in self.bandwidths if one.data_bytes <= size]
        chosen = fitting[-1:] or self.bandwidths[:1]
        return chosen[0].bytes_per_second if chosen else None


def best_of(found: Sequence[Peaks]) -> Peaks:
    """Return the best of several measurements of one machine: whatever disturbs makes it slower.

    Args:
        found: At least one.
    """
    products: dict[str, float] = {}
    rates: dict[int, float] = {}
    for peaks in found:
        for kind, rate in peaks.products.items():
            products[kind] = max(rate, products.get(kind, 0.0))
        for one in peaks.bandwidths:
            rates[one.data_bytes] = max(one.bytes_per_second, rates.get(one.data_bytes, 0.0))
    return Peaks(
        products=products,
        bandwidths=[
            Bandwidth(data_bytes=size, bytes_per_second=rate)
            for size, rate in sorted(rates.items())
        ],
        unstable=all(peaks.unstable for peaks in found),
    )


class Work(ObservedModel):
    """What one call has to do at least."""

    products: Counts = Field(
        description="Multiply-accumulates of Conv, ConvTranspose, Gemm and MatMul, by the type "
        "that the form's file has them in."
    )
    moved_bytes: Count = Field(
        description="Weights of these layers, inputs and outputs, each once; what lies between "
        "layers may stay in a cache."
    )

    @property
    def total(self) -> int:
        """Multiply-accumulates of all types."""
        return sum(self.products.values())


class Bound(StrEnum):
    """What a limit comes from."""

    COMPUTE = "Compute"
    MEMORY = "Memory"


class Limit(ObservedModel):
    """The least time that a call can take on a machine, and how close a form comes to it."""

    limit_ms: Milliseconds = Field(description="The least time, in milliseconds.")
    share: Ratio = Field(
        description="Of the median latency. Above 1, by more than the noise, the work or the peak "
        "is wrong, or the runtime needs fewer products than were counted."
    )
    bound: Bound = Field(description="Compute or Memory: what takes the longer of the two.")


class ExecutedLayers(ObservedModel):
    """What a runtime made of a form's Conv, ConvTranspose, Gemm and MatMul."""

    by_type: Counts = Field(description="How many of these layers compute in each type.")
    products: Counts | None = Field(
        default=None,
        description="Their multiply-accumulates by that type, at the first point; absent where "
        "layers could not be told apart.",
    )
    conversions: Count = Field(
        description="Nodes that change nothing but the type or the layout of a value."
    )


# As base.Milliseconds has it.
_SHORTEST_MS, _LONGEST_MS = 1e-4, 1e9


def roofline(work: Work, peaks: Peaks, latency_ms: float) -> Limit | None:
    """Return the limit of a call, and the share of it that a latency reaches.

    None where it is not known: nothing was counted, or a type has no peak.

    Args:
        latency_ms: Above 0.
    """
    if not work.total or any(
        count and kind not in peaks.products for kind, count in work.products.items()
    ):
        return None
    computing = sum(count / peaks.products[kind] for kind, count in work.products.items() if count)
    bandwidth = peaks.bandwidth_for(work.moved_bytes)
    moving = work.moved_bytes / bandwidth if bandwidth else 0.0
    # A process that a model took over may count what it likes: it stays a time that can be told.
    limit_ms = min(max(computing * 1e3, moving * 1e3, _SHORTEST_MS), _LONGEST_MS)
    return Limit(
        limit_ms=limit_ms,
        share=limit_ms / latency_ms,
        bound=Bound.COMPUTE if computing >= moving else Bound.MEMORY,
    )


def borrowed(own: Work | None, others: Sequence[Work]) -> Work | None:
    """Return a form's work; in FP32 that of another FP32 form, where its file does not tell."""
    if own is not None:
        return own
    return next(
        (one for one in others if {k for k, n in one.products.items() if n} == {FP32}), None
    )
