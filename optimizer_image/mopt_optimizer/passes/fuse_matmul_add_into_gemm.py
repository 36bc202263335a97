"""A matrix product and the addition after it become a Gemm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ._rules import RulePass

if TYPE_CHECKING:
    from onnxscript.rewriter import RewriteRule


class FuseMatmulAddIntoGemm(RulePass):
    """Acts on matrices of rank 2; a Transpose before the product goes into the Gemm."""

    name = "fuse_matmul_add_into_gemm"

    def rules(self) -> Sequence[RewriteRule]:
        """Return onnxscript's rules."""
        from onnxscript.rewriter.rules import common

        return [
            common.matmul_add_to_gemm_rule,
            common.transpose_a_matmul_add_to_gemm_rule,
            common.transpose_b_matmul_add_to_gemm_rule,
            common.transpose_ab_matmul_add_to_gemm_rule,
        ]
