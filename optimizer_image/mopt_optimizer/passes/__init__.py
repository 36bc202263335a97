"""Graph passes: one idea per module, each verified numerically when it is run."""

from __future__ import annotations

from collections.abc import Collection

from mopt_optimizer.errors import SpecError

from .deduplicate_initializers import DeduplicateInitializers
from .eliminate_common_subexpressions import EliminateCommonSubexpressions
from .eliminate_dead_nodes import EliminateDeadNodes
from .eliminate_expand import EliminateExpand
from .eliminate_identity import EliminateIdentity
from .eliminate_noop import EliminateNoop
from .eliminate_noop_scatter import EliminateNoopScatter
from .eliminate_noop_shape_changes import EliminateNoopShapeChanges
from .eliminate_noop_slices import EliminateNoopSlices
from .eliminate_reshapes_around_matmul import EliminateReshapesAroundMatmul
from .eliminate_squeeze_pairs import EliminateSqueezePairs
from .extract_constant_to_initializer import ExtractConstantToInitializer
from .fold_constants import FoldConstants
from .fuse_add_into_conv import FuseAddIntoConv
from .fuse_bn_into_conv import FuseBnIntoConv
from .fuse_clips import FuseClips
from .fuse_consecutive_casts import FuseConsecutiveCasts
from .fuse_consecutive_concats import FuseConsecutiveConcats
from .fuse_consecutive_reshapes import FuseConsecutiveReshapes
from .fuse_consecutive_transposes import FuseConsecutiveTransposes
from .fuse_consecutive_unsqueezes import FuseConsecutiveUnsqueezes
from .fuse_hard_swish import FuseHardSwish
from .fuse_layer_norm import FuseLayerNorm
from .fuse_matmul_add_into_gemm import FuseMatmulAddIntoGemm
from .fuse_min_max_into_clip import FuseMinMaxIntoClip
from .fuse_mul_into_conv import FuseMulIntoConv
from .fuse_pad_into_conv import FusePadIntoConv
from .fuse_pad_into_pool import FusePadIntoPool
from .fuse_reduce_squeeze import FuseReduceSqueeze
from .inline_functions import InlineFunctions
from .remove_weights_from_inputs import RemoveWeightsFromInputs
from .running import Pass, PassRecord, optimize

PASSES: tuple[Pass, ...] = (
    RemoveWeightsFromInputs(),
    InlineFunctions(),
    EliminateIdentity(),
    FoldConstants(),
    ExtractConstantToInitializer(),
    EliminateNoop(),
    EliminateNoopShapeChanges(),
    EliminateNoopSlices(),
    EliminateNoopScatter(),
    EliminateExpand(),
    EliminateSqueezePairs(),
    EliminateReshapesAroundMatmul(),
    FuseConsecutiveTransposes(),
    FuseConsecutiveReshapes(),
    FuseConsecutiveUnsqueezes(),
    FuseConsecutiveCasts(),
    FuseConsecutiveConcats(),
    FuseReduceSqueeze(),
    FuseLayerNorm(),
    FuseMinMaxIntoClip(),
    FuseHardSwish(),
    FuseClips(),
    FuseMatmulAddIntoGemm(),
    FusePadIntoConv(),
    FusePadIntoPool(),
    FuseBnIntoConv(),
    FuseMulIntoConv(),
    FuseAddIntoConv(),
    EliminateCommonSubexpressions(),
    DeduplicateInitializers(),
    EliminateDeadNodes(),
)
"""In the order in which they help each other: constants first, what they leave unused last."""


def available_passes() -> tuple[str, ...]:
    """Return the names of the passes, in the order in which they run."""
    return tuple(one.name for one in PASSES)


def named_passes(
    names: Collection[str] | None = None, *, exclude: Collection[str] = ()
) -> tuple[Pass, ...]:
    """Return passes by their names, always in the order of PASSES.

    Args:
        names: None is all.

    Raises:
        SpecError: A name that no pass has.
    """
    if unknown := sorted({*(names or ()), *exclude} - {*available_passes()}):
        raise SpecError(
            f"unknown pass {', '.join(unknown)}; there are {', '.join(available_passes())}"
        )
    return tuple(
        one for one in PASSES if (names is None or one.name in names) and one.name not in exclude
    )


__all__ = ["PASSES", "Pass", "PassRecord", "available_passes", "named_passes", "optimize"]
