"""Values that images become: a mean for 0..255 beside the scale 1/255. Pure."""

from __future__ import annotations

from .inputs import ImageTransform

_WHITE = 255
_TINY = 0.1
"""Networks are trained on images that span 1 to 5; one channel below this is nearly constant."""
_LARGE = 10.0
_LARGEST = 300.0
"""Values up to 255 are usual where scale is 1."""


def value_spans(images: ImageTransform) -> list[tuple[float, float]]:
    """Return the values of black and white in each channel of an input."""
    channels = images.color.channels
    means = images.mean or [0.0] * channels
    stds = images.std or [1.0] * channels
    return [
        (-mean / std, (_WHITE * images.scale - mean) / std)
        for mean, std in zip(means, stds, strict=True)
    ]


def slip(images: ImageTransform) -> str | None:
    """Return what looks like a slip in how images become inputs; None where nothing does."""
    spans = value_spans(images)
    low, high = min(low for low, _ in spans), max(high for _, high in spans)
    narrow = min(high - low for low, high in spans) < _TINY
    far = max(-low, high) > (_LARGE if images.scale * _WHITE <= _LARGE else _LARGEST)
    if not narrow and not far:
        return None
    why = "each channel is nearly constant" if narrow else "far from what networks are trained on"
    return (
        f"black to white become {low:.2f}..{high:.2f}: {why}. mean and std are in the units of "
        f"value * scale: with scale {images.scale:.3g} pixels are 0 to {_WHITE * images.scale:.3g}"
    )
