"""Structural similarity of images."""

from __future__ import annotations

from mopt_api.enums import ImageLayout
from mopt_optimizer.errors import NotAnImage
from mopt_optimizer.quality.comparable import Array, Options, as_float64, check_range, has_numbers
from mopt_optimizer.quality.images import image_batch

# Side of SSIM's window; smaller images use the largest odd side that fits.
_SSIM_WINDOW = 7
_SSIM_SMALLEST = 3


def ssim_per_image(
    reference: Array, output: Array, data_range: float, layout: ImageLayout | None = None
) -> list[float]:
    """Return each image's structural similarity, averaged over channels.

    Uniform 7 x 7 window and sample covariance, the scikit-image defaults.

    Args:
        reference, output: (N, C, H, W), (N, H, W, C), or (N, H, W) without a layout.
        data_range: Span of the values that the output can take.
        layout: Of 4-D outputs; None infers it (see Options).

    Raises:
        NotAnImage: Wrong rank, or a side below 3 pixels.
        ShapeMismatch, NonFiniteOutput, ConflictingRange

    Source: Wang et al. 2004, doi 10.1109/TIP.2003.819861, equation 13.
    """
    from skimage.metrics import structural_similarity

    check_range(data_range)
    if not has_numbers(reference) and reference.shape == output.shape:
        return []
    expected_images, actual_images = (
        image_batch(array, layout) for array in as_float64(reference, output)
    )
    side = min(expected_images[0].shape[:2])
    if side < _SSIM_SMALLEST:
        raise NotAnImage(f"SSIM needs 3 x 3 pixels at least; the output is {reference.shape}")
    return [
        float(
            structural_similarity(  # type: ignore[no-untyped-call]
                expected,
                actual,
                win_size=min(_SSIM_WINDOW, side - 1 + side % 2),
                channel_axis=-1,
                data_range=data_range,
            )
        )
        for expected, actual in zip(expected_images, actual_images, strict=True)
    ]


def ssim(
    reference: Array, output: Array, data_range: float, layout: ImageLayout | None = None
) -> float:
    """Return the structural similarity of the worst image; see ssim_per_image."""
    return min(ssim_per_image(reference, output, data_range, layout), default=1.0)


def compute(reference: Array, output: Array, data_range: float, options: Options) -> float:
    """Return the ssim of two outputs, in the layout of the options."""
    return ssim(reference, output, data_range, options.layout)
