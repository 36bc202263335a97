"""All that is attached to an image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mopt_optimizer.digests import bytes_digest, json_bytes

from .bom import bom
from .facts import Facts
from .predicates import gates_statement, quality_statement, signature_statement
from .referrer import (
    CYCLONEDX,
    FILES_PREDICATE,
    HTML,
    REPORT,
    SIGNATURE_PREDICATE,
    Referrer,
    bundle_referrer,
    statement_referrer,
)
from .signing import SigningKey


def referrers(facts: Facts, files: Path, *, key: Path | None) -> list[Referrer]:
    """Return what to attach to an image, in the order to attach it: what is signed comes last.

    Without a key: the statements unsigned, the bill of materials and the report. All but the
    signatures is the same for the same facts.

    Args:
        files: Folder with the files that lie under /models in the image, and no others.
        key: The administrator's private key, unencrypted PEM.

    Raises:
        SigningKeyError: The key cannot be used.
        DataError: result.json is not that of the form, or cannot be read.
        OSError
    """
    materials = bom(facts)
    attached = {"bom": bytes_digest(materials)}
    found = [Referrer(CYCLONEDX, CYCLONEDX, materials, "bom.cdx.json")]
    if facts.report is not None:
        attached["report"] = bytes_digest(facts.report)
        found.append(Referrer(REPORT, HTML, facts.report, "report.html"))
    statements = {
        "test-result": gates_statement(facts),
        "quality": quality_statement(facts, attached),
    }
    if key is None:
        return [*found, *(_unsigned(name, said) for name, said in statements.items())]
    signer = SigningKey.load(key)
    found += [_signed(name, said, signer) for name, said in statements.items()]
    signature = signer.signed_files(files)
    found.append(bundle_referrer(signature, FILES_PREDICATE, "model"))
    return [*found, signature_of(facts.subject, signer)]


def image_signature(subject: str, *, key: Path) -> Referrer:
    """Return the signature that `cosign verify` looks for, of any manifest: an index too.

    Args:
        subject: Digest of the manifest.

    Raises:
        SigningKeyError: The key cannot be used.
    """
    return signature_of(subject, SigningKey.load(key))


def signature_of(subject: str, signer: SigningKey) -> Referrer:
    """Return image_signature with a key that is loaded."""
    content = signer.signed(json_bytes(signature_statement(subject)))
    return bundle_referrer(content, SIGNATURE_PREDICATE, "signature")


def _signed(name: str, said: dict[str, Any], signer: SigningKey) -> Referrer:
    return bundle_referrer(signer.signed(json_bytes(said)), said["predicateType"], name)


def _unsigned(name: str, said: dict[str, Any]) -> Referrer:
    return statement_referrer(json_bytes(said), said["predicateType"], name)
