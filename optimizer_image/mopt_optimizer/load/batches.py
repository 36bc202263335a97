"""Which batches a model takes, how samples are joined to one, and which requests are computed
together: in a measurement under load, and by `mopt serve`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mopt_api.inputs import DerivedRange, DimensionRange, InputSpec, with_derived

from .configurations import powers_of_two

BATCH = "batch"
"""Name of the dimension along which samples are joined."""


def joined_axes(inputs: Sequence[InputSpec]) -> dict[str, int]:
    """Return the axis of each input along which samples are joined."""
    return {spec.name: spec.shape.index(BATCH) for spec in inputs if BATCH in spec.shape}


def batch_sizes(
    inputs: Sequence[InputSpec], dimensions: Mapping[str, DimensionRange], maximum: int
) -> tuple[int, ...]:
    """Return the sizes of batches that are tried, rising from 1: powers of two and the largest.

    1 alone where no input has the dimension, where it takes no single sample, and where others
    depend on it.
    """
    size = dimensions.get(BATCH)
    summed = any(
        BATCH in (other.sum_of if isinstance(other, DerivedRange) else ())
        for other in dimensions.values()
    )
    if size is None or size.min > 1 or summed or isinstance(size, DerivedRange):
        return (1,)
    return sizes_up_to(min(maximum, size.max)) if joined_axes(inputs) else (1,)


def sample_sizes(
    point: Mapping[str, int], dimensions: Mapping[str, DimensionRange]
) -> dict[str, int]:
    """Return the sizes of one request: a point's, and a batch of 1 where that may be."""
    size = dimensions.get(BATCH)
    if size is None or size.min > 1 or isinstance(size, DerivedRange):
        return dict(point)
    return with_derived({**point, BATCH: 1}, dimensions)


def sizes_up_to(most: int) -> tuple[int, ...]:
    """Return the sizes of batches that are computed where the largest is given, rising from 1."""
    return powers_of_two(most)


def together(samples: Iterable[int], sizes: Sequence[int]) -> int:
    """Return how many of the requests that wait are computed in one call, from the first on.

    The most whose samples make one of the sizes. The first alone where none do: a request of more
    samples than that, or of another number, is the client's own batch. Nothing waits for company
    and nothing is padded.

    Args:
        samples: Of each request that waits and may be computed with the first, in their order; 1
            at least each.
        sizes: Of batches, rising from 1.

    Returns:
        0 where nothing waits.
    """
    count = total = found = 0
    for count, rows in enumerate(samples, start=1):
        total += rows
        if total > sizes[-1]:
            break
        if total in sizes:
            found = count
    return found or min(count, 1)
