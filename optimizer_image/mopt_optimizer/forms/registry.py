"""The kinds of forms: each has a row with its maker and what it depends on. Pure.

A maker is imported only when a form is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mopt_api.extensible import ExtensibleEnum

from . import names
from .names import Naming


class FormKind(ExtensibleEnum):
    """How a form is made, and from what."""

    ONNX_FP16 = "OnnxFP16"
    ONNX_BF16 = "OnnxBF16"
    QDQ = "QDQ"
    NNCF = "NNCF"
    WEIGHT_ONLY = "WeightOnly"
    TENSORRT_INT8 = "TensorRTINT8"
    TENSORRT_FP8 = "TensorRTFP8"
    TORCH_FP16 = "TorchFP16"
    TORCH_BF16 = "TorchBF16"
    TORCH_INT8 = "TorchINT8"
    TORCH_LINEAR_INT8 = "TorchLinearINT8"
    TORCH_LINEAR_FP8 = "TorchLinearFP8"


class MadeFrom(StrEnum):
    """What a form is made from: the prepared ONNX model, or the source model's program."""

    FP32 = "FP32"
    PROGRAM = "Program"


@dataclass(frozen=True)
class Maker:
    """How the forms of a kind are made.

    Attributes:
        make: MODULE:FUNCTION, called with the form's name, the Form, the Material and the path to
            write. Returns a QuantizationReport; raises as forms.make.make.
        made_from: FP32 or the program.
        suffix: Suffix of the file's name.
        name: Gives the name of its artifact.
        tools: Distributions whose versions affect the file: part of its cache key.
        calibrated: Whether it requires calibration data in mode Static. All are tried on samples.
        gated: Gates may exclude layers from it.
        saturates: Of full range its products may exceed 16 bits, so that CPUs of narrow sums get a
            file of their own; see mopt_api.auto.int8.
        modules: Required modules that a machine may lack.
    """

    make: str
    made_from: MadeFrom
    suffix: str
    name: Naming
    tools: tuple[str, ...]
    calibrated: bool = False
    gated: bool = False
    saturates: bool = False
    modules: tuple[str, ...] = ()


_ONNX = ("onnx", "onnx-ir", "onnxruntime")
# If ONNX Runtime lacks kernels for a file, OpenVINO tries it.
_ONNX_FLOAT = (*_ONNX, "openvino")
# torchao folds batch norms for 16-bit forms too.
_TORCHAO = ("torch", "torchao")


def _onnx_float(make: str, precision: str) -> Maker:
    return Maker(
        make=f"mopt_optimizer.forms.floats:{make}",
        made_from=MadeFrom.FP32,
        suffix=".onnx",
        name=names.fixed(precision),
        tools=_ONNX_FLOAT,
    )


def _tensorrt(name: Naming) -> Maker:
    return Maker(
        make="mopt_optimizer.forms.tensorrt:make_tensorrt",
        made_from=MadeFrom.FP32,
        suffix=".onnx",
        name=name,
        tools=_ONNX_FLOAT,
        calibrated=True,
        gated=True,
    )


def _torch(make: str, name: Naming, tools: tuple[str, ...]) -> Maker:
    return Maker(
        make=f"mopt_optimizer.forms.torch:{make}",
        made_from=MadeFrom.PROGRAM,
        suffix=".pt2",
        name=name,
        tools=tools,
    )


MAKERS: dict[FormKind, Maker] = {
    FormKind.ONNX_FP16: _onnx_float("make_fp16", "fp16"),
    FormKind.ONNX_BF16: _onnx_float("make_bf16", "bf16"),
    FormKind.QDQ: Maker(
        make="mopt_optimizer.forms.qdq:make_qdq",
        made_from=MadeFrom.FP32,
        suffix=".onnx",
        name=names.qdq,
        tools=_ONNX,
        calibrated=True,
        gated=True,
        saturates=True,
    ),
    FormKind.WEIGHT_ONLY: Maker(
        make="mopt_optimizer.forms.weights:make_weight_only",
        made_from=MadeFrom.FP32,
        suffix=".onnx",
        name=names.weight_only,
        tools=_ONNX,
    ),
    FormKind.NNCF: Maker(
        make="mopt_optimizer.forms.nncf:make_nncf",
        made_from=MadeFrom.FP32,
        suffix=".onnx",
        name=names.nncf,
        tools=(*_ONNX, "openvino", "nncf"),
        calibrated=True,
        gated=True,
        saturates=True,
        modules=("openvino", "nncf"),
    ),
    FormKind.TENSORRT_INT8: _tensorrt(names.tensorrt_int8),
    FormKind.TENSORRT_FP8: _tensorrt(names.tensorrt_fp8),
    FormKind.TORCH_FP16: _torch("make_fp16", names.fixed("torch-fp16"), _TORCHAO),
    FormKind.TORCH_BF16: _torch("make_bf16", names.fixed("torch-bf16"), _TORCHAO),
    FormKind.TORCH_INT8: Maker(
        make="mopt_optimizer.forms.torch:make_int8",
        made_from=MadeFrom.PROGRAM,
        suffix=".pt2",
        name=names.torch_int8,
        tools=_TORCHAO,
        calibrated=True,
        saturates=True,
        modules=("torchao",),
    ),
    FormKind.TORCH_LINEAR_INT8: _torch(
        "make_linear_int8", names.per_scales("torch", "linear", "int8"), ("torch",)
    ),
    FormKind.TORCH_LINEAR_FP8: _torch(
        "make_linear_fp8", names.per_scales("torch", "linear", "fp8"), ("torch",)
    ),
}
"""A new form takes a kind and a row here, beside its maker and the variants that run it."""
