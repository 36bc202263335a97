"""What prepare makes beside the FP32 model: which variant runs which form, and its name. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from mopt_api.base import ObservedModel
from mopt_api.enums import ExecutionProvider, Precision, QuantizationMethod, Runtime, TargetKind
from mopt_api.jobs.plan import fallback_gates
from mopt_api.spec import QualityGate
from mopt_api.variants import Quantization, Variant

from .names import artifact_name, excluded_part, needs_samples

FP32 = "fp32"
SOURCE = "source"
"""Name that a variant which runs the model file itself is mapped to; no artifact of its own."""


class FormKind(StrEnum):
    """Who makes a form, and of what."""

    ONNX_FP16 = "OnnxFP16"
    ONNX_BF16 = "OnnxBF16"
    QDQ = "QDQ"
    NNCF = "NNCF"
    TENSORRT_INT8 = "TensorRTINT8"
    TENSORRT_FP8 = "TensorRTFP8"
    TORCH_FP16 = "TorchFP16"
    TORCH_BF16 = "TorchBF16"
    TORCH_INT8 = "TorchINT8"
    TORCH_LINEAR_INT8 = "TorchLinearINT8"
    TORCH_LINEAR_FP8 = "TorchLinearFP8"

    @property
    def of_tensorrt(self) -> bool:
        """Whether Q/DQ nodes stand as TensorRT fuses them, and FP16 beside them."""
        return self in (FormKind.TENSORRT_INT8, FormKind.TENSORRT_FP8)

    @property
    def of_torch(self) -> bool:
        """Whether it is made from the program, not from the ONNX model."""
        return self in (
            FormKind.TORCH_FP16,
            FormKind.TORCH_BF16,
            FormKind.TORCH_INT8,
            *LINEAR,
        )


LINEAR = (FormKind.TORCH_LINEAR_INT8, FormKind.TORCH_LINEAR_FP8)
"""For GPUs: Linear in 8 bits, its activations scaled on each call."""

_HALVES = {
    FormKind.ONNX_FP16: "fp16",
    FormKind.ONNX_BF16: "bf16",
    FormKind.TORCH_FP16: "torch-fp16",
    FormKind.TORCH_BF16: "torch-bf16",
}
"""Kinds in 16 bits, with what their artifacts are called."""


class Form(ObservedModel):
    """A file of reduced precision; variants that need the same one share it.

    Attributes:
        best: Of TensorRT's: the calibrator is the one whose outputs are closest to FP32's, not
            quantization's. Engines from either are equally fast, so quality alone decides.
    """

    kind: FormKind
    quantization: Quantization = Quantization()
    best: bool = False

    @property
    def of_torch(self) -> bool:
        """Whether it is made from the program, not from the ONNX model."""
        return self.kind.of_torch

    @property
    def needs_samples(self) -> bool:
        """Whether it cannot be made without calibration data."""
        if self.kind in _HALVES or self.kind in LINEAR:
            return False
        return needs_samples(self.quantization)

    @property
    def uses_samples(self) -> bool:
        """Whether calibration data bears on it: 16 bits of ONNX look for what would overflow."""
        return self.needs_samples or self.kind in (FormKind.ONNX_FP16, FormKind.ONNX_BF16)

    @property
    def gated(self) -> bool:
        """Whether gates may leave layers out of it."""
        return self.kind is FormKind.QDQ or self.kind.of_tensorrt

    @property
    def suffix(self) -> str:
        """How its file's name ends."""
        return ".pt2" if self.of_torch else ".onnx"

    def name(self, gates: Sequence[QualityGate] = ()) -> str:
        """Return what names its artifact: the same for the same file.

        Args:
            gates: The plan's, the same for all forms.
        """
        if self.kind in _HALVES:
            return _HALVES[self.kind]
        if self.kind is FormKind.QDQ:
            return artifact_name(self.quantization, gates)
        scales = "perchannel" if self.quantization.per_channel else "pertensor"
        parts = ["int8", "nncf"]
        if self.kind.of_tensorrt:
            calibrator = "best" if self.best else self.quantization.calibrator.lower()
            # FP8 has one scale for a weight in any case.
            int8 = self.kind is FormKind.TENSORRT_INT8
            parts = ["tensorrt", *(["int8", calibrator, scales] if int8 else ["fp8", calibrator])]
            parts += ["gated"] * bool(fallback_gates(self.quantization, list(gates)))
        elif self.kind is FormKind.TORCH_INT8:
            parts = ["torch", "int8", self.quantization.mode.lower(), scales]
        elif self.kind in LINEAR:
            precision = "int8" if self.kind is FormKind.TORCH_LINEAR_INT8 else "fp8"
            parts = ["torch", "linear", precision, scales]
        return "-".join([*parts, *excluded_part(self.quantization)])


def form_of(variant: Variant, kind: TargetKind = TargetKind.CPU) -> Form | None:
    """Return the form that a variant runs; None for the FP32 model or the model as it came.

    Args:
        kind: Of the target: PyTorch's INT8 is another one on a GPU.
    """
    if variant.precision is Precision.FP32:
        return None
    if variant.runtime is Runtime.PYTORCH:
        return _of_torch(variant, kind)
    if variant.precision in (Precision.INT8, Precision.FP8):
        return _quantized(variant)
    if variant.precision is Precision.FP16:
        return Form(kind=FormKind.ONNX_FP16)
    # OpenVINO computes in BF16 from the FP32 file.
    return Form(kind=FormKind.ONNX_BF16) if variant.runtime is Runtime.TENSORRT else None


def _of_torch(variant: Variant, kind: TargetKind) -> Form:
    kinds = {
        Precision.FP16: FormKind.TORCH_FP16,
        Precision.BF16: FormKind.TORCH_BF16,
        Precision.INT8: FormKind.TORCH_INT8,
        Precision.FP8: FormKind.TORCH_LINEAR_FP8,
    }
    if kind is TargetKind.GPU:
        kinds[Precision.INT8] = FormKind.TORCH_LINEAR_INT8
    quantization = variant.quantization or Quantization()
    return Form(kind=kinds[variant.precision], quantization=quantization)


def _quantized(variant: Variant) -> Form:
    quantization = variant.quantization or Quantization()
    if (
        variant.runtime is Runtime.TENSORRT
        or variant.execution_provider is ExecutionProvider.TENSORRT
    ):
        fp8 = variant.precision is Precision.FP8
        kind = FormKind.TENSORRT_FP8 if fp8 else FormKind.TENSORRT_INT8
        return Form(kind=kind, quantization=quantization, best=variant.quantization is None)
    nncf = quantization.method is QuantizationMethod.NNCF
    return Form(kind=FormKind.NNCF if nncf else FormKind.QDQ, quantization=quantization)
