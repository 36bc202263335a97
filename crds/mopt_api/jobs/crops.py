"""Pictures of a measurement, for its page: a separate object in the store."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from mopt_api.base import ObservedModel


class PictureModel(ObservedModel):
    """Base of what holds image files; in JSON they are base64."""

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")


class VariantCrop(PictureModel):
    """A part of what a variant computed for one sample."""

    variant: str
    output: bytes = Field(description="The part, as an image file.")
    difference: bytes = Field(
        description="Largest difference of any channel to FP32's, amplified; an image file."
    )
    psnr: float = Field(description="Of this part, dB.")
    ssim: float | None = Field(default=None, description="Of this part; None where it is tiny.")


class SampleCrops(PictureModel):
    """The part of one sample's output where the variants differ most from FP32."""

    sample: int = Field(ge=0, description="Position in the evaluation data.")
    left: int = Field(description="Pixels, in the output.")
    top: int
    width: int
    height: int
    amplification: float = Field(description="Factor on all the sample's difference images.")
    input: bytes = Field(description="What the model was given there, as an image file.")
    reference: bytes = Field(description="FP32's output there, as an image file.")
    variants: list[VariantCrop]


class Crops(PictureModel):
    """Pictures of a measurement, for its page: a separate object, so that result.json stays
    small."""

    samples: list[SampleCrops]
