"""The trained super-resolution network as ONNX, and tiles of photographs for it."""

from __future__ import annotations

from pathlib import Path

import build
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mopt_optimizer.formats.exported_program import export_onnx
from mopt_optimizer.opening.loading import load_exported_program

Samples = list[dict[str, NDArray[np.float32]]]


def write_network(folder: Path) -> Path:
    """Write model.onnx into a folder and return its path; its input is `image`."""
    build.export(folder / "model.pt2")
    program = load_exported_program(folder / "model.pt2", folder)
    export_onnx(program, folder / "model.onnx", {})
    return folder / "model.onnx"


def tiles(names: dict[str, int], folder: Path, side: int) -> Samples:
    """Return squares of photographs, as (1, 3, side, side).

    Args:
        names: Photograph to the number of tiles cut from it.
        folder: To be written: the tiles as files.
    """
    build.cut_tiles(names, folder)
    samples: Samples = []
    for path in sorted(folder.iterdir()):
        with Image.open(path) as picture:
            pixels = np.asarray(picture.crop((0, 0, side, side)), np.float32) / np.float32(255)
        samples.append({"image": np.ascontiguousarray(pixels.transpose(2, 0, 1)[np.newaxis])})
    return samples
