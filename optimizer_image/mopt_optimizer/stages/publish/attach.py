"""Attaches to an image what proves it: each a manifest that refers to the image's."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from mopt_api.jobs.plan import PublishPlan
from mopt_api.jobs.publishing import SIGNING_KEY_FILE, SIGNING_KEY_VARIABLE
from mopt_optimizer.digests import bytes_digest, json_bytes
from mopt_optimizer.proofs.attach import image_signature, referrers
from mopt_optimizer.proofs.facts import Facts
from mopt_optimizer.proofs.referrer import Referrer
from mopt_optimizer.proofs.signing import SigningKey
from mopt_optimizer.publishing.archive import Given
from mopt_optimizer.publishing.manifests import EMPTY, Descriptor, Image, referrer
from mopt_optimizer.publishing.registry import Registry
from mopt_optimizer.store.blobs import Blobs

from .forms import LaidOut

SIGNS = "dev.mopt.signs"
"""Annotation of what is signed: digest over that and the key's name. Signatures of the same differ,
so that it tells whether another one is needed."""
_TITLE = "org.opencontainers.image.title"


def signing_key(plan: PublishPlan, environ: Mapping[str, str]) -> Path | None:
    """Return the file of the administrator's key; None where nothing is to be signed.

    Raises:
        SigningKeyError: It cannot be used.
    """
    if not plan.signed:
        return None
    path = Path(environ.get(SIGNING_KEY_VARIABLE, SIGNING_KEY_FILE))
    SigningKey.load(path)
    return path


def attach_proofs(
    registry: Registry,
    form: LaidOut,
    made: Image,
    plan: PublishPlan,
    blobs: Blobs,
    key: Path | None,
) -> None:
    """Attach statements, bill of materials and report to an image, signed where there is a key.

    Raises:
        DataError: result.json cannot be read.
        RegistryError, StoreError.
    """
    facts = Facts(
        subject=made.manifest.digest,
        repository=plan.oci.repository,
        form=form.form,
        resource=plan.resource,
        result=form.result,
        report=blobs.read_page(form.form.result),
    )
    attach(registry, made.manifest.descriptor, referrers(facts, form.folder, key=key))


def attach_signature(registry: Registry, subject: Descriptor, key: Path) -> None:
    """Attach a signature to an index, which is what tags name.

    Raises:
        RegistryError.
    """
    attach(registry, subject, [image_signature(subject.digest, key=key)])


def attach(registry: Registry, subject: Descriptor, attached: Sequence[Referrer]) -> None:
    """Push what refers to a manifest, but for what was signed there with the same key before.

    Raises:
        RegistryError.
    """
    known = signed_before(registry.referrers(subject.digest))
    for each in attached:
        signs = what_it_signs(each.content)
        if signs is not None and signs in known:
            continue
        layer = Descriptor(
            each.media_type,
            bytes_digest(each.content),
            len(each.content),
            {_TITLE: each.name},
        )
        annotations = dict(each.annotations) | ({SIGNS: signs} if signs else {})
        registry.push_blob(layer.digest, Given(each.content))
        registry.push_blob(EMPTY.digest, Given(EMPTY.data))
        registry.push_referrer(
            subject.digest, referrer(subject, layer, each.artifact_type, annotations)
        )


def what_it_signs(content: bytes) -> str | None:
    """Return a digest over what a Sigstore bundle signs, and by which key; None of anything else.

    Pure.
    """
    try:
        bundle = json.loads(content)
        payload = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
        signed = json_bytes({"payload": _sorted(payload), "by": bundle["verificationMaterial"]})
    except (ValueError, LookupError, TypeError):
        return None
    return bytes_digest(signed)


def _sorted(value: object) -> object:
    """Return JSON with lists of texts in order: model-signing lists paths as a set has them."""
    if isinstance(value, dict):
        return {key: _sorted(item) for key, item in value.items()}
    if isinstance(value, list):
        if all(isinstance(item, str) for item in value):
            return sorted(value)
        return [_sorted(item) for item in value]
    return value


def signed_before(index: bytes | None) -> frozenset[str]:
    """Return what an index of referrers has signatures of; nothing of what is no index. Pure."""
    try:
        entries = json.loads(index or b"{}").get("manifests", [])
        found = [(entry.get("annotations") or {}).get(SIGNS) for entry in entries]
    except (ValueError, AttributeError, TypeError):
        return frozenset()
    return frozenset(signs for signs in found if isinstance(signs, str))
