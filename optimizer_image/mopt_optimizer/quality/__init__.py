"""How closely a variant's outputs follow the FP32 outputs, or ground truth. Pure."""

from __future__ import annotations

from mopt_optimizer.errors import (
    ComparisonError,
    ConflictingRange,
    EmptyOutput,
    NoClasses,
    NonFiniteOutput,
    NotAnImage,
    ShapeMismatch,
)

from .evaluating import Agreement, Evaluation, Summary, evaluate, parse_metric
from .gating import Comparison, data_ranges, fitting_gates
from .metrics import (
    Layout,
    Metric,
    Options,
    check_comparable,
    check_finite,
    cosine,
    image_batch,
    max_abs_error,
    psnr,
    score,
    sqnr,
    ssim,
    ssim_per_image,
    top1_agreement,
)

__all__ = [
    "Agreement",
    "Comparison",
    "ComparisonError",
    "ConflictingRange",
    "EmptyOutput",
    "Evaluation",
    "Layout",
    "Metric",
    "NoClasses",
    "NonFiniteOutput",
    "NotAnImage",
    "Options",
    "ShapeMismatch",
    "Summary",
    "check_comparable",
    "check_finite",
    "cosine",
    "data_ranges",
    "evaluate",
    "fitting_gates",
    "image_batch",
    "max_abs_error",
    "parse_metric",
    "psnr",
    "score",
    "sqnr",
    "ssim",
    "ssim_per_image",
    "top1_agreement",
]
