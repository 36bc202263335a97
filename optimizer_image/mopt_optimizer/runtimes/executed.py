"""What a runtime made of a model's layers, as its own graph shows it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mopt_api.jobs.limits import BF16, FP32, INT8, ExecutedLayers
from mopt_optimizer.onnx_files.layers import CountedLayer

# Element types, as the libraries write them.
_TYPES = {
    **dict.fromkeys(("f32", "float"), FP32),
    **dict.fromkeys(("bf16", "bfloat16"), BF16),
    **dict.fromkeys(("f16", "float16"), "FP16"),
    **dict.fromkeys(("f64", "double"), "FP64"),
    **dict.fromkeys(("i8", "u8", "int8", "uint8"), INT8),
}
OTHER = "OTHER"


def type_name(text: str) -> str:
    """Return the type that a library's element type stands for, such as INT8 for u8."""
    return _TYPES.get(text.lower(), OTHER)


@dataclass(frozen=True)
class ExecutedLayer:
    """A layer that multiplies and adds up.

    Attributes:
        kind: What it reads: FP32, INT8.
        nodes: Names of the file's nodes, or of their outputs, that it computes, as far as the
            runtime tells.
    """

    kind: str
    nodes: frozenset[str]


@dataclass(frozen=True)
class ExecutedGraph:
    """What a runtime computes for a model.

    Attributes:
        conversions: Nodes that change nothing but the type or the layout of a value.
    """

    layers: tuple[ExecutedLayer, ...]
    conversions: int

    def report(self, counted: Sequence[CountedLayer]) -> ExecutedLayers:
        """Return the layers by type.

        Args:
            counted: The file's layers; empty where they are not known.
        """
        kind_of = {node: layer.kind for layer in self.layers for node in layer.nodes}
        found: Counter[str] = Counter()
        whole = bool(counted)
        for layer in counted:
            kind = next((kind_of[name] for name in layer.names if name in kind_of), None)
            whole = whole and kind is not None
            found[kind or OTHER] += layer.products
        return ExecutedLayers(
            by_type=dict(sorted(Counter(layer.kind for layer in self.layers).items())),
            products=dict(sorted(found.items())) if whole else None,
            conversions=self.conversions,
        )
