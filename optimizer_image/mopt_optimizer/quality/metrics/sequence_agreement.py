"""Agreement of two sequences of tokens, by their edit distance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mopt_optimizer.errors import NotSequences, ShapeMismatch
from mopt_optimizer.quality.comparable import Array, Options, check_pair


def sequence_agreement(reference: Array, output: Array) -> float:
    """Return 1 less the edit distance over the longer length, 0 to 1; the worst of a batch.

    A run of one id at the end, as of padding, counts once.

    Args:
        reference, output: Ids, integers of shape (..., length); or scores of shape
            (..., length, ids), whose largest counts. Lengths may differ.

    Raises:
        NotSequences: Scores of fewer than two ids.
        ShapeMismatch: Another number of sequences, or of axes.
        NonFiniteOutput: Scores of one length that differ in where they are finite.

    Source: Levenshtein 1966; the distance is that of insertions, deletions and substitutions.
    """
    if reference.shape == output.shape:
        check_pair("the output", reference, output)
    first, second = _sequences(reference), _sequences(output)
    if len(first) != len(second):
        raise ShapeMismatch(f"the output is {output.shape}, FP32's is {reference.shape}")
    return min((_agreement(*pair) for pair in zip(first, second, strict=True)), default=1.0)


def _sequences(array: Array) -> list[NDArray[np.int64]]:
    if array.dtype.kind == "f":
        if array.ndim < 2 or array.shape[-1] < 2:
            raise NotSequences(
                "SequenceAgreement needs ids, or scores of two ids and more along the last axis; "
                f"the output is {array.shape}"
            )
        array = np.argmax(array, axis=-1)
    count = int(np.prod(array.shape[:-1]))
    length = array.shape[-1] if array.ndim else 1
    return [_unpadded(ids) for ids in array.reshape(count, length).astype(np.int64)]


def _unpadded(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    others = np.flatnonzero(ids != ids[-1]) if ids.size else ids
    return ids[: int(others[-1]) + 2] if others.size else ids[:1]


def _agreement(reference: NDArray[np.int64], output: NDArray[np.int64]) -> float:
    longer = max(len(reference), len(output))
    return 1 - edit_distance(reference, output) / longer if longer else 1.0


def edit_distance(first: NDArray[np.int64], second: NDArray[np.int64]) -> int:
    """Return how many ids have to be inserted, deleted or replaced to make one of the other."""
    places = np.arange(len(second) + 1)
    row = places
    for number, one in enumerate(first, start=1):
        replaced = row[:-1] + (second != one)
        without_insertions = np.concatenate([[number], np.minimum(row[1:] + 1, replaced)])
        # An insertion costs 1 for each place that it moves on: a running minimum.
        row = np.minimum.accumulate(without_insertions - places) + places
    return int(row[-1])


def compute(reference: Array, output: Array, _data_range: float, _options: Options) -> float:
    """Return the sequence_agreement of two outputs."""
    return sequence_agreement(reference, output)
