"""What the prepare stage asks the process that opens the model, and what that answers."""

from __future__ import annotations

from mopt_api.base import Count, ObservedModel
from mopt_api.inputs import AnyDimension, ImageTransform, InputSpec
from mopt_api.jobs.data_statistics import FirstLayer
from mopt_api.jobs.plan import PlannedModel
from mopt_api.jobs.prepare_result import PassReport, QuantizationReport, Verification
from mopt_api.spec import QualityGate
from mopt_optimizer.forms.form import Form
from mopt_optimizer.stages.artifacts import ONNX_FILE

# A folder for each form: the files that weights of large models lie in all have one name.
FP32_FILE = f"fp32/{ONNX_FILE}"


class SampledFiles(ObservedModel):
    """Samples on the local disk; images says how those that are images are read."""

    names: list[str]
    files: list[str]
    images: ImageTransform


class PrepareRequest(ObservedModel):
    """What the child is asked: paths are local.

    Attributes:
        path: The source model; opened to export it, and for forms made from it. None where there
            is neither.
        export: Whether to make the FP32 file, as FP32_FILE in the folder. Otherwise forms that are
            made from it find it there.
        samples: What the model and its forms are tried on; None for noise.
        calibrated: Whether the samples are calibration data.
    """

    model: PlannedModel
    path: str | None = None
    export: bool = True
    inputs: list[InputSpec]
    dimensions: dict[str, AnyDimension]
    forms: list[Form]
    samples: SampledFiles | None = None
    calibrated: bool = True
    quality: list[QualityGate] = []


class Exported(ObservedModel):
    """The FP32 file in the folder, and how it came about."""

    opset: Count
    parameters: Count
    file: str
    first_layers: list[FirstLayer] = []
    verifications: list[Verification]
    passes: list[PassReport]
    operators: dict[str, Count]
    graph: str
    seconds: float


class Quantized(ObservedModel):
    """One form of reduced precision: a file in the folder, or why there is none."""

    name: str
    file: str | None = None
    error: str | None = None
    report: QuantizationReport | None = None
    seconds: float = 0.0


class PrepareAnswer(ObservedModel):
    """What the child made; files are in its folder."""

    exported: Exported | None = None
    quantized: list[Quantized]
    seconds: dict[str, float]
