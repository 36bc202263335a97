"""A network from file to forms as a user's is, and what plain runtimes make of the files.

Preparing is mopt's: describe, init's resource, the prepare stage's child. Reading the artifacts is
not: onnxruntime and openvino open them without code of mopt; PyTorch runs the network as it was
written, and onnxruntime an ONNX file as it came.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import openvino
import torch
import yaml
from architectures import Architecture, write, write_data
from own_forms import IS_NARROW

from mopt_api.enums import Precision, QuantizationMethod
from mopt_api.inputs import with_derived
from mopt_api.spec import ModelOptimizationSpec
from mopt_api.variants import Quantization
from mopt_cli.initializing import resource_text
from mopt_cli.resources import checked_spec
from mopt_optimizer.formats.base import DescribeRequest
from mopt_optimizer.formats.registry import describe_file
from mopt_optimizer.forms.form import Form
from mopt_optimizer.forms.registry import FormKind
from mopt_optimizer.stages.prepare.messages import PrepareAnswer
from mopt_optimizer.stages.prepare.worker import handle

Feeds = dict[str, Any]
Values = list[Any]
Model = Callable[[Feeds], Values]

FORMS = {
    "fp16": Form(kind=FormKind.ONNX_FP16),
    "int8": Form(kind=FormKind.QDQ, narrow_sums=IS_NARROW),
    "nncf": Form(kind=FormKind.NNCF, quantization=Quantization(method=QuantizationMethod.NNCF)),
}


def forms_of(name: str) -> tuple[str, ...]:
    """Return the forms of a network of ARCHITECTURES that are made: ONNX Runtime 1.32 crashes on
    vit in FP16, in its NchwcTransformer, which would end this process; prepare's child bears it."""
    return tuple(form for form in FORMS if (name, form) != ("vit", "fp16"))


@dataclass(frozen=True)
class Prepared:
    """What the prepare stage's child made of a network.

    Attributes:
        network: As it was written, in PyTorch.
        files: The FP32 file and those of forms that were made.
        refused: Why the other forms were not.
        evaluation: Samples that no step has seen.
    """

    network: Model
    spec: ModelOptimizationSpec
    files: dict[str, Path]
    refused: dict[str, str]
    evaluation: list[Feeds]

    def at_other_sizes(self, count: int = 3) -> list[Feeds]:
        """Return samples at other sizes of the declared ranges, each dimension at another step."""
        return [resized(self.spec, self.evaluation[i], sizes(self.spec, i)) for i in range(count)]


def prepare(kind: Architecture, folder: Path, forms: Sequence[str]) -> Prepared:
    """Take a network through init and prepare.

    Args:
        forms: Keys of FORMS.
    """
    path = write(kind, folder / "model")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    scratch = folder / "described"
    scratch.mkdir()
    described = describe_file(DescribeRequest(path=str(path), run=True), scratch)
    text = resource_text(described, name="model", file_name=path.name, sha256=digest)
    spec = checked_spec(yaml.safe_load(text)["spec"], path)
    calibration = sorted(write_data(kind, folder / "calibration", 1).iterdir())
    evaluation = sorted(write_data(kind, folder / "evaluation", 2).iterdir())
    request = {
        "model": {"uri": path.as_uri(), "sha256": digest, "format": spec.model.format},
        "path": str(path),
        "inputs": [one.to_api() for one in spec.inputs],
        "dimensions": {name: size.to_api() for name, size in spec.every_dimension.items()},
        "forms": [FORMS[name].to_api() for name in forms],
        "samples": {
            "names": [file.name for file in calibration],
            "files": [str(file) for file in calibration],
            "images": {},
        },
        "quality": [gate.to_api() for gate in spec.quality],
    }
    workdir = folder / "prepared"
    workdir.mkdir()
    answer = PrepareAnswer.model_validate(handle(request, workdir, lambda *_, **__: None))
    assert answer.exported is not None
    made = dict(zip(forms, answer.quantized, strict=True))
    files = {name: workdir / one.file for name, one in made.items() if one.file is not None}
    return Prepared(
        network=_network(kind, path),
        spec=spec,
        files={"fp32": workdir / answer.exported.file, **files},
        refused={name: one.error for name, one in made.items() if one.error is not None},
        evaluation=[dict(np.load(file)) for file in evaluation],
    )


def sizes(spec: ModelOptimizationSpec, index: int) -> dict[str, int]:
    """Return the index-th of three sets of sizes: the smallest, and between it and opt."""
    found = {}
    for number, (name, size) in enumerate(spec.dimensions.items()):
        step = size.multiple_of or 1
        room = max(size.opt - size.min, min(size.max - size.min, 2 * step)) // step
        found[name] = size.min + step * (room * (index + number % 2) // 3 if index else 0)
    return with_derived(found, spec.every_dimension)


def resized(spec: ModelOptimizationSpec, sample: Mapping[str, Any], found: dict[str, int]) -> Feeds:
    """Return a sample at other sizes: each axis is cut, or goes on from its start."""
    feeds = {}
    for one in spec.inputs:
        array = sample[one.name]
        for axis, size in enumerate(one.shape):
            wanted = found[size] if isinstance(size, str) else size
            array = np.take(array, np.arange(wanted) % array.shape[axis], axis=axis)
        feeds[one.name] = np.ascontiguousarray(array)
    return feeds


def _network(kind: Architecture, path: Path) -> Model:
    """Return the source: PyTorch's module, or an ONNX file as it is, without optimizations."""
    if kind.onnx:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        providers = ["CPUExecutionProvider"]
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        return lambda feeds: list(session.run(None, feeds))
    torch.manual_seed(0)  # As architectures.write.
    module = kind.module().eval()

    def run(feeds: Feeds) -> Values:
        tensors = {name: torch.from_numpy(array.copy()) for name, array in feeds.items()}
        with torch.no_grad():
            found = module(**tensors)
        return [one.numpy() for one in torch.utils._pytree.tree_leaves(found)]

    return run


def by_onnxruntime(path: Path) -> Model:
    """Return a file opened by onnxruntime alone."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda feeds: list(session.run(None, feeds))


def by_openvino(path: Path) -> Model:
    """Return a file opened by openvino alone, in FP32 where it is not quantized."""
    hint = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.compile_model(str(path), "CPU", hint)
    names = {port.get_any_name() for port in compiled.inputs}

    def run(feeds: Feeds) -> Values:
        found = compiled({name: value for name, value in feeds.items() if name in names})
        return [np.array(found[index]) for index in range(len(compiled.outputs))]

    return run


FILES: dict[str, tuple[str, Precision, Callable[[Path], Model]]] = {
    "onnxruntime-fp32": ("fp32", Precision.FP32, by_onnxruntime),
    "openvino-fp32": ("fp32", Precision.FP32, by_openvino),
    "onnxruntime-fp16": ("fp16", Precision.FP16, by_onnxruntime),
    "onnxruntime-int8": ("int8", Precision.INT8, by_onnxruntime),
    "openvino-int8": ("int8", Precision.INT8, by_openvino),
    "openvino-nncf": ("nncf", Precision.INT8, by_openvino),
}
"""Variants: the artifact, its precision, and the runtime that serves it."""
