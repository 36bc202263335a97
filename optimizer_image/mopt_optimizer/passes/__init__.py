"""Graph passes: one idea per module, each verified numerically when it is run."""

from __future__ import annotations

from .deduplicate_initializers import DeduplicateInitializers
from .eliminate_common_subexpressions import EliminateCommonSubexpressions
from .eliminate_dead_nodes import EliminateDeadNodes
from .eliminate_identity import EliminateIdentity
from .eliminate_noop import EliminateNoop
from .extract_constant_to_initializer import ExtractConstantToInitializer
from .fold_constants import FoldConstants
from .fuse_bn_into_conv import FuseBnIntoConv
from .fuse_consecutive_transposes import FuseConsecutiveTransposes
from .fuse_pad_into_conv import FusePadIntoConv
from .running import Pass, optimize

PASSES: tuple[Pass, ...] = (
    EliminateIdentity(),
    FoldConstants(),
    ExtractConstantToInitializer(),
    EliminateNoop(),
    FuseConsecutiveTransposes(),
    FusePadIntoConv(),
    FuseBnIntoConv(),
    EliminateCommonSubexpressions(),
    DeduplicateInitializers(),
    EliminateDeadNodes(),
)
"""In the order in which they help each other: constants first, what they leave unused last."""

__all__ = ["PASSES", "Pass", "optimize"]
