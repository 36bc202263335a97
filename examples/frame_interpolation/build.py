"""Makes the example's files: a trained model as `.pt2`, and pairs of photographs as frames.

    python examples/frame_interpolation/build.py DIRECTORY

writes DIRECTORY/model.pt2, DIRECTORY/calibration/*.npz and DIRECTORY/evaluation/*.npz.
Calibration pans over photographs; evaluation is a stereo pair, in which near things moved further.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

import numpy as np
import skimage.data
import torch
from numpy.typing import NDArray
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from examples.frame_interpolation import rife

from examples import programs

SIDE = 192
EVALUATED = 8
# Photographs that scikit-image carries, and how the picture moves between frames, in pixels.
PANS = {
    "astronaut.png": ((8, 0), (-16, 4), (0, 12), (24, -8)),
    "coffee.png": ((-12, 0), (32, 4), (0, -4), (-40, 2)),
    "rocket.jpg": ((4, 2), (-20, 8), (36, 0), (-48, -4)),
    "retina.jpg": ((16, 0), (0, 30), (-40, -20), (6, 24)),
}
STEREO = ("motorcycle_left.png", "motorcycle_right.png")

Pixels = NDArray[np.float32]


def export(path: Path) -> None:
    """Write the network as an ExportedProgram with dynamic batch, height and width."""
    generator = torch.Generator().manual_seed(0)
    example = tuple(torch.rand(2, 3, 96, 128, generator=generator) for _ in range(2))
    batch = torch.export.Dim("batch", min=1, max=8)
    sizes = {
        0: batch,
        2: 32 * torch.export.Dim("rows", min=2, max=34),
        3: 32 * torch.export.Dim("columns", min=2, max=60),
    }
    program = torch.export.export(rife.load(), example, dynamic_shapes=(sizes, sizes))
    # Bounds of rows and columns come in an order that differs from run to run.
    bounds = sorted(program.range_constraints.items(), key=str)
    program.range_constraints.clear()
    program.range_constraints.update(bounds)
    programs.save(program, path)


def photograph(name: str) -> Pixels:
    """Return a photograph at half size, (3, height, width) from 0 to 1."""
    with Image.open(Path(skimage.data.__file__).parent / name) as picture:
        half = picture.convert("RGB").resize(
            (picture.width // 2, picture.height // 2), Image.Resampling.LANCZOS
        )
    return np.ascontiguousarray(np.asarray(half, np.float32).transpose(2, 0, 1) / np.float32(255))


def square(pixels: Pixels, left: int, top: int) -> Pixels:
    """Return a part of a picture, (1, 3, SIDE, SIDE)."""
    return pixels[np.newaxis, :, top : top + SIDE, left : left + SIDE]


def write_pans(directory: Path) -> None:
    """Write two frames for each pan, from the middle of its photograph."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, pans in PANS.items():
        pixels = photograph(name)
        left, top = ((size - SIDE) // 2 for size in (pixels.shape[2], pixels.shape[1]))
        for index, (across, down) in enumerate(pans):
            np.savez(
                directory / f"{Path(name).stem}-{index}.npz",
                first=square(pixels, left, top),
                second=square(pixels, left + across, top + down),
            )


def write_stereo(directory: Path) -> None:
    """Write parts of both pictures of a stereo pair, spread over their width."""
    directory.mkdir(parents=True, exist_ok=True)
    first, second = map(photograph, STEREO)
    top = (first.shape[1] - SIDE) // 2
    for index in range(EVALUATED):
        left = round((first.shape[2] - SIDE) * index / (EVALUATED - 1))
        frames = {"first": square(first, left, top), "second": square(second, left, top)}
        np.savez(directory / f"motorcycle-{index}.npz", **frames)  # type: ignore[arg-type]


def main() -> None:
    """Write the files and print the model's digest."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    directory = parser.parse_args().directory
    directory.mkdir(parents=True, exist_ok=True)
    export(directory / "model.pt2")
    write_pans(directory / "calibration")
    write_stereo(directory / "evaluation")
    print(hashlib.sha256((directory / "model.pt2").read_bytes()).hexdigest())


if __name__ == "__main__":
    main()
