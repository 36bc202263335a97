"""FP16 and BF16: weights and arithmetic in 16 bits, inputs and outputs as before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx, nn

from .capturing import check_finite_weights
from .config import QuantizationType
from .int8 import select_names

DTYPES = {QuantizationType.FP16: torch.float16, QuantizationType.BF16: torch.bfloat16}


def _cast(value: Any, dtype: torch.dtype) -> Any:
    """Return nested values with their floating-point tensors in another type."""
    return torch.utils._pytree.tree_map(
        lambda t: t.to(dtype) if isinstance(t, torch.Tensor) and t.is_floating_point() else t,
        value,
    )


class _Float32Island(nn.Module):
    """An excluded module amid a model in 16 bits."""

    def __init__(self, inner: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.inner = inner
        self._dtype = dtype

    def forward(self, *args: Any) -> Any:
        return _cast(self.inner(*_cast(args, torch.float32)), self._dtype)


def narrowed(
    module: nn.Module, kind: QuantizationType, names: Sequence[str], exclude: Sequence[str]
) -> tuple[fx.GraphModule, tuple[str, ...]]:
    """Return the module in 16 bits, taking and returning FP32, and the modules that stay FP32.

    Args:
        module: Is changed.
        names: Its inputs.
        exclude: Patterns of modules that stay FP32.

    Raises:
        NonFiniteWeight: A value too large for the type; names the parameter.
        SpecError: A pattern that matches no module.
    """
    dtype = DTYPES[kind]
    leaves = [n for n, m in module.named_modules() if n and not list(m.children())]
    kept = {name: module.get_submodule(name) for name in select_names(leaves, exclude)}
    for name in kept:
        module.set_submodule(name, nn.Identity())  # Their values must not pass through 16 bits.
    module.to(dtype)
    for name, inner in kept.items():
        module.set_submodule(name, _Float32Island(inner, dtype))
    limit = torch.finfo(dtype).max
    check_finite_weights(module, f" in {kind.upper()}, whose largest is {limit:.5g}")
    graph = fx.Graph()
    inputs = [graph.placeholder(name) for name in names]
    cast = tuple(graph.call_function(_cast, (node, dtype)) for node in inputs)
    result = graph.call_module("model", cast)
    graph.output(graph.call_function(_cast, (result, torch.float32)))
    return fx.GraphModule({"model": module}, graph), tuple(kept)
