"""What prepare makes beside the FP32 model: which variant runs which form, and its name. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from mopt_api.base import ObservedModel
from mopt_api.enums import Precision, QuantizationMethod, Runtime
from mopt_api.spec import QualityGate
from mopt_api.variants import Quantization, Variant

from .quantizing import artifact_name, excluded_part, needs_samples

FP32 = "fp32"
SOURCE = "source"
"""Name that a variant which runs the model file itself is mapped to; no artifact of its own."""


class FormKind(StrEnum):
    """Who makes a form, and of what."""

    ONNX_FP16 = "OnnxFP16"
    QDQ = "QDQ"
    NNCF = "NNCF"
    TORCH_BF16 = "TorchBF16"
    TORCH_INT8 = "TorchINT8"


class Form(ObservedModel):
    """A file of reduced precision; variants that need the same one share it."""

    kind: FormKind
    quantization: Quantization = Quantization()

    @property
    def of_torch(self) -> bool:
        """Whether it is made from the program, not from the ONNX model."""
        return self.kind in (FormKind.TORCH_BF16, FormKind.TORCH_INT8)

    @property
    def needs_samples(self) -> bool:
        """Whether it cannot be made without calibration data."""
        if self.kind in (FormKind.ONNX_FP16, FormKind.TORCH_BF16):
            return False
        return needs_samples(self.quantization)

    @property
    def uses_samples(self) -> bool:
        """Whether calibration data bears on it: FP16 looks for values that would overflow."""
        return self.needs_samples or self.kind is FormKind.ONNX_FP16

    @property
    def suffix(self) -> str:
        """How its file's name ends."""
        return ".pt2" if self.of_torch else ".onnx"

    def name(self, gates: Sequence[QualityGate] = ()) -> str:
        """Return what names its artifact: the same for the same file.

        Args:
            gates: The plan's, the same for all forms.
        """
        if self.kind is FormKind.QDQ:
            return artifact_name(self.quantization, gates)
        if self.kind is FormKind.ONNX_FP16:
            return "fp16"
        if self.kind is FormKind.TORCH_BF16:
            return "torch-bf16"
        parts = ["int8", "nncf"]
        if self.kind is FormKind.TORCH_INT8:
            scales = "perchannel" if self.quantization.per_channel else "pertensor"
            parts = ["torch", "int8", self.quantization.mode.lower(), scales]
        return "-".join([*parts, *excluded_part(self.quantization)])


def form_of(variant: Variant) -> Form | None:
    """Return the form that a variant runs; None for the FP32 model or the model as it came."""
    quantization = variant.quantization or Quantization()
    torch = variant.runtime is Runtime.PYTORCH
    if variant.precision is Precision.INT8:
        if torch:
            return Form(kind=FormKind.TORCH_INT8, quantization=quantization)
        nncf = quantization.method is QuantizationMethod.NNCF
        return Form(kind=FormKind.NNCF if nncf else FormKind.QDQ, quantization=quantization)
    if variant.precision is Precision.FP16:
        return Form(kind=FormKind.ONNX_FP16)
    if variant.precision is Precision.BF16 and torch:
        return Form(kind=FormKind.TORCH_BF16)
    return None  # OpenVINO computes in BF16 from the FP32 file.
