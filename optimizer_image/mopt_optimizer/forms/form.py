"""The forms that prepare makes beside the FP32 model: names, and which variant runs which. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mopt_api.base import ObservedModel
from mopt_api.enums import (
    ExecutionProvider,
    FloatPrecision,
    Precision,
    QuantizationMethod,
    QuantizationMode,
    Runtime,
    TargetKind,
)
from mopt_api.jobs.aim import GateAim
from mopt_api.spec import QualityGate
from mopt_api.variants import Quantization, Variant

from . import names
from .names import needs_samples
from .registry import MAKERS, FormKind, MadeFrom, Maker

FP32 = "fp32"
SOURCE = "source"
"""Name that variants which run the source model itself map to; it has no artifact of its own."""


class Form(ObservedModel):
    """A file of reduced precision, shared by all variants that need it.

    Attributes:
        best: TensorRT only: ignore quantization's calibrator and use the one whose outputs are
            closest to FP32's. Engines are equally fast with either, so quality alone decides.
        aims: Of a second search, by what an earlier form missed; empty for any other.
        start: Nodes that stayed FP32 with other weights of the graph, which its search tries first.
        narrow_sums: For CPUs that add products in 16 bits, which it does not exceed; sound on all
            others too, with one bit less.
    """

    kind: FormKind
    quantization: Quantization = Quantization()
    best: bool = False
    aims: list[GateAim] = []
    start: list[str] = []
    narrow_sums: bool = False

    @property
    def maker(self) -> Maker:
        """How it is made."""
        return MAKERS[self.kind]

    @property
    def from_program(self) -> bool:
        """Whether it is made from the source model's program, not from the ONNX model."""
        return self.maker.made_from is MadeFrom.PROGRAM

    @property
    def needs_samples(self) -> bool:
        """Whether it requires calibration data."""
        return self.maker.calibrated and needs_samples(self.quantization)

    @property
    def gated(self) -> bool:
        """Whether gates may exclude layers from it."""
        return self.maker.gated

    @property
    def suffix(self) -> str:
        """Suffix of its file's name."""
        return self.maker.suffix

    def name(self, gates: Sequence[QualityGate] = ()) -> str:
        """Return the name of its artifact: the same for the same file.

        Args:
            gates: The plan's, the same for all forms.
        """
        name = self.maker.name(self.quantization, gates, self.best)
        name = f"{name}-narrow" if self.narrow_sums else name
        return names.aimed(name, self.aims) if self.aims else name

    def for_narrow_sums(self) -> Form:
        """Return the form for CPUs that add products in 16 bits; itself where they compute it
        soundly."""
        return self.model_copy(update={"narrow_sums": True}) if self.maker.saturates else self

    def aimed(self, aims: Sequence[GateAim]) -> Form:
        """Return the form of a second search; itself where gates do not affect it."""
        return self.model_copy(update={"aims": list(aims)}) if self.gated and aims else self

    def starting(self, start: Sequence[str]) -> Form:
        """Return the form whose search tries these nodes in FP32 first; itself where there is no
        search, or a second one, which knows better."""
        if not start or not self.gated or self.aims:
            return self
        return self.model_copy(update={"start": list(start)})


def form_of(
    variant: Variant, kind: TargetKind = TargetKind.CPU, *, narrow_sums: bool = False
) -> Form | None:
    """Return the form that a variant runs; None for the FP32 model or the source model.

    Args:
        kind: Of the target: on a GPU, PyTorch has another INT8 form.
        narrow_sums: Its CPU adds products in 16 bits; no matter on a GPU.
    """
    if variant.precision is Precision.FP32:
        return None
    form = FORM_RULES.get(variant.runtime, _onnx)(variant, kind)
    if form is None or not narrow_sums or kind is not TargetKind.CPU:
        return form
    return form.for_narrow_sums()


FormRule = Callable[[Variant, TargetKind], Form | None]


def _torch(variant: Variant, kind: TargetKind) -> Form:
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


def _tensorrt(variant: Variant, kind: TargetKind) -> Form:  # noqa: ARG001 - of PyTorch alone
    kinds = {
        Precision.FP16: FormKind.ONNX_FP16,
        Precision.BF16: FormKind.ONNX_BF16,
        Precision.INT8: FormKind.TENSORRT_INT8,
        Precision.FP8: FormKind.TENSORRT_FP8,
    }
    if variant.precision in (Precision.FP16, Precision.BF16):
        return Form(kind=kinds[variant.precision])
    return Form(
        kind=kinds[variant.precision],
        quantization=variant.quantization or Quantization(),
        best=variant.quantization is None,
    )


def _onnx(variant: Variant, kind: TargetKind) -> Form | None:
    """Return the form for runtimes that open ONNX files: ONNX Runtime, OpenVINO."""
    if variant.precision is Precision.FP16:
        return Form(kind=FormKind.ONNX_FP16)
    if variant.precision is Precision.BF16:
        return None  # OpenVINO computes in BF16 from the FP32 file.
    quantization = variant.quantization or Quantization()
    weights_alone = quantization.mode is QuantizationMode.WEIGHT_ONLY
    if variant.execution_provider is ExecutionProvider.TENSORRT and not weights_alone:
        return _tensorrt(variant, kind)
    # What runs beside INT8 is an option of the runtime: the file is the same.
    quantization = quantization.model_copy(update={"float_precision": FloatPrecision.FP32})
    if weights_alone:
        return Form(kind=FormKind.WEIGHT_ONLY, quantization=quantization)
    nncf = quantization.method is QuantizationMethod.NNCF
    return Form(kind=FormKind.NNCF if nncf else FormKind.QDQ, quantization=quantization)


FORM_RULES: dict[Runtime, FormRule] = {Runtime.PYTORCH: _torch, Runtime.TENSORRT: _tensorrt}
"""Form of a runtime's reduced-precision variants; a runtime without a row opens ONNX files."""
