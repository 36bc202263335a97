"""A model file from `mopt init` to its forms, in the test's own process."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from runners import opened

from mopt_api.enums import Precision, QuantizationMethod, Runtime
from mopt_api.inputs import ImageTransform
from mopt_api.jobs.plan import PlannedModel
from mopt_api.spec import ModelOptimizationSpec
from mopt_api.variants import Quantization
from mopt_cli.field_problems import problems
from mopt_cli.initializing import resource_text
from mopt_optimizer.formats.base import DescribeRequest
from mopt_optimizer.formats.registry import describe_file
from mopt_optimizer.forms.form import Form
from mopt_optimizer.forms.registry import FormKind
from mopt_optimizer.stages.prepare.messages import (
    FP32_FILE,
    PrepareAnswer,
    PrepareRequest,
    Quantized,
    SampledFiles,
)
from mopt_optimizer.stages.prepare.worker import handle

Arrays = Mapping[str, NDArray[Any]]
QDQ = Form(kind=FormKind.QDQ)
NNCF = Form(kind=FormKind.NNCF, quantization=Quantization(method=QuantizationMethod.NNCF))


def silent(step: str, message: str, **fields: object) -> None:
    """Log nothing."""


def initial(
    path: Path, workdir: Path, shapes: Mapping[str, list[int]] | None = None
) -> ModelOptimizationSpec:
    """Return the spec that init writes, unchanged; it is valid."""
    request = DescribeRequest(path=str(path), run=True, shapes=dict(shapes or {}))
    text = resource_text(
        describe_file(request, workdir),
        name="model",
        file_name=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        shapes=shapes,
    )
    spec = yaml.safe_load(text)["spec"]
    assert problems(spec) == [], text
    return ModelOptimizationSpec.model_validate(spec)


@dataclass(frozen=True)
class Made:
    """What prepare made of a file.

    Attributes:
        folder: Holds the files that the answer names.
    """

    spec: ModelOptimizationSpec
    folder: Path
    answer: PrepareAnswer

    @property
    def fp32(self) -> Path:
        return self.folder / FP32_FILE

    def form(self, form: Form) -> Path:
        """Return the file of a form; its error fails the test."""
        found = self._answer(form)
        assert found.error is None, found.error
        assert found.file is not None
        return self.folder / found.file

    def refusal(self, form: Form) -> str | None:
        """Return why a form was not made."""
        return self._answer(form).error

    def _answer(self, form: Form) -> Quantized:
        name = form.name(self.spec.quality)
        (found,) = [one for one in self.answer.quantized if one.name == name]
        return found


def prepared(
    path: Path,
    spec: ModelOptimizationSpec,
    workdir: Path,
    *,
    forms: Sequence[Form] = (),
    data: Path | None = None,
) -> Made:
    """Export a model and make forms of it, as the child of prepare does."""
    workdir.mkdir(exist_ok=True)
    files = sorted(data.iterdir()) if data else []
    request = PrepareRequest(
        model=PlannedModel(uri=spec.model.uri, sha256=spec.model.sha256, format=spec.model.format),
        path=str(path),
        inputs=spec.inputs,
        dimensions=spec.every_dimension,
        forms=list(forms),
        samples=SampledFiles(
            names=[file.name for file in files],
            files=[str(file) for file in files],
            images=ImageTransform(),
        )
        if files
        else None,
        quality=spec.quality,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NNCF's, of the mean of masks of finfo.min
        answer = handle(request.to_api(), workdir, silent)
    return Made(spec, workdir, PrepareAnswer.model_validate(answer))


def run(
    runtime: Runtime, path: Path, feeds: Arrays, precision: Precision = Precision.FP32
) -> list[NDArray[Any]]:
    """Return a file's outputs in a runtime, in order; called as a trial calls it."""
    with opened(runtime, precision, path) as runner:
        runner.bind(dict(feeds))()
        return list(runner.run(dict(feeds)).values())


def far(found: Sequence[NDArray[Any]], expected: Sequence[NDArray[Any]]) -> float:
    """Return the largest difference of two results, of the largest value; inf of another shape."""
    assert len(found) == len(expected)
    worst = 0.0
    for one, other in zip(found, expected, strict=True):
        if one.shape != other.shape:
            return float("inf")
        if one.dtype.kind in "iub" or not one.size:
            worst = max(worst, float(np.any(one != other)))
            continue
        peak = float(np.abs(other).max()) or 1.0
        worst = max(worst, float(np.abs(one.astype(float) - other).max()) / peak)
    return worst
