"""What is known of a set of samples, and what looks wrong with it: warnings, never refusals."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from mopt_api.base import Count, ObservedModel
from mopt_api.figures import MOST_TAGS
from mopt_api.inputs import ImageTransform

Share = Annotated[float, Field(ge=0, le=1)]


class DataFault(StrEnum):
    """What looks wrong with data, or with what is declared of it."""

    FEW_SAMPLES = "FewSamples"
    DUPLICATES = "Duplicates"
    CONSTANT = "Constant"
    CLIPPED = "Clipped"
    NOISE = "Noise"
    MIXED_SCALES = "MixedScales"
    SCALE = "Scale"
    NORMALIZATION = "Normalization"
    COLOR_ORDER = "ColorOrder"
    TRANSFORMS_DIFFER = "TransformsDiffer"
    SETS_DIFFER = "SetsDiffer"
    DATA_RANGE = "DataRange"


class DataWarning(ObservedModel):
    """One thing that looks wrong; nothing is refused for it."""

    fault: DataFault = Field(description="What looks wrong.")
    field: str = Field(max_length=64, description="Path of the field in the resource.")
    message: str = Field(max_length=512, description="What was found, and what to do.")

    @property
    def text(self) -> str:
        """The warning in one line."""
        return f"{self.field}: {self.message}"


def warning_tags(found: Sequence[DataWarning]) -> list[str]:
    """Return each warning in two words, for status: calibration:ColorOrder."""
    tags = (f"{one.field.rsplit('.', 1)[-1]}:{one.fault}" for one in found)
    return list(dict.fromkeys(tags))[:MOST_TAGS]


class ChannelStatistics(ObservedModel):
    """All values of one channel of an input; of an input without channels, all its values."""

    mean: float = Field(description="Of all values.")
    std: float = Field(ge=0, description="Of all values.")
    spread: float = Field(ge=0, description="Standard deviation of the samples' means.")


class InputStatistics(ObservedModel):
    """One input over all samples."""

    name: str = Field(description="The input's name.")
    dtype: str = Field(description="Element type.")
    image: bool = Field(description="A float input of 1, 3 or 4 channels, with height and width.")
    low: float = Field(description="Smallest value.")
    high: float = Field(description="Largest value.")
    whole: bool = Field(description="Every value is a whole number.")
    at_low: Share = Field(description="Share of values that equal the smallest.")
    at_high: Share = Field(description="Share of values that equal the largest.")
    constant: Count = Field(description="Samples in which all values are the same.")
    channels: list[ChannelStatistics] = Field(description="In their order.")
    roughness: float | None = Field(
        default=None,
        ge=0,
        description="Of images: mean difference of neighbours in a row, over the standard "
        "deviation. White noise has 1.13 and more.",
    )
    tilt_spread: float | None = Field(
        default=None,
        ge=0,
        description="Of three channels: standard deviation, over samples, of the difference of "
        "the first's and the last's mean.",
    )
    peak_ratio: float = Field(
        ge=1, description="Largest magnitude of a sample over that of the median sample, or back."
    )


class DataStatistics(ObservedModel):
    """A set of samples, as it becomes inputs."""

    samples: Count = Field(description="Number of samples.")
    distinct: Count = Field(description="Samples that equal no earlier one.")
    inputs: list[InputStatistics] = Field(description="In the model's order.")
    images: ImageTransform | None = Field(
        default=None, description="How images became inputs; absent for arrays."
    )


class FirstLayer(ObservedModel):
    """A model's first convolution and the BatchNormalization behind it, which holds the mean and
    the variance of its results over the training data.

    The convolution's input is `input * scale + offset`, per channel. Some of the filters.
    """

    input: str = Field(description="Name of the model's input that it reads.")
    kernel: list[Count] = Field(min_length=2, max_length=2, description="Height and width.")
    scale: list[float] = Field(description="Per channel.")
    offset: list[float] = Field(description="Per channel.")
    weights: list[list[float]] = Field(description="Per filter: channels, rows, columns.")
    bias: list[float] = Field(description="Per filter.")
    mean: list[float] = Field(description="Per filter: of its results in training.")
    variance: list[Annotated[float, Field(gt=0)]] = Field(description="Per filter.")
