"""What is attached to an image: one OCI 1.1 referrer each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
"""A Sigstore bundle, as cosign 3 attaches it; of signatures and of signed statements."""
IN_TOTO = "application/vnd.in-toto+json"
"""An in-toto statement: the payload of a bundle, and what is attached where there is no key."""
CYCLONEDX = "application/vnd.cyclonedx+json"
REPORT = "application/vnd.mopt.report.v1+html"
HTML = "text/html"

SIGNATURE_PREDICATE = "https://sigstore.dev/cosign/sign/v1"
FILES_PREDICATE = "https://model_signing/signature/v1.0"
TEST_RESULT_PREDICATE = "https://in-toto.io/attestation/test-result/v0.1"
QUALITY_PREDICATE = "https://mopt.dev/quality/v1"

BUNDLE_CONTENT_ANNOTATION = "dev.sigstore.bundle.content"
BUNDLE_PREDICATE_ANNOTATION = "dev.sigstore.bundle.predicateType"
PREDICATE_ANNOTATION = "in-toto.io/predicate-type"


@dataclass(frozen=True)
class Referrer:
    """A manifest with one layer that refers to an image as its subject.

    Attributes:
        artifact_type: Of the manifest.
        media_type: Of the layer.
        content: Of the layer.
        name: File name of the content: the layer's annotation org.opencontainers.image.title.
        annotations: Of the manifest.
    """

    artifact_type: str
    media_type: str
    content: bytes
    name: str
    annotations: Mapping[str, str] = field(default_factory=dict)


def bundle_referrer(content: bytes, predicate: str, name: str) -> Referrer:
    """Return what attaches a Sigstore bundle with a statement of a predicate type. Pure."""
    annotations = {
        BUNDLE_CONTENT_ANNOTATION: "dsse-envelope",
        BUNDLE_PREDICATE_ANNOTATION: predicate,
    }
    return Referrer(BUNDLE, BUNDLE, content, f"{name}.sigstore.json", annotations)


def statement_referrer(content: bytes, predicate: str, name: str) -> Referrer:
    """Return what attaches a statement that nobody signed. Pure."""
    return Referrer(IN_TOTO, IN_TOTO, content, f"{name}.json", {PREDICATE_ANNOTATION: predicate})
