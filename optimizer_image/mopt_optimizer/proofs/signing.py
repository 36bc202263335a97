"""Signs with the administrator's key: the one place that reads it."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mopt_optimizer.errors import SigningKeyError

from .referrer import BUNDLE, IN_TOTO

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
"""Curves that model_signing and cosign both take."""


@dataclass(frozen=True)
class SigningKey:
    """The administrator's private key; opened, so that it is known to be usable."""

    path: Path
    private: EllipticCurvePrivateKey

    @classmethod
    def load(cls, path: Path) -> SigningKey:
        """Read an unencrypted PEM file with an elliptic-curve key.

        Raises:
            SigningKeyError: It is no such file; nothing of its content is quoted.
        """
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            key = load_pem_private_key(path.read_bytes(), password=None)
        except OSError as error:
            raise SigningKeyError(f"{path} cannot be read: {error.strerror}") from error
        except TypeError as error:
            raise SigningKeyError(f"{path} is encrypted; it must not be") from error
        except ValueError as error:
            raise SigningKeyError(f"{path} holds no private key in PEM") from error
        if not isinstance(key, EllipticCurvePrivateKey) or key.curve.name not in CURVES:
            raise SigningKeyError(f"{path} holds no key of the curves {', '.join(CURVES.values())}")
        return cls(path, key)

    def signed(self, statement: bytes) -> bytes:
        """Return a Sigstore bundle with a statement, signed as DSSE has it."""
        from securesystemslib.dsse import Envelope
        from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]
        from sigstore_models.bundle.v1 import Bundle

        envelope = Envelope(statement, IN_TOTO, {})
        envelope.sign(CryptoSigner(self.private))
        bundle = {
            "mediaType": BUNDLE,
            "verificationMaterial": {
                "publicKey": {"hint": key_hint(self.private.public_key())},
                "tlogEntries": [],
            },
            # The key is named once, by the hint.
            "dsseEnvelope": _without_key_ids(envelope.to_dict()),
        }
        return Bundle.from_dict(bundle).to_json().encode()

    def signed_files(self, folder: Path) -> bytes:
        """Return the OpenSSF model signature of a folder: a Sigstore bundle over all its files.

        Raises:
            OSError
        """
        from model_signing import signing

        config = signing.Config()  # type: ignore[no-untyped-call]
        config.use_elliptic_key_signer(private_key=self.path)
        with tempfile.TemporaryDirectory() as scratch:
            signature = Path(scratch, "model.sig")
            config.sign(folder, signature)
            return signature.read_bytes()


def key_hint(public_key: Any) -> str:
    """Return what a bundle names a public key by: SHA-256 of its PEM, as model_signing has it."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem = public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(pem).hexdigest()


def _without_key_ids(envelope: dict[str, Any]) -> dict[str, Any]:
    signatures = [{"sig": signature["sig"]} for signature in envelope["signatures"]]
    return envelope | {"signatures": signatures}
