"""The digests of all files of a release in one, and its signature."""

from __future__ import annotations

import hashlib
from pathlib import Path

from .commands import run

SUMS = "SHA256SUMS"
SIGNATURE = f"{SUMS}.sigstore.json"


def write_sums(folder: Path) -> Path:
    """Write the digests of a folder's files, as `sha256sum --check` reads them."""
    target = folder / SUMS
    names = sorted(p.name for p in folder.iterdir() if p.name not in (SUMS, SIGNATURE))
    target.write_text("".join(f"{_sha256(folder / name)}  {name}\n" for name in names))
    return target


def sign(cosign: Path, key: str, folder: Path) -> Path:
    """Sign a folder's digests by a key and return the signature: a Sigstore bundle.

    By the key alone: no transparency log, so no network, is needed to sign or to verify.

    Args:
        key: Whatever cosign takes: a file, env://NAME or a KMS; its password in COSIGN_PASSWORD.

    Raises:
        ReleaseError: cosign refuses the key.
    """
    target = folder / SIGNATURE
    run(
        [
            *(cosign, "sign-blob", "--yes", "--key", key, "--bundle", target),
            *("--use-signing-config=false", "--tlog-upload=false", folder / SUMS),
        ],
        cwd=Path.cwd(),  # a key's path is the caller's
    )
    return target


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
