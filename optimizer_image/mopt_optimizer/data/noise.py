"""Made-up inputs, where there are no real ones: what is measured or verified on them says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mopt_api.enums import DType


def noise(generator: np.random.Generator, shape: Sequence[int], dtype: DType) -> NDArray[Any]:
    """Return values that nearly any model takes: floats in 0 to 1, integers 0 and 1, truth values.

    A vocabulary or an index range is unknown here; 0 and 1 are in each that has two entries. Each
    row, along the last axis, has a 1: of a mask of zeros, attention is NaN. A single integer is 1:
    it may be a size or a step.
    """
    kind = np.dtype(dtype.value)
    if kind.kind == "f":
        return generator.random(shape, np.float32).astype(kind, copy=False)
    values = generator.integers(0, 2, shape) if len(shape) else np.ones((), np.int64)
    if values.ndim and values.shape[-1]:
        values[..., 0] |= ~values.any(axis=-1)
    return values.astype(kind)
