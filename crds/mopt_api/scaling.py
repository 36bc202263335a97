"""Throughput at a CPU limit that was not measured, from limits that were. Pure.

The law is Gunther's Universal Scalability Law,
X(N) = gamma * N / (1 + s * (N - 1) + k * N * (N - 1)): gamma is the throughput of one CPU, s what
is done one after the other (contention), k what copies wait for each other (coherence).
N / X is linear in its coefficients, which are fitted by least
squares of relative errors, none of them negative. With one limit it is proportional; with two or
three k is 0, since so few figures cannot tell it from s; with four or more all are fitted.

What the law leaves is not noise alone (a limit of half a CPU is throttled, memory bandwidth ends
somewhere), so between two measured limits a prediction is corrected by what the law misses at them:
at a measured limit it is what was measured. Beyond them it is corrected as at the nearest.
"""

from __future__ import annotations

import bisect
import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

_WITH_COHERENCE = 4
REACH = 2.0
"""A limit up to so many times beyond those measured is predicted from them; farther off nothing
tells where the law bends."""


@dataclass(frozen=True)
class Point:
    """Samples per second at a CPU limit, both above 0."""

    cpus: float
    throughput: float


@dataclass(frozen=True)
class Law:
    """The fitted law: N / X is linear * 1 + contention * (N - 1) + coherence * N * (N - 1).

    Attributes:
        points: What it was fitted on, by CPU limit, each limit once.
    """

    linear: float
    contention: float
    coherence: float
    points: tuple[Point, ...]

    def throughput(self, cpus: float) -> float:
        """Return the samples per second that are predicted at a CPU limit above 0."""
        return self._by_law(cpus) * self._correction(cpus)

    def within_reach(self, cpus: float) -> bool:
        """Tell whether at least two limits were measured, and this one is not far from them."""
        low, high = self.points[0].cpus, self.points[-1].cpus
        return len(self.points) > 1 and low / REACH <= cpus <= high * REACH

    def _by_law(self, cpus: float) -> float:
        terms = _terms(cpus)
        coefficients = (self.linear, self.contention, self.coherence)
        # Below one CPU the contention is negative: half a CPU at most doubles the efficiency.
        whole = sum(a * b for a, b in zip(coefficients, terms, strict=True))
        return cpus / max(whole, self.linear / 2)

    def _correction(self, cpus: float) -> float:
        ratios = [point.throughput / self._by_law(point.cpus) for point in self.points]
        limits = [point.cpus for point in self.points]
        if cpus <= limits[0]:
            return ratios[0]
        if cpus >= limits[-1]:
            return ratios[-1]
        after = bisect.bisect_right(limits, cpus)
        low, high = limits[after - 1], limits[after]
        share = math.log(cpus / low) / math.log(high / low)
        return ratios[after - 1] + share * (ratios[after] - ratios[after - 1])


def usable(cpus: float) -> float:
    """Return the CPUs of a limit that threads compute on: rounded down, as load is measured with.

    Below one CPU it is a thread for that part of the time.
    """
    return cpus if cpus < 1 else float(math.floor(cpus))


def fitted(points: Sequence[Point]) -> Law:
    """Return the law through measured throughputs.

    Args:
        points: At least one. Of several at one limit the best counts.

    Raises:
        ValueError: There is none.
    """
    best: dict[float, float] = {}
    for point in points:
        best[point.cpus] = max(point.throughput, best.get(point.cpus, 0.0))
    known = tuple(Point(cpus, best[cpus]) for cpus in sorted(best))
    if not known:
        raise ValueError("a law of scaling needs at least one measured CPU limit")
    used = 1 if len(known) == 1 else 2 if len(known) < _WITH_COHERENCE else 3
    unit = known[0].throughput / known[0].cpus
    rows = [[p.throughput / p.cpus / unit * term for term in _terms(p.cpus)] for p in known]
    linear, contention, coherence = (value / unit for value in _least_squares(rows, used))
    return Law(linear, contention, coherence, points=known)


def _terms(cpus: float) -> tuple[float, float, float]:
    return 1.0, cpus - 1, cpus * (cpus - 1)


def _least_squares(rows: Sequence[Sequence[float]], used: int) -> tuple[float, float, float]:
    """Return the coefficients, none negative, whose products with each row are nearest to 1.

    Args:
        used: Of how many coefficients; the others are 0.
    """
    best, found = math.inf, (1.0, 0.0, 0.0)
    # The best solution without negative ones is that of some set of coefficients, and the first is
    # in it: there are four sets at most.
    others = [set_ for size in range(used) for set_ in combinations(range(1, used), size)]
    for columns in ((0, *set_) for set_ in others):
        solved = _solved([[row[column] for column in columns] for row in rows])
        if solved is None or min(solved) < 0:
            continue
        whole = [0.0, 0.0, 0.0]
        for column, value in zip(columns, solved, strict=True):
            whole[column] = value
        error = sum((1 - sum(map(operator.mul, row, whole))) ** 2 for row in rows)
        if error < best - 1e-15:
            best, found = error, (whole[0], whole[1], whole[2])
    return found


def _solved(rows: Sequence[Sequence[float]]) -> list[float] | None:
    """Return what solves rows * x = 1 by least squares; None where several do."""
    size = len(rows[0])
    matrix = [
        [sum(row[i] * row[j] for row in rows) for j in range(size)] + [sum(row[i] for row in rows)]
        for i in range(size)
    ]
    for column in range(size):
        pivot = max(range(column, size), key=lambda r: abs(matrix[r][column]))
        if abs(matrix[pivot][column]) < 1e-12:
            return None
        matrix[column], matrix[pivot] = matrix[pivot], matrix[column]
        for other in range(size):
            if other != column:
                factor = matrix[other][column] / matrix[column][column]
                matrix[other] = [
                    a - factor * b for a, b in zip(matrix[other], matrix[column], strict=True)
                ]
    return [matrix[i][size] / matrix[i][i] for i in range(size)]
