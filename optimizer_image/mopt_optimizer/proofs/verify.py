"""Verifies an image with a public key, offline: no transparency log, no model is opened."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mopt_optimizer.errors import ProofRefused

from .bundles import PublicKey, predicate_type
from .checks import Check, Found, best, names
from .reading import Attached, Repository, attached, document, unpack
from .referrer import (
    BUNDLE,
    FILES_PREDICATE,
    QUALITY_PREDICATE,
    SIGNATURE_PREDICATE,
    TEST_RESULT_PREDICATE,
)
from .wanted import Wanted

INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_NAMES = {
    SIGNATURE_PREDICATE: "signature",
    FILES_PREDICATE: "signature of the files",
    TEST_RESULT_PREDICATE: "statement test-result",
    QUALITY_PREDICATE: "statement quality",
}


@dataclass(frozen=True)
class Verdict:
    """What holds of one image, or of an index of images.

    Attributes:
        quality: Predicates of the statements on quality that hold.
    """

    digest: str
    checks: Sequence[Check]
    quality: Sequence[Mapping[str, Any]] = field(default_factory=tuple)

    @property
    def holds(self) -> bool:
        """Whether all does."""
        return all(check.holds for check in self.checks)


def verify(repository: Repository, name: str, key: PublicKey, wanted: Wanted) -> list[Verdict]:
    """Return what holds of the image under a tag or digest, or of an index and all its images.

    Raises:
        ProofRefused: There is no such manifest, or it is damaged.
        OSError, RegistryError
    """
    digest, manifest = document(repository, name)
    if manifest.get("mediaType") not in INDEX_TYPES:
        return [_image(repository, digest, manifest, key, wanted)]
    bundles = [each for each in attached(repository, digest) if each.artifact_type == BUNDLE]
    signed, _ = _signed(bundles, SIGNATURE_PREDICATE, digest, key)
    verdicts = [Verdict(digest, [signed])]
    for entry in manifest.get("manifests") or ():
        image, document_ = document(repository, str(entry.get("digest")))
        verdicts.append(_image(repository, image, document_, key, wanted))
    return verdicts


def _image(
    repository: Repository,
    digest: str,
    manifest: Mapping[str, Any],
    key: PublicKey,
    wanted: Wanted,
) -> Verdict:
    found = attached(repository, digest)
    checks = [Check(f"referrer {each.digest}", False, each.fault) for each in found if each.fault]
    bundles = [each for each in found if each.artifact_type == BUNDLE and not each.fault]
    statements: dict[str, list[dict[str, Any]]] = {}
    for kind in (SIGNATURE_PREDICATE, TEST_RESULT_PREDICATE, QUALITY_PREDICATE):
        check, statements[kind] = _signed(bundles, kind, digest, key)
        checks.append(check)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "models")
        folder.mkdir()
        try:
            files = unpack(repository, manifest, folder)
            checks.append(_files(bundles, folder, Path(scratch, "model.sig"), key))
        except ProofRefused as error:
            return Verdict(digest, [*checks, Check("files", False, str(error))])
    contents = [(each.artifact_type, each.content) for each in found if not each.fault]
    qualities = [_predicate(each) for each in statements[QUALITY_PREDICATE]]
    results = [_predicate(each) for each in statements[TEST_RESULT_PREDICATE]]
    checks += best(qualities, results, Found.of(digest, files, contents), wanted)
    return Verdict(digest, checks, qualities)


def _signed(
    bundles: Sequence[Attached], kind: str, subject: str, key: PublicKey
) -> tuple[Check, list[dict[str, Any]]]:
    """Return whether a statement of a kind is signed for an image, and all that are."""
    reasons: list[str] = []
    statements: list[dict[str, Any]] = []
    for bundle in _of_kind(bundles, kind):
        try:
            statement = key.opened(bundle.content)
        except ProofRefused as error:
            reasons.append(f"{bundle.digest}: {error}")
            continue
        if names(statement, subject):
            statements.append(statement)
        else:
            reasons.append(f"{bundle.digest}: it is on another image")
    if statements:
        return Check(_NAMES[kind], True, "signed by this key"), statements
    return Check(_NAMES[kind], False, "; ".join(reasons) or "none is attached"), []


def _files(bundles: Sequence[Attached], folder: Path, signature: Path, key: PublicKey) -> Check:
    """Return whether the files are those of an OpenSSF model signature."""
    from model_signing import verifying

    name, reasons = _NAMES[FILES_PREDICATE], []
    for bundle in _of_kind(bundles, FILES_PREDICATE):
        signature.write_bytes(bundle.content)
        config = verifying.Config()  # type: ignore[no-untyped-call]
        try:
            key.opened(bundle.content)
            config.use_elliptic_key_verifier(public_key=key.path).verify(folder, signature)
            return Check(name, True, "as model_signing verifies it")
        except (ProofRefused, ValueError, LookupError) as error:
            reasons.append(f"{bundle.digest}: {error}")
    return Check(name, False, "; ".join(reasons) or "none is attached")


def _of_kind(bundles: Sequence[Attached], kind: str) -> list[Attached]:
    """Return the bundles of a kind; those of no kind too, so that one is named that is damaged."""
    kinds = [(each, predicate_type(each.content)) for each in bundles]
    return [each for each, found in kinds if found == kind or found not in _NAMES]


def _predicate(statement: Mapping[str, Any]) -> dict[str, Any]:
    found = statement.get("predicate")
    return found if isinstance(found, dict) else {}
