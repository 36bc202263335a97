"""Signal-to-quantization-noise ratio."""

from __future__ import annotations

from mopt_api.figures import EXACT_PSNR_DB
from mopt_optimizer.quality.comparable import Array, Options, decibels, powers


def sqnr(reference: Array, output: Array) -> float:
    """Return the signal-to-quantization-noise ratio in dB, within +-EXACT_PSNR_DB.

    The signal is the reference's power. An all-zero reference with any noise gives
    -EXACT_PSNR_DB.

    Raises:
        ShapeMismatch, NonFiniteOutput
    """
    signal, noise = powers(reference, output)
    if noise == 0:
        return EXACT_PSNR_DB
    return -EXACT_PSNR_DB if signal == 0 else decibels(signal / noise)


def compute(reference: Array, output: Array, _data_range: float, _options: Options) -> float:
    """Return the sqnr of two outputs."""
    return sqnr(reference, output)
