"""Agreement of two sets of embeddings: whether each finds the same neighbors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mopt_optimizer.errors import DataError, NotEmbeddings
from mopt_optimizer.quality.comparable import Array, Options, check_finite

NEIGHBORS = 5
# Of a cosine: what is nearer by less is as near.
_TIED = 1e-7
# Rows of the table of similarities that are in memory at once.
_ROWS = 512


def neighbor_agreement(reference: Sequence[Array], output: Sequence[Array]) -> list[float]:
    """Return each sample's recall at NEIGHBORS, 0 to 1; of several embeddings in it the mean.

    That is the share of an embedding's nearest neighbors in the output that are nearest in the
    reference too, by cosine and among the embeddings of all samples without itself. What is as near
    in the reference as the last of its neighbors is one of them.

    Args:
        reference, output: Of each sample, shape (rows, values) or (values).

    Raises:
        NotEmbeddings: Another shape or type.
        NonFiniteOutput: NaN or infinity.
        DataError: No more embeddings than neighbors.
    """
    rows = [len(check_embeddings(array)) for array in reference]
    truth, found = _unit(reference), _unit(output)
    if len(truth) <= NEIGHBORS:
        raise DataError(
            f"NeighborAgreement is of the {NEIGHBORS} nearest among all samples; there are "
            f"{len(truth)} embeddings"
        )
    shares = [_recall(truth, found, first) for first in range(0, len(truth), _ROWS)]
    ends = np.cumsum(rows)[:-1]
    return [float(some.mean()) for some in np.split(np.concatenate(shares), ends)]


def check_embeddings(array: Array) -> NDArray[np.float32]:
    """Return embeddings, one a row.

    Raises:
        NotEmbeddings, NonFiniteOutput: See neighbor_agreement.
    """
    if array.ndim not in (1, 2) or array.dtype.kind != "f" or array.shape[-1] < 2:
        raise NotEmbeddings(
            "NeighborAgreement needs embeddings, a row of at least two numbers each; the output is "
            f"{array.dtype} {array.shape}"
        )
    check_finite("embeddings", array)
    return np.atleast_2d(array).astype(np.float32)


def _unit(arrays: Sequence[Array]) -> NDArray[np.float64]:
    """Return all embeddings with length 1; one of zeros stays so, and is at right angles to all."""
    rows = np.concatenate([check_embeddings(array) for array in arrays]).astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    lengths[lengths == 0] = 1
    found: NDArray[np.float64] = rows / lengths
    return found


def _recall(
    truth: NDArray[np.float64], found: NDArray[np.float64], first: int
) -> NDArray[np.float64]:
    near, other = (_similarities(rows, first) for rows in (truth, found))
    last = np.partition(near, -NEIGHBORS, axis=1)[:, -NEIGHBORS, None]
    chosen = np.argpartition(other, -NEIGHBORS, axis=1)[:, -NEIGHBORS:]
    kept: NDArray[np.bool_] = np.take_along_axis(near, chosen, axis=1) >= last - _TIED
    shares: NDArray[np.float64] = kept.mean(axis=1)
    return shares


def _similarities(rows: NDArray[np.float64], first: int) -> NDArray[np.float64]:
    """Return the cosine of some embeddings with all; with itself it is the least."""
    some = rows[first : first + _ROWS]
    table: NDArray[np.float64] = some @ rows.T
    table[np.arange(len(some)), first + np.arange(len(some))] = -np.inf
    return table


def compute(reference: Sequence[Array], output: Sequence[Array], _options: Options) -> list[float]:
    """Return the neighbor_agreement of each sample."""
    return neighbor_agreement(reference, output)
