"""Image axes of an output."""

from __future__ import annotations

import numpy as np

from mopt_api.enums import ImageLayout
from mopt_optimizer.errors import NotAnImage

from .comparable import Array

_CHANNELS = (1, 3, 4)


def image_batch(array: Array, layout: ImageLayout | None = None) -> list[Array]:
    """Return the images of a batch, each (height, width, channels).

    Raises:
        NotAnImage: The rank is not 4, or 3 without a layout.
    """
    if array.ndim == 3 and layout is None:
        return list(array[..., np.newaxis])
    if array.ndim != 4:
        wanted = layout or "(N, C, H, W)"
        raise NotAnImage(f"SSIM needs images {wanted}; the output is {array.shape}")
    last = layout is ImageLayout.NHWC or (
        layout is None and array.shape[3] in _CHANNELS and array.shape[1] not in _CHANNELS
    )
    return list(array if last else np.moveaxis(array, 1, -1))
