"""The manifest of a prepare Job in the output store."""

from __future__ import annotations

import json

from pydantic import ValidationError

from mopt_api.jobs.prepare_result import PrepareResult
from mopt_optimizer.store.blobs import Blobs

# What a manifest says; the rest tells how it came about.
_SAYS = (
    "source",
    "operators",
    "artifacts",
    "artifacts_by_kind",
    "narrow_sums",
    "graph",
    "outrun",
    "starts",
    "calibration_digest",
    "calibration_samples",
    "software",
)


def stored_manifest(blobs: Blobs, key: str, result: PrepareResult) -> tuple[PrepareResult, str]:
    """Return the manifest of a key, and its digest: the one in the store where it says what result
    says, so that what was measured from it is found again; else result, stored.

    Raises:
        StoreError.
    """
    if known := _known(blobs, key, result):
        return known
    digest = blobs.put_bytes(manifest_bytes(result))
    blobs.index_put(key, digest)
    return result, digest


def manifest_bytes(result: PrepareResult) -> bytes:
    """Return a manifest as it is stored."""
    return json.dumps(result.to_api(), sort_keys=True, indent=1).encode()


def known_manifest(blobs: Blobs, key: str) -> tuple[PrepareResult, str] | None:
    """Return the manifest of a key, and its digest; None where there is none."""
    if (found := blobs.index_read(key)) is None:
        return None
    digest, data = found
    try:
        return PrepareResult.model_validate_json(data), digest
    except ValidationError:
        return None  # Written by another version, or no manifest at all.


def _known(blobs: Blobs, key: str, result: PrepareResult) -> tuple[PrepareResult, str] | None:
    """Return the manifest in the store, if it says what result says."""
    if (found := known_manifest(blobs, key)) is None:
        return None
    same = all(getattr(found[0], name) == getattr(result, name) for name in _SAYS)
    return found if same else None
