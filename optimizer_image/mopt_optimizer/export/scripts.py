"""Prepares a TorchScript module for export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mopt_optimizer.errors import BaselineError, SpecError

from .signatures import DynamicAxes, Leaf, apply_dynamic_axes
from .sizes import Refused, TracedInput
from .tracing import Traced, enlarged, reference_of, rename_inputs

if TYPE_CHECKING:
    import torch


def flat_outputs(
    model: torch.jit.ScriptModule, args: tuple[torch.Tensor, ...]
) -> torch.jit.ScriptModule:
    """Return a module whose outputs are a tuple, where they are a dict, which ONNX has not."""
    import torch

    returns = model.forward.schema.returns  # type: ignore[attr-defined]
    if not any("Dict[" in str(value.type.annotation_str) for value in returns):
        return model

    class Flat(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return tuple(torch.utils._pytree.tree_leaves(self.model(*tensors)))

    # Tracing takes over a script's graph as it is: no size becomes a constant.
    found: torch.jit.ScriptModule = torch.jit.trace(  # type: ignore[no-untyped-call]
        Flat(), args, check_trace=False
    )
    return found


def trace_script(
    model: torch.jit.ScriptModule,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    dynamic_axes: DynamicAxes | None,
    input_names: Sequence[str] | None,
    output_names: Sequence[str],
) -> Traced:
    """Prepare a TorchScript module; its dynamic axes are declared to the exporter.

    Raises:
        SpecError: The arguments do not match forward, or are not tensors.
        DimensionError: An input or axis that does not exist.
        BaselineError: It does not run on the example.
    """
    import sympy  # type: ignore[import-untyped]
    import torch

    schema = model.forward.schema  # type: ignore[attr-defined]
    parameters = [argument.name for argument in schema.arguments[1:]]
    if len(args) + len(kwargs) > len(parameters) or set(kwargs) - set(parameters):
        raise SpecError(f"dummy_input does not fit forward({', '.join(parameters)})")
    values = dict(zip(parameters, args, strict=False)) | dict(kwargs)
    if not all(isinstance(value, torch.Tensor) for value in values.values()) or not values:
        raise SpecError("TorchScript is exported with tensors as inputs only")
    order = [name for name in parameters if name in values]
    leaves = [Leaf(name, values[name].detach()) for name in order]
    rename_inputs(leaves, input_names, dynamic_axes)
    apply_dynamic_axes(leaves, dynamic_axes or {}, output_names)

    def call(tensors: Mapping[str, torch.Tensor]) -> Any:
        return model(**{own: tensors[leaf.name] for own, leaf in zip(order, leaves, strict=True)})

    reference = reference_of(call)
    try:
        reference({leaf.name: leaf.tensor.numpy() for leaf in leaves})
    except Refused as error:
        raise BaselineError(f"the model fails on dummy_input: {error}") from error
    inputs = []
    for leaf in leaves:
        shape: list[Any] = list(leaf.tensor.shape)
        for axis, dynamic in leaf.axes.items():
            shape[axis] = sympy.Symbol(dynamic.name or f"{leaf.name}_axis{axis}")
        inputs.append(TracedInput(leaf.name, tuple(shape), leaf.tensor.numpy()))
    symbols = {str(s) for i in inputs for s in i.shape if not isinstance(s, int)}
    return Traced(
        model=model,
        inputs=inputs,
        bounds={},
        names={symbol: symbol for symbol in symbols},
        module=model,
        args=tuple(enlarged(leaf) for leaf in leaves),
        reference=reference,
    )
