"""How two forms compare in an outer percentile, by resampling rounds.

A percentile of all calls has no observation for each round, as a median has: so rounds are drawn
again, in blocks of neighbouring ones (Kuensch 1989) and the same ones for both forms, and the
spread of the resampled log-ratio is its standard error. The interval takes Student's quantile, as
that of paired rounds does: few rounds tell little, however often they are drawn (Efron and
Tibshirani, An Introduction to the Bootstrap, chapter 12).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mopt_api.contest import Interval

from .paired import interval_around, student_quantile

_RESAMPLES = 400
_SEED = 20_261_130

Turns = Sequence[Sequence[int]]
"""The calls of each turn, in nanoseconds; one turn a round."""


def resampled(turns: Turns, percent: int) -> NDArray[Any]:
    """Return the logarithm of a percentile of all calls, and then that of each resample.

    Of as many rounds the resamples are the same ones, whoever took them.

    Args:
        turns: At least two.
    """
    calls = np.concatenate([np.asarray(turn, np.float64) for turn in turns])
    of_round = np.repeat(np.arange(len(turns)), [len(turn) for turn in turns])
    order = np.argsort(calls, kind="stable")
    calls, of_round = calls[order], of_round[order]
    found = np.empty(_RESAMPLES + 1)
    # One after the other: of short calls there are many.
    for index, times in enumerate(_draws(len(turns))):
        below = np.cumsum(times[of_round])
        found[index] = calls[np.searchsorted(below, below[-1] * percent / 100)]
    return np.log(found)


def tail_ratio(ours: NDArray[Any], theirs: NDArray[Any], rounds: int, error: float) -> Interval:
    """Return how many times shorter a percentile of ours is than theirs.

    Args:
        ours, theirs: See resampled, of the same rounds.
        rounds: Their number.
        error: Probability that the ratio is outside the bounds.
    """
    logs = theirs - ours
    half = student_quantile(error, rounds - 1) * float(logs[1:].std(ddof=1))
    return interval_around(float(logs[0]), half * math.sqrt(rounds / (rounds - 1)))


@lru_cache(maxsize=64)
def _draws(rounds: int) -> NDArray[Any]:
    """Return how often each round is drawn, a row for each resample; in the first each once."""
    generator = np.random.default_rng(_SEED)
    block = max(1, round(rounds ** (1 / 3)))
    starts = generator.integers(0, rounds, (_RESAMPLES, math.ceil(rounds / block)))
    drawn = (starts[:, :, None] + np.arange(block)) % rounds
    drawn = drawn.reshape(_RESAMPLES, -1)[:, :rounds]
    counts = np.stack([np.bincount(row, minlength=rounds) for row in drawn])
    return np.vstack([np.ones((1, rounds), counts.dtype), counts])
