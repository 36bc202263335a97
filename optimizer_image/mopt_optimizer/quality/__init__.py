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
    NotDetections,
    NotEmbeddings,
    NotSequences,
    ShapeMismatch,
)

from .comparable import (
    Array,
    Options,
    check_comparable,
    check_finite,
    check_no_new_non_finite,
    check_pair,
    check_some_finite,
    finite_values,
    identical,
)
from .comparison import Comparison
from .distance import Distance
from .evaluating import Evaluation, evaluate, parse_metric
from .figure import Figure, declared_figures
from .gating import check_sample_count, data_ranges, fitting_gates, range_warnings
from .images import image_batch
from .metrics import perfect, score
from .metrics.cosine import cosine
from .metrics.detection_f1 import detection_f1
from .metrics.max_abs_error import max_abs_error
from .metrics.neighbor_agreement import neighbor_agreement
from .metrics.psnr import psnr
from .metrics.sequence_agreement import sequence_agreement
from .metrics.sqnr import sqnr
from .metrics.ssim import ssim, ssim_per_image
from .metrics.top1_agreement import top1_agreement
from .profile import Profile

__all__ = [
    "Array",
    "Comparison",
    "ComparisonError",
    "ConflictingRange",
    "Distance",
    "EmptyOutput",
    "Evaluation",
    "Figure",
    "Metric",
    "NoClasses",
    "NonFiniteOutput",
    "NotAnImage",
    "NotDetections",
    "NotEmbeddings",
    "NotSequences",
    "Options",
    "Profile",
    "ShapeMismatch",
    "check_comparable",
    "check_finite",
    "check_no_new_non_finite",
    "check_pair",
    "check_sample_count",
    "check_some_finite",
    "cosine",
    "data_ranges",
    "declared_figures",
    "detection_f1",
    "evaluate",
    "finite_values",
    "fitting_gates",
    "identical",
    "image_batch",
    "max_abs_error",
    "neighbor_agreement",
    "parse_metric",
    "perfect",
    "psnr",
    "range_warnings",
    "score",
    "sequence_agreement",
    "sqnr",
    "ssim",
    "ssim_per_image",
    "top1_agreement",
]
