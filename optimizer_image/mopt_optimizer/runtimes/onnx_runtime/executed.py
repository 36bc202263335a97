"""What ONNX Runtime executes, from the profile of one run. Pure."""

from __future__ import annotations

import json
import re
from typing import Any

from mopt_optimizer.runtimes.executed import OTHER, ExecutedGraph, ExecutedLayer, type_name

_MULTIPLYING = ("Conv", "Gemm", "MatMul")
# It quantizes what it reads by itself.
_QUANTIZING = frozenset(("DynamicQuantizeMatMul",))
_CONVERTING = frozenset(
    (
        *("Cast", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"),
        *("ReorderInput", "ReorderOutput"),
    )
)
_RAN = "_kernel_time"
# What it adds to a node's name, or to its output's, when it puts a faster one in its place.
_ADDED = re.compile(r"(_nchwc|_nhwc|_token_\d+|/MatMulAddFusion)+$")


def executed_graph(profile: str) -> ExecutedGraph:
    """Return what a session executes.

    Args:
        profile: JSON that it wrote; each kernel's entry has the operator and the types it read.

    Raises:
        ValueError: It is no such profile.
    """
    entries: list[dict[str, Any]] = json.loads(profile)
    layers: dict[str, ExecutedLayer] = {}
    converting: set[str] = set()
    for entry in entries:
        name = str(entry.get("name", ""))
        if entry.get("cat") != "Node" or not name.endswith(_RAN):
            continue
        # A node of a loop ran more than once.
        name, details = name.removesuffix(_RAN), entry.get("args", {})
        operator = str(details.get("op_name", ""))
        if any(part in operator for part in _MULTIPLYING):
            names = frozenset({name, _ADDED.sub("", name)})
            layers[name] = ExecutedLayer(_kind(operator, details), names)
        elif operator in _CONVERTING:
            converting.add(name)
    return ExecutedGraph(tuple(layers.values()), len(converting))


def _kind(operator: str, details: dict[str, Any]) -> str:
    if operator in _QUANTIZING:
        return type_name("uint8")
    read = details.get("input_type_shape") or [{}]
    return next((type_name(str(kind)) for kind in read[0]), OTHER)
