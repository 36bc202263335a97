"""Padding before a pooling becomes the pooling's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._graph import constant, input_of, nodes_of, replace_chain, rewrite_each, sole_producer

if TYPE_CHECKING:
    import onnx_ir as ir


class FusePadIntoPool:
    """Acts on constant Pads of the spatial axes: zeros before AveragePool, -inf before MaxPool."""

    name = "fuse_pad_into_pool"

    def run(self, model: ir.Model) -> bool:
        """Rewrite the model in place; return whether anything changed."""
        return rewrite_each(nodes_of(model, "AveragePool", "MaxPool"), _fuse)


def _fuse(pool: ir.Node) -> bool:
    import onnx_ir as ir

    pad = sole_producer(pool.inputs[0], "Pad")
    if pad is None or len(pad.outputs) != 1 or len(pool.outputs) != 1:
        return False
    pads, value = constant(input_of(pad, 1)), constant(input_of(pad, 2))
    if pads is None or input_of(pad, 3) is not None or (value is None and input_of(pad, 2)):
        return False
    if pad.attributes.get_string("mode", "constant") != "constant":
        return False
    filler = 0.0 if value is None else float(value.reshape(-1)[0])
    average = pool.op_type == "AveragePool"
    if filler != (0.0 if average else -np.inf):
        return False
    attributes = dict(pool.attributes)
    own = pool.attributes.get_ints("pads", ())
    if any(own or ()) or pool.attributes.get_int("ceil_mode"):
        return False
    if pool.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return False
    before, after = np.split(pads, 2)
    if before[:2].any() or after[:2].any() or (pads < 0).any():
        return False
    kernel = pool.attributes.get_ints("kernel_shape", ())
    if any(p >= k for p, k in zip([*before[2:], *after[2:]], [*(kernel or ())] * 2, strict=True)):
        return False  # pooling takes padding smaller than its window only
    attributes.pop("auto_pad", None)
    attributes["pads"] = ir.AttrInt64s("pads", [int(p) for p in (*before[2:], *after[2:])])
    if average:
        attributes["count_include_pad"] = ir.AttrInt64("count_include_pad", 1)
    replace_chain([pad, pool], ir.node(pool.op_type, [pad.inputs[0]], attributes=attributes))
    return True
