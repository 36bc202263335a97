"""Graph passes: one idea per module, each verified numerically when it is run.

What a pass needs is loaded when named_passes is called.
"""

from __future__ import annotations

from collections.abc import Collection
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from mopt_optimizer.errors import SpecError

if TYPE_CHECKING:
    from .running import Pass

# The class of each; it lies in a module of the name.
_CLASSES = {
    "remove_weights_from_inputs": "RemoveWeightsFromInputs",
    "inline_functions": "InlineFunctions",
    "eliminate_identity": "EliminateIdentity",
    "fold_constants": "FoldConstants",
    "extract_constant_to_initializer": "ExtractConstantToInitializer",
    "eliminate_noop": "EliminateNoop",
    "eliminate_noop_shape_changes": "EliminateNoopShapeChanges",
    "eliminate_noop_slices": "EliminateNoopSlices",
    "eliminate_noop_scatter": "EliminateNoopScatter",
    "eliminate_expand": "EliminateExpand",
    "eliminate_squeeze_pairs": "EliminateSqueezePairs",
    "eliminate_reshapes_around_matmul": "EliminateReshapesAroundMatmul",
    "fuse_consecutive_transposes": "FuseConsecutiveTransposes",
    "fuse_consecutive_reshapes": "FuseConsecutiveReshapes",
    "fuse_consecutive_unsqueezes": "FuseConsecutiveUnsqueezes",
    "fuse_consecutive_casts": "FuseConsecutiveCasts",
    "fuse_consecutive_concats": "FuseConsecutiveConcats",
    "fuse_reduce_squeeze": "FuseReduceSqueeze",
    "fuse_layer_norm": "FuseLayerNorm",
    "fuse_min_max_into_clip": "FuseMinMaxIntoClip",
    "fuse_hard_swish": "FuseHardSwish",
    "fuse_clips": "FuseClips",
    "fuse_matmul_add_into_gemm": "FuseMatmulAddIntoGemm",
    "fuse_pad_into_conv": "FusePadIntoConv",
    "fuse_pad_into_pool": "FusePadIntoPool",
    "fuse_bn_into_conv": "FuseBnIntoConv",
    "fuse_mul_into_conv": "FuseMulIntoConv",
    "fuse_add_into_conv": "FuseAddIntoConv",
    "eliminate_common_subexpressions": "EliminateCommonSubexpressions",
    "deduplicate_initializers": "DeduplicateInitializers",
    "eliminate_dead_nodes": "EliminateDeadNodes",
}

PASSES: dict[str, str] = {name: f"{__name__}.{name}:{kind}" for name, kind in _CLASSES.items()}
"""MODULE:CLASS of each by its name, in the order in which they help each other: constants first,
what they leave unused last. The names, in their order, are part of an export's key."""


def available_passes() -> tuple[str, ...]:
    """Return the names of the passes, in the order in which they run."""
    return tuple(PASSES)


def named_passes(
    names: Collection[str] | None = None, *, exclude: Collection[str] = ()
) -> tuple[Pass, ...]:
    """Return passes by their names, always in the order of PASSES.

    Args:
        names: None is all.

    Raises:
        SpecError: A name that no pass has.
    """
    if unknown := sorted({*(names or ()), *exclude} - {*PASSES}):
        raise SpecError(f"unknown pass {', '.join(unknown)}; there are {', '.join(PASSES)}")
    return tuple(
        _loaded(PASSES[name])
        for name in PASSES
        if (names is None or name in names) and name not in exclude
    )


def _loaded(where: str) -> Pass:
    found: Pass = resolve_name(where)()
    return found
