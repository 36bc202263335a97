"""Traces a module or a program for export."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mopt_optimizer.errors import (
    BaselineError,
    DimensionError,
    ExportError,
    ModelError,
    SpecError,
    first_line,
)
from mopt_optimizer.onnx_files.verify import Arrays

from .signatures import DynamicAxes, Leaf, Signature, apply_dynamic_axes, apply_dynamic_shapes, bind
from .sizes import Bounds, Reference, Refused, TracedInput

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram

_RUN_ERRORS = (RuntimeError, AssertionError, ValueError, TypeError, IndexError, NotImplementedError)


@dataclass
class Traced:
    """A model that is ready to be written.

    Attributes:
        model: An ExportedProgram, or a TorchScript module.
        names: Size symbol to the caller's name.
        module: What eager runs.
        args: Positional example tensors, no dynamic size 1; None if forward takes other arguments
            too.
        reference: The model in PyTorch.
    """

    model: ExportedProgram | torch.jit.ScriptModule
    inputs: list[TracedInput]
    bounds: dict[str, Bounds]
    names: dict[str, str]
    module: torch.nn.Module
    args: tuple[torch.Tensor, ...] | None
    reference: Reference


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Put a module in eval mode; on exit, restore the mode of each submodule."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def arrays_of(result: Any) -> tuple[NDArray[Any], ...]:
    """Return a model's output tensors in order, skipping None.

    Raises:
        ExportError: The model returns something other than tensors.
    """
    import torch

    found = []
    for leaf in torch.utils._pytree.tree_leaves(result):
        if leaf is None:
            continue
        if not isinstance(leaf, torch.Tensor):
            raise ExportError(f"the model returns a {type(leaf).__name__}; ONNX has tensors only")
        # numpy has no bfloat16.
        leaf = leaf.float() if leaf.dtype is torch.bfloat16 else leaf
        found.append(leaf.detach().cpu().numpy())
    return tuple(found)


def flat_arguments(args: Any, kwargs: Mapping[str, Any] | None) -> tuple[tuple[Any, ...], dict]:  # type: ignore[type-arg]
    """Return a dummy input as forward's args and kwargs.

    A tuple holds the positional arguments, a dict the keyword arguments; a tensor or a list is the
    only argument.
    """
    if isinstance(args, dict):
        return (), {**args, **(kwargs or {})}
    return args if isinstance(args, tuple) else (args,), dict(kwargs or {})


def enlarged(leaf: Leaf) -> torch.Tensor:
    """Return the example without dynamic sizes of 0 or 1, which torch.export would make static.

    Such sizes become 2; values are sampled from the example's.
    """
    import torch

    shape = [max(s, 2) if axis in leaf.axes else s for axis, s in enumerate(leaf.tensor.shape)]
    if list(leaf.tensor.shape) == shape:
        return leaf.tensor
    if not leaf.tensor.numel():
        return torch.zeros(shape, dtype=leaf.tensor.dtype)
    generator = torch.Generator().manual_seed(0)
    flat = leaf.tensor.reshape(-1)
    picked = torch.randint(len(flat), (int(np.prod(shape)),), generator=generator)
    return flat[picked].reshape(shape)


def trace_module(
    model: torch.nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    dynamic_axes: DynamicAxes | None,
    dynamic_shapes: Any,
    input_names: Sequence[str] | None,
    output_names: Sequence[str],
) -> Traced:
    """Trace a module with torch.export, without specializing on the example.

    Raises:
        SpecError: The arguments do not match forward.
        DimensionError: An axis that cannot be dynamic.
        BaselineError: It does not run on the example.
        ExportError: torch.export cannot trace it.
    """

    signature = bind(model.forward, args, kwargs)
    own = [leaf.name for leaf in signature.leaves]
    rename_inputs(signature.leaves, input_names, dynamic_axes)
    apply_dynamic_axes(signature.leaves, dynamic_axes or {}, output_names)
    if dynamic_shapes is not None:
        apply_dynamic_shapes(signature, dynamic_shapes)

    def call(tensors: Mapping[str, torch.Tensor]) -> Any:
        call_args, call_kwargs = signature.call_with(tensors)
        return model(*call_args, **call_kwargs)

    reference = reference_of(call)
    try:
        reference({leaf.name: leaf.tensor.numpy() for leaf in signature.leaves})
    except Refused as error:
        raise BaselineError(f"the model fails on dummy_input: {error}") from error
    examples = {leaf.name: enlarged(leaf) for leaf in signature.leaves}
    program = _export(model, signature, examples)
    user_inputs = list(program.graph_signature.user_inputs)
    if len(user_inputs) != len(own):
        raise ExportError(f"torch.export keeps the inputs {user_inputs} of {own}")
    plain = len(args) == len(signature.leaves) and not kwargs
    positional = tuple(examples.values()) if plain else None
    return _traced_program(program, signature.leaves, reference, model, positional)


def rename_inputs(
    leaves: Sequence[Leaf], names: Sequence[str] | None, axes: DynamicAxes | None
) -> None:
    """Give inputs the caller's names.

    Without names, a single input is called "input" if dynamic_axes calls it so.

    Raises:
        SpecError: The number of names is not the number of inputs.
    """
    if names is not None:
        if len(names) != len(leaves):
            raise SpecError(
                f"input_names has {len(names)} names for the {len(leaves)} inputs "
                + ", ".join(leaf.name for leaf in leaves)
            )
        for leaf, name in zip(leaves, names, strict=True):
            leaf.name = name
    elif len(leaves) == 1 and "input" in (axes or {}):
        leaves[0].name = "input"


def _export(
    model: torch.nn.Module, signature: Signature, tensors: Mapping[str, torch.Tensor]
) -> ExportedProgram:
    import torch

    args, kwargs = signature.call_with(tensors)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own deprecation warnings
        try:
            return torch.export.export(
                model, args, kwargs, dynamic_shapes=signature.dynamic_shapes()
            )
        except torch._dynamo.exc.UserError as error:
            if "constraint" in str(error).lower() or "dynamic" in str(error).lower():
                raise DimensionError(_dimension_message(error)) from error
            raise ExportError(f"torch.export cannot trace it: {first_line(error)}") from error
        except ValueError as error:
            # The requested axes conflict with what the model accepts.
            raise DimensionError(_dimension_message(error)) from error
        except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
            raise ExportError(f"torch.export cannot trace it: {first_line(error)}") from error


def _dimension_message(error: Exception) -> str:
    lines = [line.strip(" -") for line in str(error).splitlines() if line.strip()]
    return "a dynamic axis is not possible: " + " ".join(lines[:3])[:600]


def reference_of(call: Callable[[Mapping[str, torch.Tensor]], Any]) -> Reference:
    import torch

    def reference(arrays: Arrays) -> tuple[NDArray[Any], ...]:
        # Copies: a model may change its inputs in place.
        tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
        with torch.no_grad():
            try:
                return arrays_of(call(tensors))
            except _RUN_ERRORS as error:
                raise Refused(first_line(error)) from error

    return reference


def trace_program(
    program: ExportedProgram,
    args: tuple[Any, ...] | None,
    kwargs: Mapping[str, Any],
    *,
    dynamic_axes: DynamicAxes | None,
    input_names: Sequence[str] | None,
    output_names: Sequence[str],
) -> Traced:
    """Prepare an ExportedProgram; its dynamic axes were decided when it was exported.

    Args:
        args: None takes the inputs that the program was exported with.

    Raises:
        SpecError: No example inputs, or they do not match.
        DimensionError: The program fixes an axis that should be dynamic.
        BaselineError: It does not run on the example.
    """
    import torch

    if args is None:
        if program.example_inputs is None:
            raise SpecError("the program has no example inputs: pass dummy_input")
        args, kwargs = program.example_inputs
    tensors = torch.utils._pytree.tree_leaves((args, dict(kwargs)))
    names = [str(name) for name in program.graph_signature.user_inputs]
    if len(tensors) != len(names) or not all(isinstance(t, torch.Tensor) for t in tensors):
        raise SpecError(f"dummy_input holds {len(tensors)} values for the inputs {names}")
    leaves = [Leaf(name, tensor.detach()) for name, tensor in zip(names, tensors, strict=True)]
    rename_inputs(leaves, input_names, dynamic_axes)
    apply_dynamic_axes(leaves, dynamic_axes or {}, output_names)
    module = program.module()
    structure = torch.utils._pytree.tree_structure((args, dict(kwargs)))

    def call(values: Mapping[str, torch.Tensor]) -> Any:
        flat = [values[leaf.name] for leaf in leaves]
        call_args, call_kwargs = torch.utils._pytree.tree_unflatten(flat, structure)
        return module(*call_args, **call_kwargs)

    reference = reference_of(call)
    try:
        reference({leaf.name: leaf.tensor.numpy() for leaf in leaves})
    except Refused as error:
        raise BaselineError(f"the model fails on dummy_input: {error}") from error
    plain = len(args) == len(leaves) and not kwargs
    positional = tuple(enlarged(leaf) for leaf in leaves) if plain else None
    return _traced_program(program, leaves, reference, module, positional)


def _traced_program(
    program: ExportedProgram,
    leaves: Sequence[Leaf],
    reference: Reference,
    module: torch.nn.Module,
    args: tuple[torch.Tensor, ...] | None,
) -> Traced:
    """Return a traced program, its dynamic sizes under the caller's names."""
    import torch

    placeholders = {node.name: node for node in program.graph.find_nodes(op="placeholder")}
    inputs: list[TracedInput] = []
    names: dict[str, str] = {}
    for own, leaf in zip(program.graph_signature.user_inputs, leaves, strict=True):
        value = placeholders[str(own)].meta.get("val")
        if not isinstance(value, torch.Tensor):
            raise ModelError(f"input {own} is not a tensor")
        shape = []
        for axis, size in enumerate(value.shape):
            dynamic = leaf.axes.get(axis)
            where = f"axis {axis} of input {leaf.name}"
            if not isinstance(size, torch.SymInt):
                shape.append(int(size))
                if dynamic is not None and dynamic.required:
                    raise DimensionError(
                        f"{where} is to be dynamic, but the model fixes it to {size}"
                    )
                continue
            expression = size.node.expr
            shape.append(expression)
            label = (dynamic and dynamic.name) or f"{leaf.name}_axis{axis}"
            given = names.setdefault(str(expression), label)
            if dynamic is not None and dynamic.name is not None and given != label:
                if given != f"{leaf.name}_axis{axis}" and not _is_default(given, leaves):
                    raise DimensionError(
                        f"{where} is {label}, but the model ties it to {given}: "
                        "give both the same name"
                    )
                names[str(expression)] = label
            if dynamic is not None and dynamic.name is not None:
                names |= _root(expression, dynamic.name)
        inputs.append(TracedInput(leaf.name, tuple(shape), leaf.tensor.numpy()))
    return Traced(
        model=program,
        inputs=inputs,
        bounds=_bounds(program),
        names=names,
        module=module,
        args=args,
        reference=_guarded(program, [leaf.name for leaf in leaves], reference),
    )


def _root(expression: Any, label: str) -> dict[str, str]:
    """Return the caller's name of the size in a derived one: of s16 where 4*s16 is 4*h."""
    symbols = sorted(map(str, expression.free_symbols))
    named = re.findall(r"[A-Za-z_]\w*", label)
    if expression.is_Symbol or len(symbols) != 1 or len(named) != 1:
        return {}
    return {symbols[0]: named[0]}


def _is_default(name: str, leaves: Sequence[Leaf]) -> bool:
    return any(name.startswith(f"{leaf.name}_axis") for leaf in leaves)


def _bounds(program: ExportedProgram) -> dict[str, Bounds]:
    bounds = {}
    for symbol, limits in program.range_constraints.items():
        low = int(limits.lower) if limits.lower.is_Integer else 0
        high = int(limits.upper) if limits.upper.is_Integer else None
        bounds[str(symbol)] = Bounds(low, high)
    return bounds


def _guarded(program: ExportedProgram, names: Sequence[str], reference: Reference) -> Reference:
    """Return a reference that rejects sizes for which the trace is not valid."""
    import torch

    guards = getattr(program.module(), "_guards_fn", None)
    if guards is None:
        return reference

    def checked(arrays: Arrays) -> tuple[NDArray[Any], ...]:
        try:
            guards(*(torch.from_numpy(arrays[name]) for name in names))
        except AssertionError as error:
            raise Refused(first_line(error)) from error
        return reference(arrays)

    return checked
