"""A module as a graph with free sizes, and what can be read from that graph."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch
from torch import fx, nn
from torch.export import ExportedProgram

from mopt_optimizer.errors import (
    CalibrationError,
    ExportError,
    NonFiniteWeight,
    SpecError,
    first_line,
)

from .normalized import copied, fold_norms
from .reports import InputSignature
from .sampling import Args

# torchao's own kernels are for other machines and other recipes; loading them only warns here.
os.environ.setdefault("TORCHAO_FORCE_SKIP_LOADING_SO_FILES", "1")

# What a forward raises on inputs that are not for it.
CALL_FAILURES = (RuntimeError, ValueError, TypeError, AssertionError, IndexError, KeyError)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep torch's warnings about its own internals away: they are not about the model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def torchao(name: str) -> Any:
    """Return a module of torchao's PT2E; its first import warns about torchao's own code."""
    with quiet():
        return import_module(f"torchao.quantization.pt2e.{name}")


def float_copy(model: nn.Module | ExportedProgram) -> nn.Module:
    """Return a copy of the model to work on, ready for inference; the caller's is left alone.

    Raises:
        NonFiniteWeight: Names the parameter.
    """
    with quiet():
        module = model.module() if isinstance(model, ExportedProgram) else model
        module = copied(module)
    if not isinstance(module, fx.GraphModule) or "eval" not in vars(module):
        # An exported module has its mode baked in and refuses eval().
        module.eval()
    with quiet():
        fold_norms(module)
    check_finite_weights(module)
    return module.requires_grad_(False)


def check_finite_weights(module: nn.Module, because: str = "") -> None:
    """Raise where a parameter holds NaN or infinity, or a buffer NaN (masks hold -inf).

    Raises:
        NonFiniteWeight
    """
    held: list[tuple[str, torch.Tensor, bool]] = [
        (n, p, True) for n, p in module.named_parameters()
    ]
    held += [(n, b, False) for n, b in module.named_buffers()]
    for name, tensor, is_parameter in held:
        if not tensor.is_floating_point():
            continue
        bad = ~torch.isfinite(tensor) if is_parameter else torch.isnan(tensor)
        if count := int(bad.sum()):
            kind = "parameter" if is_parameter else "buffer"
            raise NonFiniteWeight(
                f"{kind} {name}: {count} of {tensor.numel()} values are NaN or infinity{because}"
            )


def input_names(module: nn.Module) -> tuple[list[str], int]:
    """Return the inputs of forward in order, and how many of them have no default.

    Raises:
        SpecError: Forward takes *args, **kwargs or keyword-only inputs.
    """
    parameters = inspect.signature(module.forward).parameters.values()
    odd = [p.name for p in parameters if p.kind is not p.POSITIONAL_OR_KEYWORD]
    if odd or not parameters:
        what = ", ".join(odd) or "no input"
        raise SpecError(
            f"forward of {type(module).__name__} takes {what}; wrap the model in a module whose "
            "forward names its input tensors"
        )
    required = sum(p.default is p.empty for p in parameters)
    return [p.name for p in parameters], required


def capture(module: nn.Module, args: Args, *, dynamic: bool) -> ExportedProgram:
    """Return the module as a graph.

    Args:
        dynamic: Leave sizes free where the module allows it. An example with a batch of 1 is
            doubled for that, because torch would fix the 1.

    Raises:
        ExportError: torch cannot capture it.
    """
    example = _doubled(module, args) if dynamic else args
    # Plain integers and 0-dimensional tensors have no size.
    free = tuple(dict.fromkeys(range(a.ndim), torch.export.Dim.AUTO) or None for a in example)
    with quiet(), torch.no_grad():
        try:
            program = torch.export.export(module, example, dynamic_shapes=free if dynamic else None)
        except (*CALL_FAILURES, AttributeError, NotImplementedError) as error:
            raise ExportError(f"torch.export cannot capture it: {first_line(error)}") from error
        except torch._dynamo.exc.TorchDynamoException as error:
            raise ExportError(f"torch.export cannot capture it: {first_line(error)}") from error
    for node in program.graph.nodes:
        # Paths of this machine, and half of the file of a small INT8 model.
        for key in ("stack_trace", "from_node", "torch_fn", "source_fn_stack"):
            node.meta.pop(key, None)
    return program


def _doubled(module: nn.Module, args: Args) -> Args:
    batched = [a.ndim > 0 and a.shape[0] == 1 for a in args]
    if not any(batched):
        return args
    double = tuple(torch.cat([a, a]) if b else a for a, b in zip(args, batched, strict=True))
    try:
        with torch.no_grad():
            module(*double)
    except CALL_FAILURES:  # Its batch is really 1; the graph is then made for 1.
        return args
    return double


def signature(program: ExportedProgram) -> tuple[InputSignature, ...]:
    """Return the inputs of a program."""
    names = set(program.graph_signature.user_inputs)
    found = []
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if node.op == "placeholder" and node.name in names and isinstance(value, torch.Tensor):
            # A size that the graph fixed may still be a symbol, of a constant.
            shape = tuple(int(s) if str(s).isdigit() else str(s) for s in value.shape)
            dtype = str(value.dtype).removeprefix("torch.")
            found.append(InputSignature(name=node.name, dtype=dtype, shape=shape))
    return tuple(found)


def module_name(node: fx.Node) -> str | None:
    """Return the innermost module that a captured node came from; None for the model itself."""
    stack = node.meta.get("nn_module_stack") or {}
    names = [entry[0] for entry in stack.values()]
    return names[-1] or None if names else None


def drop_unused_weights(graph_module: fx.GraphModule) -> None:
    """Remove what the graph no longer reads: the FP32 form of quantized weights.

    Modules that it calls keep theirs.
    """
    graph_module.graph.eliminate_dead_code()
    graph_module.recompile()
    used = {str(node.target) for node in graph_module.graph.nodes if node.op == "get_attr"}
    called = tuple(
        f"{node.target}." for node in graph_module.graph.nodes if node.op == "call_module"
    )
    held = [*graph_module.named_parameters(), *graph_module.named_buffers()]
    for name, _ in held:
        if name not in used and not name.startswith(called):
            owner, _, leaf = name.rpartition(".")
            delattr(graph_module.get_submodule(owner), leaf)


def tensors(outputs: Any) -> list[torch.Tensor]:
    """Return the tensors of nested outputs, in order."""
    leaves = torch.utils._pytree.tree_leaves(outputs)
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


def is_finite(value: Any) -> bool:
    """Return whether all floating-point tensors in it are free of NaN and infinity."""
    return all(bool(torch.isfinite(t).all()) for t in tensors(value) if t.is_floating_point())


class _FiniteCheck(fx.Interpreter):
    """Runs a graph until a node turns finite inputs into others."""

    found: str | None = None

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if self.found is None and n.op != "output" and not is_finite(result):
            inputs = [self.env[i] for i in n.all_input_nodes if i in self.env]
            if n.op == "placeholder":
                self.found = f"the input {n.target}"
            elif is_finite(inputs):
                self.found = f"module {module_name(n) or 'of the model itself'} ({n.target})"
        return result


def explain_non_finite(graph_module: fx.GraphModule, args: Args) -> str | None:
    """Return where NaN or infinity first appears when the graph runs; None where nowhere."""
    check = _FiniteCheck(graph_module, garbage_collect_values=False)
    with torch.no_grad():
        check.run(*args)
    return check.found


def run_sample(module: nn.Module, args: Args, what: str) -> list[torch.Tensor]:
    """Return the outputs for a sample.

    Raises:
        CalibrationError: The model does not take it, or returns no tensor.
    """
    try:
        with torch.no_grad():
            outputs = tensors(module(*args))
    except CALL_FAILURES as error:
        shapes = ", ".join(f"{tuple(a.shape)} {a.dtype}" for a in args)
        raise CalibrationError(
            f"{what} ({shapes}) is not for this model: {first_line(error)}"
        ) from error
    if not outputs:
        raise CalibrationError(f"{what}: the model returns no tensor")
    return outputs
