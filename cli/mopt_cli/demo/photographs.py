"""The photographs that scikit-image carries: what is learned from, and tiles to measure with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

from mopt_cli._errors import CliError, ExitCode

LEARNED = {"astronaut.png": 3, "coffee.png": 3, "motorcycle_left.png": 2}
"""How many tiles to cut from each for calibration."""
UNSEEN = {"chelsea.png": 2, "rocket.jpg": 2, "retina.jpg": 2}
"""The same for evaluation."""
_TILE = 128


def check() -> None:
    """Refuse a scikit-image that does not carry the photographs.

    Raises:
        CliError
    """
    for name in (*LEARNED, *UNSEEN):
        if not (_folder() / name).is_file():
            raise CliError(
                f"mopt demo needs scikit-image's photographs, and {_folder() / name} is not there: "
                "pip install --force-reinstall scikit-image",
                ExitCode.FAILED,
            )


def _folder() -> Path:
    # Not imported: that takes a second, and reads no file.
    spec = find_spec("skimage")
    return Path(spec.origin).parent / "data" if spec and spec.origin else Path("skimage")


def opened(names: Iterable[str]) -> Iterator[tuple[str, Image.Image]]:
    """Yield photographs with their names."""
    for name in names:
        with Image.open(_folder() / name) as picture:
            yield Path(name).stem, picture.convert("RGB")


def cut_tiles(names: Mapping[str, int], folder: Path) -> None:
    """Write square tiles of photographs at half size, spread over each picture."""
    folder.mkdir(parents=True)
    for (stem, picture), count in zip(opened(names), names.values(), strict=True):
        half = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.LANCZOS)
        for index in range(count):
            share = (index + 0.5) / count
            left = round((half.width - _TILE) * share)
            top = round((half.height - _TILE) * (share * 2 % 1))
            tile = half.crop((left, top, left + _TILE, top + _TILE))
            tile.save(folder / f"{stem}-{index}.png")
