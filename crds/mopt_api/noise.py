"""Qualities as noise, which is what adds up and has a margin in dB. Pure.

A quality is signed: that of a metric where lower is better is negated, so that higher is better.
"""

from __future__ import annotations

import math

from .enums import QualityMetric
from .metrics import METRICS, Scale
from .spec import QualityGate

# A gate that allows no noise at all allows this much.
_SILENCE = 1e-20


def signed(metric: QualityMetric, value: float) -> float:
    """Return a metric's value as a quality, or a quality as the metric's value."""
    return value if METRICS[metric].higher_is_better else -value


def noise_of(quality: float, metric: QualityMetric) -> float:
    """Return a quality as noise power, which adds up over layers; 0 means identical.

    PSNR and SQNR become a mean square error (for a signal of peak or power 1), the maximum error
    is squared; for SSIM, cosine and agreement it is the distance to 1.
    """
    match METRICS[metric].scale:
        case Scale.UP_TO_ONE:
            return 1.0 - quality
        case Scale.ERROR:
            return quality * quality
        case Scale.DECIBELS:
            return math.pow(10.0, -quality / 10.0)


def minimum_with_margin(gate: QualityGate, margin_db: float) -> float:
    """Return the quality to reach on known samples so that unseen ones pass too.

    The allowed noise is lowered by margin_db decibels: the minimum of PSNR and SQNR rises by that
    much; the distance to 1 of SSIM, cosine and agreement shrinks by that factor, the maximum error
    by its square root.
    """
    if gate.maximum is not None:
        return -gate.maximum * math.pow(10.0, -margin_db / 20.0)
    minimum = 0.0 if gate.minimum is None else gate.minimum
    if METRICS[gate.metric].scale is Scale.UP_TO_ONE:
        return 1.0 - (1.0 - minimum) * math.pow(10.0, -margin_db / 10.0)
    return minimum + margin_db


def margin_of(quality: float, gate: QualityGate) -> float:
    """Return by how many dB the noise is below what a gate allows; infinite without noise."""
    noise = noise_of(quality, gate.metric)
    if noise <= 0:
        return math.inf
    allowed = noise_of(minimum_with_margin(gate, 0.0), gate.metric)
    return 10 * math.log10(max(allowed, _SILENCE) / noise)
