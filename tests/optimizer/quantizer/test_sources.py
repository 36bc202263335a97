"""Which layer an operator of a captured graph is of, where torch does not say so itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import fx, nn

from mopt_optimizer.torch_quantization.int8 import _name_sources

pytestmark = pytest.mark.optimizer


def graph_module(*stacks: dict[str, tuple[str, Any]] | None) -> fx.GraphModule:
    """Return a chain of operators, each with its nn_module_stack."""
    graph = fx.Graph()
    value = graph.placeholder("x")
    for stack in stacks:
        value = graph.call_function(torch.relu, (value,))
        if stack is not None:
            value.meta["nn_module_stack"] = stack
    graph.output(value)
    return fx.GraphModule({}, graph)


def sources(module: fx.GraphModule) -> list[Any]:
    return [n.meta.get("source_fn_stack") for n in module.graph.nodes if n.op == "call_function"]


def test_layers_of_torch_are_named_by_their_innermost_module() -> None:
    conv = "torch.nn.modules.conv.Conv2d"
    module = graph_module(
        {"a": ("", "some.Network"), "b": ("body.0", conv)},
        {"a": ("", nn.Sequential), "b": ("body.1", nn.Linear)},
    )
    _name_sources(module)
    assert sources(module) == [[("body.0", nn.Conv2d)], [("body.1", nn.Linear)]]


def test_others_of_the_same_name_are_not() -> None:
    module = graph_module(
        {"a": ("x", "some.package.Conv2d")}, {"a": ("y", "torch.nn.Nothing")}, None
    )
    _name_sources(module)
    assert sources(module) == [None, None, None]


def test_what_torch_says_stays() -> None:
    module = graph_module({"a": ("body.0", "torch.nn.modules.conv.Conv2d")})
    (node,) = (n for n in module.graph.nodes if n.op == "call_function")
    node.meta["source_fn_stack"] = [("own", nn.Linear)]
    _name_sources(module)
    assert sources(module) == [[("own", nn.Linear)]]
