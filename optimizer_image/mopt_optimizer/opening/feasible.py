"""Which sizes a model takes, found by trying: relations between its free axes, and their ranges.

Pure: what tries a model is handed in. A size that fails says nothing of why; a range is what
holds beside the other sizes at one point where the model runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, islice, product

from .sums import Sum

Sizes = dict[str, int]
Fits = Callable[[Sizes], bool]

# Sides that are tried, the likely ones first: most networks take multiples of 32.
_SIDES = (32, 64, 16, 8, 4, 128, 224, 256, 48, 96, 2, 1, 192, 384)
_STEPS = (1, 2, 4, 8, 16, 32, 64)
_MOST_RELATIONS = 400
_MOST_SCANNED = 16
LARGEST_TRIED = 512
"""What a file without bounds is given as the largest size; larger ones are not tried."""


@dataclass(frozen=True)
class Range:
    """Sizes that one axis takes; maximum is None where none was found."""

    minimum: int
    maximum: int | None
    step: int


@dataclass(frozen=True)
class Feasible:
    """What was found.

    Attributes:
        start: Sizes of all axes at which the model runs.
        sums: Axes that are sums of others; of one name and nothing added, equal to it.
        ranges: Of the other axes.
    """

    start: Sizes
    sums: Mapping[str, Sum] = field(default_factory=dict)
    ranges: Mapping[str, Range] = field(default_factory=dict)

    def complete(self, sizes: Mapping[str, int]) -> Sizes:
        """Return sizes of the axes that are no sums, with those that are."""
        found = dict(sizes)
        # In order: what the file names may be of axes that are equal to others.
        for name, total in self.sums.items():
            found[name] = total.of(found)
        return found


def feasible(
    batches: Sequence[str],
    others: Sequence[str],
    fits: Fits,
    known: Mapping[str, Sum] | None = None,
) -> Feasible | None:
    """Return the sizes at which a model runs; None where none were found.

    Args:
        batches: Outermost free axes.
        others: The other free axes.
        fits: Whether the model runs at sizes of all of them.
        known: Sums that the file itself names.
    """
    known = known or {}
    batches, others = ([n for n in names if n not in known] for names in (batches, others))
    for sums in _relations(batches, others):
        free = ([name for name in names if name not in sums] for names in (batches, others))
        if (found := _with_ranges(Feasible({}, {**sums, **known}), *free, fits=fits)) is not None:
            return found
    return None


def _with_ranges(
    relations: Feasible, batches: Sequence[str], others: Sequence[str], *, fits: Fits
) -> Feasible | None:
    """Return relations with the sizes that fit under them; None where none were found."""

    def takes(sizes: Sizes) -> bool:
        return fits(relations.complete(sizes))

    if (start := _start(batches, others, takes)) is None:
        return None
    ranges = {
        name: _range(name, start, takes, batch=name in batches) for name in (*batches, *others)
    }
    return replace(relations, start=relations.complete(start), ranges=_joint(ranges, start, takes))


def _relations(batches: Sequence[str], others: Sequence[str]) -> Iterator[dict[str, Sum]]:
    """Yield what axes may be of others, the fewest relations first."""
    equal = {name: Sum((batches[0],)) for name in batches[1:]}
    for found in islice(_among(others), _MOST_RELATIONS):
        yield found
        if equal:
            yield {**equal, **found}


def _among(names: Sequence[str]) -> Iterator[dict[str, Sum]]:
    for count in range(len(names), 0, -1):
        for free in combinations(names, count):
            options = [
                *(Sum((name,)) for name in free),
                *(Sum(pair) for pair in combinations(free, 2)),
                *(Sum((name,), 1) for name in free),
                *(Sum((name, name)) for name in free),
            ]
            bound = [name for name in names if name not in free]
            for chosen in product(options, repeat=len(bound)):
                yield dict(zip(bound, chosen, strict=True))
    if not names:
        yield {}


def _start(batches: Sequence[str], others: Sequence[str], fits: Fits) -> Sizes | None:
    """Return sizes that fit, beside other ones that do, so that no axes are equal by chance."""
    # A batch of 1 may be all that the model takes; several of them would be equal by chance.
    for side, batch in product(_SIDES, (2, 1) if len(batches) < 2 else (2,)):
        grown = [batch + i if batch > 1 else 1 for i in range(len(batches))]
        sides = [side << (i % 3) for i in range(len(others))]
        first, second = (
            dict(zip(batches, grown[::way], strict=True))
            | dict(zip(others, sides[::way], strict=True))
            for way in (1, -1)
        )
        if fits(first) and (first == second or fits(second)):
            return first
    return None


def _range(name: str, start: Sizes, fits: Fits, *, batch: bool) -> Range:
    def takes(size: int) -> bool:
        return size > 0 and fits({**start, name: size})

    at = start[name]
    step = next((s for s in _STEPS if takes(at + s) or takes(at - s)), None)
    if step is None or at % step:
        return Range(at, at, 1)
    if batch:
        return Range(1 if at == 1 or takes(1) else at, None if takes(at + step) else at, step)
    scanned = range(step, at, step)[:_MOST_SCANNED]
    minimum = next((size for size in scanned if takes(size)), at)
    return Range(minimum, _largest(at, step, takes), step)


def _largest(at: int, step: int, takes: Callable[[int], bool]) -> int | None:
    """Return the largest size that is taken; None where LARGEST_TRIED is."""
    low, high = at // step, LARGEST_TRIED // step
    if high <= low or takes(high * step):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if takes(middle * step) else (low, middle)
    return low * step


def _joint(ranges: dict[str, Range], start: Sizes, takes: Fits) -> dict[str, Range]:
    """Return ranges whose smallest sizes fit together: each as small as those before it allow."""
    low = dict(start)
    if takes({name: one.minimum for name, one in ranges.items()}):
        return ranges
    for name, one in ranges.items():
        steps = range(one.minimum, start[name], one.step)[:_MOST_SCANNED]
        low[name] = next((s for s in steps if takes({**low, name: s})), start[name])
    return {name: replace(one, minimum=low[name]) for name, one in ranges.items()}
