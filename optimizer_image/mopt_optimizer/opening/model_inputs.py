"""The inputs that an opened model has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mopt_optimizer.errors import ModelError

from .inputs import TEXT, Axis, ModelInput

if TYPE_CHECKING:
    import onnx
    from torch.export import ExportedProgram


def program_inputs(program: ExportedProgram) -> list[ModelInput]:
    """Return the inputs of a program.

    Raises:
        ModelError: An input that is not a tensor.
    """
    import torch

    names = set(program.graph_signature.user_inputs)
    inputs = []
    for node in program.graph.find_nodes(op="placeholder"):
        if node.name not in names:
            continue
        value = node.meta.get("val")
        if not isinstance(value, torch.Tensor):
            raise ModelError(f"input {node.name} is not a tensor")
        axes = tuple(_program_axis(size, program) for size in value.shape)
        inputs.append(ModelInput(node.name, str(value.dtype).removeprefix("torch."), axes))
    return inputs


def _program_axis(size: object, program: ExportedProgram) -> Axis:
    import sympy  # type: ignore[import-untyped]
    import torch

    if not isinstance(size, torch.SymInt):
        return Axis(size=int(str(size)))
    expression = size.node.expr
    factor, symbol = expression.as_coeff_Mul()
    multiple = int(factor) if factor.is_Integer and factor > 1 else None
    if not isinstance(symbol, sympy.Symbol):
        return Axis(symbol=str(expression))
    limits = program.range_constraints.get(symbol)
    if limits is None:
        return Axis(symbol=str(expression), multiple_of=multiple)
    # torch writes 0 or 2 where it only means "not specialized"; at run time 1 is taken as well.
    minimum = int(limits.lower) if limits.lower.is_Integer and int(limits.lower) > 2 else None
    maximum = int(limits.upper) if limits.upper.is_Integer else None
    scale = multiple or 1
    return Axis(
        symbol=str(expression),
        minimum=minimum and minimum * scale,
        maximum=maximum and maximum * scale,
        multiple_of=multiple,
    )


def onnx_inputs(model: onnx.ModelProto) -> list[ModelInput]:
    """Return the inputs of an ONNX model, without weights that are listed as inputs too.

    Raises:
        ModelError: An input that is not a tensor of known rank.
    """
    import onnx

    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = []
    for value in model.graph.input:
        if value.name in weights:
            continue
        if not value.type.HasField("tensor_type") or not value.type.tensor_type.HasField("shape"):
            raise ModelError(f"input {value.name} is not a tensor of known rank")
        tensor = value.type.tensor_type
        axes = tuple(
            Axis(size=d.dim_value) if d.HasField("dim_value") else Axis(symbol=d.dim_param or None)
            for d in tensor.shape.dim
        )
        text = tensor.elem_type == onnx.TensorProto.STRING
        dtype = TEXT if text else onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
        inputs.append(ModelInput(value.name, dtype, axes))
    return inputs
