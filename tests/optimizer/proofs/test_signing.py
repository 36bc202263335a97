"""Keys, and signatures as tools that are not ours take them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from proved_image import Keys, facts, files, make_keys

from mopt_api.reasons import Reason
from mopt_optimizer.errors import OptimizerError, ProofRefused, SigningKeyError
from mopt_optimizer.proofs.attach import image_signature, referrers
from mopt_optimizer.proofs.bundles import PublicKey, predicate_type
from mopt_optimizer.proofs.referrer import BUNDLE, FILES_PREDICATE, SIGNATURE_PREDICATE
from mopt_optimizer.proofs.signing import SigningKey

SUBJECT = f"sha256:{'5' * 64}"


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def model_signing(folder: Path, signature: Path, key: Path) -> subprocess.CompletedProcess[str]:
    """Run the command of docs/proofs.md."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "model_signing", "verify", "key", str(folder)),
            *("--signature", str(signature), "--public_key", str(key)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(params=["prime256v1", "secp384r1", "secp521r1"])
def any_keys(request: pytest.FixtureRequest, tmp_path: Path) -> Keys:
    return make_keys(tmp_path / "keys", request.param)


def test_model_signing_accepts_the_files_and_refuses_others(any_keys: Keys, tmp_path: Path) -> None:
    folder = files(tmp_path)
    made = referrers(facts(), folder, key=any_keys.private)
    bundle = next(each for each in made if predicate_type(each.content) == FILES_PREDICATE)
    signature = tmp_path / "model.sig"
    signature.write_bytes(bundle.content)
    done = model_signing(folder, signature, any_keys.public)
    assert (done.returncode, "Verification succeeded" in done.stdout) == (0, True), done.stderr
    model = folder / "small" / "1" / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"?")
    assert model_signing(folder, signature, any_keys.public).returncode == 1


def test_a_signature_is_opened_with_its_key_only(any_keys: Keys, keys: Keys) -> None:
    made = image_signature(SUBJECT, key=any_keys.private)
    assert made.artifact_type == made.media_type == BUNDLE
    statement = PublicKey.load(any_keys.public).opened(made.content)
    assert statement["predicateType"] == SIGNATURE_PREDICATE
    assert statement["subject"][0]["digest"]["sha256"] == SUBJECT[7:]
    with pytest.raises(ProofRefused, match="another key"):
        PublicKey.load(keys.public).opened(made.content)


def test_a_key_as_pkcs8_is_taken(keys: Keys, tmp_path: Path) -> None:
    path = tmp_path / "pkcs8.pem"
    openssl("pkcs8", "-topk8", "-nocrypt", "-in", str(keys.private), "-out", str(path))
    content = image_signature(SUBJECT, key=path).content
    assert PublicKey.load(keys.public).opened(content)


def encrypted(keys: Keys, path: Path) -> None:
    openssl("ec", "-aes256", "-passout", "pass:x", "-in", str(keys.private), "-out", str(path))


def rsa(_keys: Keys, path: Path) -> None:
    openssl("genrsa", "-out", str(path), "2048")


def other_curve(_keys: Keys, path: Path) -> None:
    openssl("ecparam", "-name", "secp256k1", "-genkey", "-noout", "-out", str(path))


def public(keys: Keys, path: Path) -> None:
    path.write_bytes(keys.public.read_bytes())


def garbage(_keys: Keys, path: Path) -> None:
    path.write_text("s3cret")


def missing(_keys: Keys, _path: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(encrypted, "is encrypted", id="encrypted"),
        pytest.param(rsa, "no key of the curves P-256, P-384, P-521", id="RSA"),
        pytest.param(other_curve, "no key of the curves", id="another curve"),
        pytest.param(public, "no private key", id="a public key"),
        pytest.param(garbage, "no private key", id="no PEM"),
        pytest.param(missing, "cannot be read", id="no file"),
    ],
)
def test_a_key_that_cannot_sign_is_refused(
    keys: Keys, tmp_path: Path, make: object, message: str
) -> None:
    path = tmp_path / "bad.pem"
    assert callable(make)
    make(keys, path)
    with pytest.raises(SigningKeyError, match=message) as caught:
        SigningKey.load(path)
    assert "s3cret" not in str(caught.value)
    error: OptimizerError = caught.value
    assert error.reason is Reason.INVALID_SIGNING_KEY
    assert not error.retryable
