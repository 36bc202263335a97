"""The manifest of a model in a registry: its forms, their files, and what each needs to run."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from mopt_api.artifacts import Artifact, ArtifactFormat
from mopt_api.base import ApiModel, Digest, Name, ObservedModel
from mopt_api.enums import Precision, TorchMode
from mopt_api.figures import VariantState as State
from mopt_api.jobs.measure_result import BASELINE, MeasureResult, VariantResult
from mopt_optimizer.forms.needs import needs_wide_sums
from mopt_optimizer.opening.inputs import Axis, ModelInput
from mopt_optimizer.opening.loading import SCRIPT_SUFFIX

SCHEMA_VERSION = 1
ONNX_SUFFIX = ".onnx"
PROGRAM_SUFFIX = ".pt2"
_SUFFIXES = {
    ArtifactFormat.ONNX: ONNX_SUFFIX,
    ArtifactFormat.EXPORTED_PROGRAM: PROGRAM_SUFFIX,
    ArtifactFormat.TORCH_SCRIPT: SCRIPT_SUFFIX,
}

# A plain name, so that the file stays in the folder it is fetched to.
FileName = Annotated[
    str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$")
]


class Verdict(StrEnum):
    """What is known about a form's quality."""

    PASSED = "Passed"
    REJECTED = "Rejected"
    UNMEASURED = "Unmeasured"


class FormPrecision(StrEnum):
    """Precisions of registered forms: those the runtimes compute in, and torch's FP16."""

    FP32 = "FP32"
    FP16 = "FP16"
    BF16 = "BF16"
    INT8 = "INT8"


class FormFile(ObservedModel):
    """One file of a form, stored under its digest."""

    name: FileName
    digest: Digest
    size_bytes: int = Field(ge=0)


class Needs(ObservedModel):
    """What a form requires of a machine, beyond its runtime."""

    cpu_features: list[str] = Field(default=[], description="All of these, as in /proc/cpuinfo.")
    architecture: str | None = Field(default=None, description="As uname -m; None is any.")
    gpu: bool = Field(default=False, description="An NVIDIA GPU.")
    wide_sums: bool = Field(
        default=False,
        description="If x86, one that adds INT8 products in 32 bits (VNNI, AMX): in 16 they "
        "overflow.",
    )


class AxisEntry(ApiModel):
    """An axis of an input, as opening.inputs.Axis."""

    size: int | None = None
    symbol: str | None = None
    minimum: int | None = None
    maximum: int | None = None
    multiple_of: int | None = None
    # None where it is no sum: readers of older versions take no other fields.
    sum_of: tuple[str, ...] | None = None
    plus: int | None = None

    @classmethod
    def of(cls, axis: Axis) -> AxisEntry:
        """Return the entry of an Axis."""
        return cls(**vars(axis) | {"sum_of": axis.sum_of or None, "plus": axis.plus or None})


class InputEntry(ApiModel):
    """An input of the model, as opening.inputs.ModelInput."""

    name: str
    dtype: str
    axes: list[AxisEntry]

    @classmethod
    def of(cls, value: ModelInput) -> InputEntry:
        """Return the entry of a ModelInput."""
        axes = [AxisEntry.of(axis) for axis in value.axes]
        return cls(name=value.name, dtype=value.dtype, axes=axes)

    def model_input(self) -> ModelInput:
        """Return the entry as a ModelInput."""
        axes = tuple(Axis(**axis.model_dump(exclude_none=True)) for axis in self.axes)
        return ModelInput(self.name, self.dtype, axes)


def is_quantized_program(names: Sequence[str]) -> bool:
    """Return whether these are the files ModelQuantizer saves: NAME.pt2, then NAME.pt2.json."""
    return len(names) == 2 and names[0].endswith(PROGRAM_SUFFIX) and names[1] == f"{names[0]}.json"


class Form(ObservedModel):
    """One form of a model.

    `runtime` and `precision` are strings, so that a registry written by a newer version, with
    runtimes unknown to this one, can still be read.
    """

    name: Name
    runtime: str = Field(max_length=40)
    precision: str = Field(max_length=40)
    float_precision: str | None = Field(
        default=None,
        max_length=40,
        description="Of what is not INT8, where that is not FP32.",
    )
    files: list[FormFile] = Field(min_length=1, max_length=64, description="First, what is opened.")
    needs: Needs = Needs()
    compiled: bool = Field(default=False, description="PyTorch compiles it where it runs.")
    inputs: list[InputEntry] = Field(default=[], description="Empty where not yet read.")
    verdict: Verdict = Verdict.UNMEASURED
    message: str | None = Field(default=None, description="Why the verdict is Rejected.")
    speedup: float | None = Field(default=None, gt=0, description="Over the baseline.")
    quality: dict[str, float] = Field(default={}, description="Metric to its worst value.")

    @property
    def exact_precision(self) -> bool:
        """Whether it computes in the precision of the source model, FP32."""
        return self.precision == Precision.FP32

    @property
    def is_onnx(self) -> bool:
        """Whether the file to open is ONNX."""
        return self.files[0].name.endswith(ONNX_SUFFIX)

    @property
    def is_quantized_program(self) -> bool:
        """Whether ModelQuantizer saved it."""
        return is_quantized_program([file.name for file in self.files])

    def __str__(self) -> str:
        return f"{self.name} ({self.runtime} {self.precision})"


class Manifest(ObservedModel):
    """manifest.json of one model in a registry."""

    schema_version: int = Field(default=SCHEMA_VERSION, ge=1)
    forms: list[Form] = Field(min_length=1, max_length=64)
    selected: Name | None = Field(default=None, description="The form that measurement chose.")
    measured_on: str | None = Field(default=None, description="CPU that speedups were taken on.")

    @property
    def baseline(self) -> Form:
        """The form of the source model."""
        return next(form for form in self.forms if form.name == BASELINE)

    def form(self, name: str) -> Form | None:
        """Return a form by name, or None."""
        return next((form for form in self.forms if form.name == name), None)

    def with_form(self, form: Form) -> Manifest:
        """Return the manifest with a form added; it replaces a form of the same name."""
        others = [other for other in self.forms if other.name != form.name]
        return self.model_copy(update={"forms": [*others, form]})


def from_result(result: MeasureResult) -> Manifest:
    """Return the manifest of a measured target; variants that were never built have no form."""
    forms = [
        _form(entry, entry.artifact, Needs(wide_sums=needs_wide_sums(result, entry)))
        for entry in result.everyone
        if entry.artifact is not None
    ]
    return Manifest(forms=forms, selected=result.selected, measured_on=result.hardware.cpu)


def _form(entry: VariantResult, artifact: Artifact, needs: Needs) -> Form:
    passed = entry.state is State.PASSED
    files = [
        FormFile(
            name=f"model{_SUFFIXES[artifact.format]}",
            digest=artifact.digest,
            size_bytes=artifact.object_bytes,
        )
    ]
    files += [
        FormFile(name=data.path, digest=data.digest, size_bytes=data.size_bytes)
        for data in artifact.external_data or ()
    ]
    return Form(
        name=entry.name,
        runtime=entry.runtime,
        precision=entry.precision,
        float_precision=entry.float_precision,
        files=files,
        needs=needs,
        compiled=entry.torch_mode is TorchMode.COMPILED,
        verdict=Verdict.PASSED if passed else Verdict.REJECTED,
        message=None if passed else f"{entry.reason or entry.state}: {entry.message or ''}".strip(),
        speedup=entry.speedup,
        quality={quality.metric: quality.worst for quality in entry.quality},
    )
