"""Tensors combined with numbers that are computed from sizes, such as x * (2 / (width - 1)).

torch.onnx takes the number for a constant, and fails (torch 2.13: aten_mul_scalar and others).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Translation = Callable[..., Any]


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Return translations for torch.onnx.export's custom_translation_table."""
    import torch

    aten = torch.ops.aten
    return {
        aten.add.Scalar: _scaled("Add"),
        aten.sub.Scalar: _scaled("Sub"),
        aten.mul.Scalar: _plain("Mul"),
        aten.div.Scalar: _plain("Div"),
    }


def _plain(operator: str) -> Translation:
    from onnxscript import opset18 as op

    def translate(self: Any, other: Any) -> Any:
        return getattr(op, operator)(self, _like(self, other))

    return translate


def _scaled(operator: str) -> Translation:
    from onnxscript import opset18 as op

    def translate(self: Any, other: Any, alpha: Any = 1) -> Any:
        number = _like(self, other)
        if not isinstance(alpha, int | float) or alpha != 1:
            number = op.Mul(number, _like(self, alpha))
        return getattr(op, operator)(self, number)

    return translate


def _like(tensor: Any, number: Any) -> Any:
    """Return a number, or what is computed from sizes, as a value of a tensor's type."""
    import onnx_ir as ir
    from onnxscript import opset18 as op

    if isinstance(number, int | float):
        value: Any = ir.tensor(number, dtype=tensor.dtype)
        return op.Constant(value=value)
    return op.CastLike(number, tensor)
