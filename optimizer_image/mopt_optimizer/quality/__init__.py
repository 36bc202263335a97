"""Quality of a variant's outputs against the FP32 outputs or ground truth. Pure."""

from __future__ import annotations

from mopt_api.enums import QualityMetric as Metric
from mopt_optimizer.errors import (
    ComparisonError,
    ConflictingRange,
    EmptyOutput,
    NoClasses,
    NonFiniteOutput,
    NotAnImage,
    ShapeMismatch,
)

from .comparable import Array, Options, check_comparable, check_finite
from .comparison import Comparison
from .evaluating import Evaluation, evaluate, parse_metric
from .gating import data_ranges, fitting_gates
from .images import image_batch
from .metrics import score
from .metrics.cosine import cosine
from .metrics.max_abs_error import max_abs_error
from .metrics.psnr import psnr
from .metrics.sqnr import sqnr
from .metrics.ssim import ssim, ssim_per_image
from .metrics.top1_agreement import top1_agreement

__all__ = [
    "Array",
    "Comparison",
    "ComparisonError",
    "ConflictingRange",
    "EmptyOutput",
    "Evaluation",
    "Metric",
    "NoClasses",
    "NonFiniteOutput",
    "NotAnImage",
    "Options",
    "ShapeMismatch",
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
