"""Warnings on values that images become: a mean for 0..255 beside the scale 1/255. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from mopt_api.inputs import ImageTransform
from mopt_api.normalization import slip
from mopt_api.spec import ModelOptimizationSpec


def normalization_warnings(spec: ModelOptimizationSpec) -> list[str]:
    """Return what looks like a slip in how images become inputs, each with its field's path."""
    return [
        f"spec.data.{name}.images: {said}"
        for name, images in _transforms(spec)
        if (said := slip(images)) is not None
    ]


def _transforms(spec: ModelOptimizationSpec) -> Iterator[tuple[str, ImageTransform]]:
    for name in ("calibration", "evaluation"):
        if (data := getattr(spec.data, name)) is not None:
            yield name, data.images
    references = spec.data.evaluation and spec.data.evaluation.references
    if references:
        yield "evaluation.references", references.images
