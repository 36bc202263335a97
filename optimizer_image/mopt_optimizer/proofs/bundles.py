"""Opens Sigstore bundles with a public key: what they say is returned only where it was signed."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mopt_optimizer.errors import ProofRefused, SigningKeyError

from .predicates import STATEMENT
from .referrer import BUNDLE, IN_TOTO
from .signing import CURVES, key_hint

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

_KEY_ID = "key"


@dataclass(frozen=True)
class PublicKey:
    """The public part of the administrator's key."""

    path: Path
    public: EllipticCurvePublicKey

    @classmethod
    def load(cls, path: Path) -> PublicKey:
        """Read a PEM file with a public elliptic-curve key.

        Raises:
            SigningKeyError: It is no such file.
        """
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        try:
            key = load_pem_public_key(path.read_bytes())
        except OSError as error:
            raise SigningKeyError(f"{path} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise SigningKeyError(f"{path} holds no public key in PEM") from error
        if not isinstance(key, EllipticCurvePublicKey) or key.curve.name not in CURVES:
            curves = ", ".join(CURVES.values())
            raise SigningKeyError(f"{path} holds no public key of the curves {curves}")
        return cls(path, key)

    @property
    def hints(self) -> set[str]:
        """What bundles name it by: as model_signing and as cosign write it."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        der = self.public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return {
            key_hint(self.public),
            base64.b64encode(hashlib.sha256(der).digest()).decode(),
        }

    def opened(self, content: bytes) -> dict[str, Any]:
        """Return the statement in a bundle.

        Raises:
            ProofRefused: This key did not sign it, or it is no bundle with a statement.
        """
        from securesystemslib.dsse import Envelope
        from securesystemslib.exceptions import VerificationError
        from securesystemslib.signer import Signature, SSlibKey  # type: ignore[attr-defined]

        envelope = _envelope(content, self.hints)
        key = SSlibKey.from_crypto(self.public, keyid=_KEY_ID)
        signatures = {_KEY_ID: Signature(_KEY_ID, envelope["signatures"][0].hex())}
        signed = Envelope(envelope["payload"], envelope["type"], signatures)
        try:
            signed.verify([key], threshold=1)
        except VerificationError as error:
            raise ProofRefused("its signature is not of this key over these bytes") from error
        return _statement(signed.payload)


def predicate_type(content: bytes) -> str | None:
    """Return the predicate type of a bundle or statement that nobody checked yet; None of none."""
    try:
        document = json.loads(content)
        if "dsseEnvelope" in document:
            document = json.loads(base64.b64decode(document["dsseEnvelope"]["payload"]))
        found = document["predicateType"]
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
    return found if isinstance(found, str) else None


def _envelope(content: bytes, hints: set[str]) -> dict[str, Any]:
    """Return payload, type and signatures of a bundle's envelope, as bytes.

    Raises:
        ProofRefused: It is no bundle of one signature, or names another key.
    """
    from sigstore_models.bundle.v1 import Bundle

    try:
        given = json.loads(content)
        given["verificationMaterial"].setdefault("tlogEntries", [])
        bundle = Bundle.from_dict(given)
        # Base64 has spellings that decode alike; one is written.
        as_written = bundle.to_dict() == given
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ProofRefused("it is no Sigstore bundle") from error
    envelope, key = bundle.dsse_envelope, bundle.verification_material.public_key
    if bundle.media_type != BUNDLE or not as_written or envelope is None:
        raise ProofRefused("it is no Sigstore bundle of version 0.3 with a signed statement")
    if key is None or (key.hint is not None and key.hint not in hints):
        raise ProofRefused("it was made with another key")
    if len(envelope.signatures) != 1 or envelope.payload_type != IN_TOTO:
        raise ProofRefused("it is no in-toto statement with one signature")
    return {
        "payload": envelope.payload,
        "type": envelope.payload_type,
        "signatures": [signature.sig for signature in envelope.signatures],
    }


def _statement(payload: bytes) -> dict[str, Any]:
    try:
        statement = json.loads(payload)
    except ValueError as error:
        raise ProofRefused("what it signs is no JSON") from error
    if not isinstance(statement, dict) or statement.get("_type") != STATEMENT:
        raise ProofRefused("what it signs is no in-toto statement of version 1")
    return statement
