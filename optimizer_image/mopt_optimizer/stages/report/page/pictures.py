"""What the page shows of images: a few samples, cut, as data: URIs. Pure."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from mopt_api.jobs.crops import Crops, SampleCrops, VariantCrop
from mopt_api.jobs.measure_result import MeasureResult, VariantResult
from mopt_api.metrics import metric_in_words

from .verdicts import shown_state, was_measured


@dataclass(frozen=True)
class Picture:
    """One variant's crop, with what is known of the whole image."""

    name: str
    state: str
    output: str
    difference: str
    whole: str
    part: str
    is_worst: bool


@dataclass(frozen=True)
class Sample:
    """One sample's crops; images are data: URIs."""

    name: str
    crop: SampleCrops
    input: str
    reference: str
    pictures: list[Picture]


def samples(result: MeasureResult, crops: Crops | None) -> list[Sample]:
    """Return the samples that pictures were kept of, with those of the measured variants."""
    names = result.evaluation_names
    return [
        Sample(
            name=names[crop.sample] if crop.sample < len(names) else f"sample {crop.sample}",
            crop=crop,
            input=_image(crop.input),
            reference=_image(crop.reference),
            pictures=_pictures(result, crop),
        )
        for crop in (crops.samples if crops else ())
    ]


def _pictures(result: MeasureResult, crop: SampleCrops) -> list[Picture]:
    variants = {v.name: v for v in result.variants if was_measured(v)}
    return [
        _picture(variants[part.variant], part, crop.sample, result.selected)
        for part in crop.variants
        if part.variant in variants
    ]


def _picture(
    variant: VariantResult, part: VariantCrop, sample: int, selected: str | None
) -> Picture:
    values = [
        (q, q.per_sample[sample])
        for q in variant.quality
        if q.per_sample and sample < len(q.per_sample)
    ]
    similar = "" if part.ssim is None else f", SSIM {part.ssim:.4f}"
    return Picture(
        name=variant.name,
        state=shown_state(variant, selected),
        output=_image(part.output),
        difference=_image(part.difference),
        whole=", ".join(f"{q.metric} {metric_in_words(q.metric, value)}" for q, value in values),
        part=f"PSNR {part.psnr:.2f} dB{similar}",
        is_worst=any(value == q.worst for q, value in values),
    )


def _image(data: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(data).decode()}"
