"""INT8 by torchao's PT2E: observers in the captured graph, then Q/DQ nodes with real scales."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import fx, nn

from mopt_optimizer.errors import CalibrationError, QuantizationError, SpecError, first_line

from .capturing import (
    CALL_FAILURES,
    drop_unused_weights,
    explain_non_finite,
    is_finite,
    module_name,
    quiet,
    run_sample,
    torchao,
)
from .config import Backend
from .sampling import Args

# Of torchao's recipes: scales below this are raised to it.
_SMALLEST_SCALE = 2**-12


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How INT8 is done.

    Attributes:
        dynamic: Activations of Linear are scaled on each call, and Conv2d keeps FP32 ones.
        reduced_range: Activations in 7 bits.
        excluded: Names of modules that stay FP32.
    """

    backend: Backend
    dynamic: bool
    per_channel: bool
    reduced_range: bool
    excluded: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where the weights of Conv and Linear ended; module names in graph order."""

    quantized: tuple[str, ...]
    weight_only: tuple[str, ...]
    kept: tuple[str, ...]


def excluded_modules(graph_module: fx.GraphModule, patterns: Iterable[str]) -> tuple[str, ...]:
    """Return the modules in the graph that a pattern names, directly or by what contains them.

    Raises:
        SpecError: A pattern that names none; lists the modules.
    """
    found = dict.fromkeys(module_name(node) for node in graph_module.graph.nodes)
    names = [name for name in found if name]
    return select_names(names, patterns)


def select_names(names: list[str], patterns: Iterable[str]) -> tuple[str, ...]:
    """Return the names that a pattern matches as a whole or up to a dot.

    Raises:
        SpecError: A pattern that matches none; lists the names.
    """
    selected: dict[str, None] = {}
    for pattern in patterns:
        matched = [name for name in names if _matches(name, pattern)]
        if not matched:
            shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
            raise SpecError(f"exclude {pattern!r} matches no module; there are {shown}")
        selected.update(dict.fromkeys(matched))
    return tuple(selected)


def _matches(name: str, pattern: str) -> bool:
    parts = name.split(".")
    return any(fnmatchcase(".".join(parts[:count]), pattern) for count in range(1, len(parts) + 1))


def observed(graph_module: fx.GraphModule, recipe: Recipe) -> fx.GraphModule:
    """Return the graph with an observer at each value that gets a scale."""
    prepare_pt2e = torchao("quantize_pt2e").prepare_pt2e
    _name_sources(graph_module)
    with quiet():
        try:
            prepared: fx.GraphModule = prepare_pt2e(graph_module, _quantizer(recipe))
        except CALL_FAILURES as error:
            raise QuantizationError(f"torchao cannot prepare it: {first_line(error)}") from error
    return prepared


def _name_sources(graph_module: fx.GraphModule) -> None:
    """Say of each operator which layer it is of, where that is one of torch.nn's.

    torchao finds Conv2d and Linear by that. No torch writes it where it captures without tracing
    Python; 2.15 looks it up as here, 2.11 does not.
    """
    for node in graph_module.graph.nodes:
        stack = node.meta.get("nn_module_stack")
        if node.op != "call_function" or not stack or "source_fn_stack" in node.meta:
            continue
        path, kind = list(stack.values())[-1]
        name = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
        layer = getattr(nn, name.rpartition(".")[2], None)
        if isinstance(layer, type) and name == f"{layer.__module__}.{layer.__name__}":
            node.meta["source_fn_stack"] = [(path, layer)]


def calibrate(
    prepared: fx.GraphModule, graph_module: fx.GraphModule, samples: Iterable[Args]
) -> int:
    """Run each sample through the observers, and return how many there were.

    Args:
        graph_module: The same graph without observers, to find where a sample goes wrong.

    Raises:
        CalibrationError: Names the sample, and the module whose output is not finite.
    """
    count = 0
    for args in samples:
        what = f"calibration sample {count}"
        try:
            finite = is_finite(run_sample(prepared, args, what))
        except CalibrationError as error:
            # An observer cannot count infinite values.
            if where := _non_finite(graph_module, args):
                raise CalibrationError(_not_finite(what, where)) from error
            raise
        if not finite:
            where = _non_finite(graph_module, args) or "the output"
            raise CalibrationError(_not_finite(what, where))
        count += 1
    return count


def _not_finite(what: str, where: str) -> str:
    return f"{what}: {where} gives NaN or infinity; leave the sample out or correct the model"


def _non_finite(graph_module: fx.GraphModule, args: Args) -> str | None:
    try:
        return explain_non_finite(graph_module, args)
    except CALL_FAILURES:  # The sample is not for this model: the caller's error says so.
        return None


def converted(prepared: fx.GraphModule) -> fx.GraphModule:
    """Return the observed graph with its scales in Q/DQ nodes and its weights in INT8.

    Raises:
        QuantizationError
    """
    convert_pt2e = torchao("quantize_pt2e").convert_pt2e
    with quiet():
        try:
            result: fx.GraphModule = convert_pt2e(prepared)
        except (*CALL_FAILURES, AttributeError) as error:
            raise QuantizationError(f"torchao cannot convert it: {first_line(error)}") from error
    drop_unused_weights(result)
    return result


def _quantizer(recipe: Recipe) -> Any:
    if recipe.backend is Backend.QNNPACK:
        arm_inductor_quantizer = torchao("quantizer.arm_inductor_quantizer")
        quantizer = arm_inductor_quantizer.ArmInductorQuantizer()
        settings = arm_inductor_quantizer.get_default_arm_inductor_quantization_config(
            is_dynamic=recipe.dynamic
        )
    else:
        x86_inductor_quantizer = torchao("quantizer.x86_inductor_quantizer")
        quantizer = x86_inductor_quantizer.X86InductorQuantizer()
        settings = x86_inductor_quantizer.get_default_x86_inductor_quantization_config(
            is_dynamic=recipe.dynamic, reduce_range=recipe.reduced_range
        )
    if not recipe.per_channel:
        settings = dataclasses.replace(settings, weight=_per_tensor(settings.weight))
    quantizer.set_global(settings)
    if recipe.dynamic:
        # No kernel scales a convolution's input on each call: emulated, it is slower than FP32.
        weights_only = dataclasses.replace(settings, input_activation=None)
        quantizer.set_module_type_qconfig(nn.Conv2d, weights_only)
    for name in recipe.excluded:
        quantizer.set_module_name_qconfig(name, None)
    return quantizer


def _per_tensor(spec: Any) -> Any:
    minimum = torchao("observer").MinMaxObserver.with_args(eps=_SMALLEST_SCALE)
    return dataclasses.replace(
        spec,
        qscheme=torch.per_tensor_symmetric,
        ch_axis=None,
        observer_or_fake_quant_ctr=minimum,
    )


_WITH_WEIGHT = ("conv", "linear")


def placement(graph_module: fx.GraphModule) -> Placement:
    """Return which modules of a converted graph compute in which type."""
    quantized: dict[str, None] = {}
    weight_only: dict[str, None] = {}
    kept: dict[str, None] = {}
    for node in graph_module.graph.nodes:
        if not _operator(node).startswith(_WITH_WEIGHT):
            continue
        name = module_name(node) or node.name
        if not _operator(node.args[1]).startswith("dequantize"):
            kept[name] = None
        elif _operator(node.args[0]).startswith("dequantize"):
            quantized[name] = None
        else:
            weight_only[name] = None
    return Placement(tuple(quantized), tuple(weight_only), tuple(kept))


def expand_weights(graph_module: fx.GraphModule) -> None:
    """Turn weights that FP32 arithmetic uses back into FP32, once instead of on each call.

    Inductor does not fold them by itself: it keeps what may belong to an INT8 kernel.
    """
    expanded: list[fx.Node] = []
    for node in graph_module.graph.nodes:
        if not _operator(node).startswith(_WITH_WEIGHT):
            continue
        activation, weight = node.args[0], node.args[1]
        weight_only = _operator(weight).startswith("dequantize") and not _operator(
            activation
        ).startswith("dequantize")
        if weight_only and weight not in expanded:
            expanded.append(weight)
    for number, weight in enumerate(expanded):
        dequantize: Any = weight.target
        values = [_constant(graph_module, argument) for argument in weight.args]
        name = f"_expanded_weight_{number}"
        graph_module.register_buffer(name, dequantize(*values, **weight.kwargs))
        with graph_module.graph.inserting_before(weight):
            constant = graph_module.graph.get_attr(name)
        weight.replace_all_uses_with(constant)
        graph_module.graph.erase_node(weight)
    if expanded:
        drop_unused_weights(graph_module)


def _constant(graph_module: fx.GraphModule, argument: Any) -> Any:
    if not isinstance(argument, fx.Node):
        return argument
    owner, _, leaf = str(argument.target).rpartition(".")
    return getattr(graph_module.get_submodule(owner), leaf)


def _operator(node: Any) -> str:
    if isinstance(node, fx.Node) and isinstance(node.target, torch._ops.OpOverload):
        return str(node.target._opname)
    return ""
