"""Samples as the model takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

Inputs = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Samples:
    """Real inputs, in the order of their keys.

    Attributes:
        names: Keys relative to the folder.
        digest: sha256:HEX over names, objects' digests and the transform.
        inputs: One dict per sample: input name to an array, of an image as its transform says.
        files: The files on the local disk.
    """

    names: list[str]
    digest: str
    inputs: Sequence[Inputs]
    files: list[Path]
