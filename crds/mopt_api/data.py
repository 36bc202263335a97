"""The part of `spec` about data: samples and ground truth, as folders or archives of them."""

from __future__ import annotations

import re
from typing import ClassVar

from pydantic import Field

from .base import ApiModel, DataUri, Rule, Sha256Hex
from .enums import StoreCredentials
from .inputs import (
    ANONYMOUS_S3,
    CLAIM_RULES,
    NOT_SENT,
    ONLY_S3,
    PLAIN_PATH,
    ImageTransform,
    SecretRef,
    secretless,
)
from .stores import ARCHIVES, HTTPS, PVC, takes_credentials

_ONE_FILE = rf"({'|'.join(each.replace('.', '[.]') for each in ARCHIVES)})(#.+)?$|[.]np[yz]$"
_FILE_RULES = (
    Rule(
        "has(self.sha256) || !self.uri.matches('^https://|#')",
        "data on a web server, or in an archive, needs sha256: the digest of the file, as "
        "sha256sum prints it",
        lambda place: place.sha256 is not None or not re.search("^https://|#", place.uri),
    ),
    Rule(
        f"!has(self.sha256) || self.uri.matches('{_ONE_FILE}')",
        "with sha256, uri is one file, a .zip, .tar, .tar.gz, .tgz, .npz or .npy: a folder is "
        "known by the digest of its files, so leave sha256 out",
        lambda place: place.sha256 is None or re.search(_ONE_FILE, place.uri) is not None,
    ),
)
_FILE = (
    "SHA-256 of the file that uri names, in hex: an archive of a folder (.zip, .tar, .tar.gz, "
    ".tgz), or a single .npz or .npy. https:// needs it. The Job refuses any other content before "
    "it opens it. Omitted, uri is a folder."
)


class DataSource(ApiModel):
    """A folder of samples, or an archive of one: images, or arrays as .npz or .npy files."""

    uri: DataUri = Field(
        description="Prefix of the samples, s3://BUCKET/PREFIX/, or their folder, "
        "pvc://CLAIM/PATH/; they are used in the order of their keys. Either images (.png, .jpg, "
        ".jpeg, .webp), for a model with one float32 input, or arrays: an .npz holds one array per "
        "input, named after the input; an .npy holds the only input. Arrays have the input's dtype "
        "and shape, including the batch axis. With sha256, an archive of them, there or at "
        "https://HOST/PATH, with #FOLDER where they lie in one of its folders."
    )
    sha256: Sha256Hex | None = Field(default=None, description=_FILE)
    samples: int = Field(
        default=64, ge=1, le=4096, description="Maximum number of files to use, from the first on."
    )
    images: ImageTransform = Field(
        default=ImageTransform(), description="How an image becomes an input."
    )
    credentials_secret_ref: SecretRef | None = Field(
        default=None, description="Credentials of the store. Defaults to those of the output."
    )
    credentials: StoreCredentials | None = Field(
        default=None,
        description="Anonymous reads from a public bucket, without keys: of the Secret only "
        "AWS_ENDPOINT_URL, AWS_REGION and ca.crt are read, where it has them. Omitted, with keys.",
    )

    RULES: ClassVar[tuple[Rule, ...]] = (
        secretless(HTTPS, NOT_SENT),
        *CLAIM_RULES,
        ANONYMOUS_S3,
        *_FILE_RULES,
    )


class ReferenceSource(ApiModel):
    """A folder of ground truth: the expected outputs for each evaluation sample."""

    uri: DataUri = Field(
        description="Prefix of the references, s3://BUCKET/PREFIX/, or their folder, "
        "pvc://CLAIM/PATH/, or with sha256 an archive, as of samples. Each sample needs a "
        "reference of the same name except for the suffix "
        "(a/1.png and a/1.npy), and each reference a sample. Either images, for a model with one "
        "output, or arrays of the outputs' shapes: an .npy for one output, an .npz with one array "
        "per output, in the model's order. For Top1Agreement, integer labels are enough, of the "
        "output's shape without its last axis."
    )
    sha256: Sha256Hex | None = Field(default=None, description=_FILE)
    images: ImageTransform = Field(
        default=ImageTransform(), description="How an image becomes the expected output."
    )

    RULES = (PLAIN_PATH, *_FILE_RULES)


def _inside(uri: str, other: str) -> bool:
    """Tell whether a folder is another or in it; the folders of an archive are in it."""
    folder = other if other.endswith("/") else f"{other}/"
    return f"{uri}/".startswith(folder) or f"{uri}#".startswith(f"{other}#")


def _within(uri: str, other: str) -> str:
    """Return _inside in CEL, of two fields."""
    folder = f"({other}.endsWith('/') ? {other} : {other} + '/')"
    return f"(({uri} + '/').startsWith({folder}) || ({uri} + '#').startsWith({other} + '#'))"


_KEYLESS = f"^({PVC}|{HTTPS})://"


class EvaluationSource(DataSource):
    """A folder of samples, optionally with ground truth."""

    references: ReferenceSource | None = Field(
        default=None,
        description="Ground truth. With it, gates compare outputs with it instead of with the FP32 "
        "output, the baseline is gated too, and quantization.fallback has no effect. Read with "
        "the samples' credentials.",
    )

    @property
    def uris(self) -> list[str]:
        """The folders that are read with the same credentials."""
        return [self.uri, *([self.references.uri] if self.references else [])]

    RULES = (
        PLAIN_PATH,
        Rule(
            f"!has(self.credentialsSecretRef) || !self.uri.matches('{_KEYLESS}') || "
            f"(has(self.references) && !self.references.uri.matches('{_KEYLESS}'))",
            "claims and web servers are read without credentials: leave credentialsSecretRef out",
            lambda d: d.credentials_secret_ref is None or any(map(takes_credentials, d.uris)),
        ),
        Rule(
            "!has(self.credentials) || self.uri.startsWith('s3://') || "
            "(has(self.references) && self.references.uri.startsWith('s3://'))",
            ONLY_S3,
            lambda d: d.credentials is None or any(uri.startswith("s3://") for uri in d.uris),
        ),
        Rule(
            "!has(self.references) || "
            f"(!{_within('self.uri', 'self.references.uri')}"
            f" && !{_within('self.references.uri', 'self.uri')})",
            "references.uri and uri must be separate folders, neither inside the other",
            lambda d: (
                d.references is None
                or not (_inside(d.uri, d.references.uri) or _inside(d.references.uri, d.uri))
            ),
        ),
        *_FILE_RULES,
    )


class DataSpec(ApiModel):
    """Real data for calibration and evaluation; use disjoint samples."""

    calibration: DataSource | None = Field(
        default=None,
        description="Samples that static INT8 ranges are calibrated on. "
        "Without them static INT8 variants are Skipped.",
    )
    evaluation: EvaluationSource | None = Field(
        default=None, description="Samples that quality is measured on."
    )
