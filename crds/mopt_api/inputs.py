"""The parts of `spec` about the model: its file, inputs and sizes, and how images become inputs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from .base import (
    MAX_SIZE,
    ApiModel,
    DimensionName,
    DimensionSize,
    ModelUri,
    Rule,
    SecretName,
    Sha256Hex,
    int_or_string,
)
from .enums import DType, ImageColor, ImageLayout, ModelFormat, StoreCredentials
from .size_rules import MOST_AXES, MOST_TERMS, pixel_rule
from .stores import HTTPS, PVC

MAX_FIXED_SIZE = 2**31 - 1
# Strict: else the text "3" would be taken for a number.
FixedSize = Annotated[int, Field(strict=True, ge=1, le=MAX_FIXED_SIZE)]


class SecretRef(ApiModel):
    """A Secret in the resource's namespace. The operator never reads it: the kubelet passes
    its keys AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, where present, AWS_SESSION_TOKEN,
    AWS_ENDPOINT_URL, AWS_REGION and ca.crt to the Jobs."""

    name: SecretName = Field(description="Name of the Secret.")


_NO_KEYS = "a claim is mounted without credentials"
NOT_SENT = "no credentials are sent to https:// places"


def secretless(scheme: str, why: str) -> Rule:
    """Return the rule that no Secret is named for places of a scheme."""
    start = f"{scheme}://"
    return Rule(
        f"!has(self.credentialsSecretRef) || !self.uri.startsWith('{start}')",
        f"{why}: leave credentialsSecretRef out",
        lambda place: place.credentials_secret_ref is None or not place.uri.startswith(start),
    )


ONLY_S3 = "credentials: Anonymous is for s3:// places alone"
ANONYMOUS_S3 = Rule(
    "!has(self.credentials) || self.uri.startsWith('s3://')",
    ONLY_S3,
    lambda place: place.credentials is None or place.uri.startswith("s3://"),
)
# A path that may lead out of a claim, or is written in more than one way.
_ODD_PATH = "^pvc://.*/([.]{0,2}/|[.]{1,2}$)"
PLAIN_PATH = Rule(
    f"!self.uri.matches('{_ODD_PATH}')",
    "no part of a path in a claim is empty, . or ..",
    lambda place: re.search(_ODD_PATH, place.uri) is None,
)

CLAIM_RULES = (secretless(PVC, _NO_KEYS), PLAIN_PATH)


class ModelSource(ApiModel):
    """The trained model to optimize."""

    uri: ModelUri = Field(
        description="Object that holds the model, s3://BUCKET/KEY; a public file, "
        "https://HOST/PATH; a file of a PersistentVolumeClaim in the resource's namespace, "
        "pvc://CLAIM/PATH; or a layer of an OCI artifact, oci://HOST/REPOSITORY:TAG or "
        "...@sha256:DIGEST, with #FILE where there are several, or of an image, in whose /models "
        "FILE is."
    )
    sha256: Sha256Hex = Field(
        description="SHA-256 of the object's bytes, in hex. The Job refuses any other content."
    )
    format: ModelFormat = Field(
        description="ONNX, or a tar of an ONNX file and of its weights; ExportedProgram for a .pt2 "
        "written by torch.export.save; TorchScript for a file written by torch.jit.save."
    )
    credentials_secret_ref: SecretRef | None = Field(
        default=None,
        description="Credentials of the store. Defaults to those of the output; of oci:// to none, "
        "and the Secret is of type kubernetes.io/dockerconfigjson.",
    )
    credentials: StoreCredentials | None = Field(
        default=None,
        description="Anonymous reads from a public bucket, without keys: of the Secret only "
        "AWS_ENDPOINT_URL, AWS_REGION and ca.crt are read, where it has them. Omitted, with keys.",
    )

    RULES = (
        secretless(HTTPS, NOT_SENT),
        *CLAIM_RULES,
        ANONYMOUS_S3,
    )


class InputSpec(ApiModel):
    """One input of the model."""

    name: str = Field(min_length=1, max_length=128, description="Name of the input in the model.")
    dtype: DType = Field(default=DType.FLOAT32, description="Element type.")
    shape: list[
        Annotated[
            FixedSize | DimensionName,
            Field(json_schema_extra=int_or_string(minimum=1, maximum=MAX_FIXED_SIZE, maxLength=32)),
        ]
    ] = Field(
        max_length=MOST_AXES,
        description="Sizes, outermost first: a number, or a name declared under dimensions or "
        "derivedDimensions. Empty for a scalar.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )


class DimensionRange(ApiModel):
    """Range of sizes that a named dimension takes in serving."""

    min: DimensionSize = Field(description="Smallest size.")
    opt: DimensionSize = Field(description="Size that matters most; benchmarks default to it.")
    max: DimensionSize = Field(description="Largest size.")
    multiple_of: DimensionSize | None = Field(
        default=None, description="The model accepts only multiples of this size."
    )

    RULES = (
        Rule(
            "self.min <= self.opt && self.opt <= self.max",
            "min <= opt <= max must hold",
            lambda d: d.min <= d.opt <= d.max,
        ),
        Rule(
            "!has(self.multipleOf) || (self.min % self.multipleOf == 0 && "
            "self.opt % self.multipleOf == 0 && self.max % self.multipleOf == 0)",
            "min, opt and max must be multiples of multipleOf",
            lambda d: (
                not d.multiple_of or not any(v % d.multiple_of for v in (d.min, d.opt, d.max))
            ),
        ),
    )

    def size_in(self, name: str, sizes: Mapping[str, int]) -> int:
        """Return the size of the dimension of this name, where sizes has those of all others."""
        return sizes[name]


class DimensionSum(ApiModel):
    """A dimension that is a sum of others, such as the length of a cache and of what is new."""

    sum_of: list[DimensionName] = Field(
        min_length=1,
        max_length=MOST_TERMS,
        description="Names declared under dimensions; one may be there twice.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    plus: int = Field(default=0, ge=0, le=MAX_SIZE, description="Added to the sum.")

    def of(self, sizes: Mapping[str, int]) -> int:
        """Return the sum; a name without a size counts as 0."""
        return sum(sizes.get(name, 0) for name in self.sum_of) + self.plus


class DerivedRange(DimensionRange):
    """The range of a sum of dimensions, as plans have it beside the others."""

    sum_of: list[DimensionName]
    plus: int = 0

    def size_in(self, name: str, sizes: Mapping[str, int]) -> int:  # noqa: ARG002 - see the base
        return sum(sizes[term] for term in self.sum_of) + self.plus


AnyDimension = DerivedRange | DimensionRange


def every_dimension(
    dimensions: Mapping[str, DimensionRange], derived: Mapping[str, DimensionSum]
) -> dict[str, AnyDimension]:
    """Return dimensions with those that are sums of them, whose bounds are the sums of bounds."""

    def bounds(total: DimensionSum) -> DerivedRange:
        low, opt, high = (
            total.of({name: getattr(size, which) for name, size in dimensions.items()})
            for which in ("min", "opt", "max")
        )
        return DerivedRange(min=low, opt=opt, max=high, sum_of=total.sum_of, plus=total.plus)

    return {**dimensions, **{name: bounds(total) for name, total in derived.items()}}


def with_derived(
    sizes: Mapping[str, int], dimensions: Mapping[str, DimensionRange]
) -> dict[str, int]:
    """Return sizes with those of the dimensions that are sums, in the order of dimensions."""
    return {name: size.size_in(name, sizes) for name, size in dimensions.items()}


class ImageTransform(ApiModel):
    """How an image file becomes an input: decoded, its colour converted, resized, cropped, then
    (value * scale - mean) / std per channel."""

    resize: list[DimensionSize] | None = Field(
        default=None,
        min_length=2,
        max_length=2,
        description="[height, width] in pixels. Omitted, images keep their size.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    scale: float = Field(
        default=1 / 255,
        gt=0,
        le=1,
        description="Factor on the pixel values 0 to 255. Defaults to 1/255.",
    )
    mean: list[float] = Field(
        default=[],
        max_length=3,
        description="Subtracted after scaling, per channel in the order of color. Empty means 0.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    std: list[Annotated[float, Field(gt=0)]] = Field(
        default=[],
        max_length=3,
        description="Divided by after subtracting mean, per channel. Empty means 1.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    crop: list[DimensionSize] | None = Field(
        default=None,
        min_length=2,
        max_length=2,
        description="[height, width] in pixels, cut from the centre after resizing. A smaller "
        "image is refused, not padded.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    layout: ImageLayout = Field(
        default=ImageLayout.NCHW,
        description="Axes of the input: NCHW (channels first) or NHWC (channels last).",
    )
    color: ImageColor = Field(
        default=ImageColor.RGB,
        description="Channels of the input: RGB, BGR, or Gray, which is one.",
    )

    RULES = (
        Rule(
            "!has(self.mean) || size(self.mean) == 0 || "
            "size(self.mean) == (has(self.color) && self.color == 'Gray' ? 1 : 3)",
            "mean must be empty or have three values, one per channel; with color Gray one",
            lambda t: len(t.mean) in (0, t.color.channels),
        ),
        Rule(
            "!has(self.std) || size(self.std) == 0 || "
            "size(self.std) == (has(self.color) && self.color == 'Gray' ? 1 : 3)",
            "std must be empty or have three values, one per channel; with color Gray one",
            lambda t: len(t.std) in (0, t.color.channels),
        ),
        Rule(
            "!has(self.crop) || !has(self.resize) || "
            "(self.crop[0] <= self.resize[0] && self.crop[1] <= self.resize[1])",
            "crop must not be larger than resize, which comes first",
            lambda t: (
                not t.crop
                or not t.resize
                or (t.crop[0] <= t.resize[0] and t.crop[1] <= t.resize[1])
            ),
        ),
        pixel_rule("resize"),
        pixel_rule("crop"),
    )
