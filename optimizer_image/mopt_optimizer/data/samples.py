"""Samples as the model takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mopt_api.jobs.data_statistics import DataStatistics

Inputs = dict[str, NDArray[Any]]
Patches = Mapping[str, NDArray[np.float32]]
"""By image input: pieces of its samples, shape (samples, pieces, channels, side, side)."""


@dataclass(frozen=True)
class Samples:
    """Real inputs, in the order of their keys.

    Attributes:
        names: Keys relative to the folder.
        digest: sha256:HEX over names, objects' digests and the transform.
        inputs: One dict per sample: input name to an array, of an image as its transform says.
        files: The files on the local disk.
        statistics: Of all samples.
        patches: Pieces of the images.
    """

    names: list[str]
    digest: str
    inputs: Sequence[Inputs]
    files: list[Path]
    statistics: DataStatistics
    patches: Patches
