"""OCI image layouts: digests, one-layer images, and tars that hold only what is missing."""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
LAYOUT = b'{"imageLayoutVersion": "1.0.0"}'


def digest_of(data: bytes) -> str:
    """Return the digest by which OCI names these bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def blob_path(digest: str) -> str:
    """Return a blob's path inside a layout."""
    return "blobs/" + digest.replace(":", "/")


def normalize(reference: str) -> str:
    """Return the name that containerd gives to what a Pod says: docker.io and :latest added."""
    head, _, tail = reference.rpartition("/")
    registry, _, rest = reference.partition("/")
    if not head:
        reference = f"docker.io/library/{reference}"
    elif not ("." in registry or ":" in registry or registry == "localhost"):
        reference = f"docker.io/{reference}"
    elif registry == "docker.io" and "/" not in rest:
        reference = f"docker.io/library/{rest}"
    return reference if ":" in tail or "@" in tail else f"{reference}:latest"


@dataclass(frozen=True)
class Image:
    """An image inside a layout: its index entry and manifest."""

    descriptor: dict[str, Any]
    manifest: dict[str, Any]

    @property
    def digest(self) -> str:
        """Return the manifest's digest."""
        return str(self.descriptor["digest"])

    @property
    def layers(self) -> list[str]:
        """Return the digests of the layers, base first."""
        return [str(layer["digest"]) for layer in self.manifest["layers"]]

    @property
    def blobs(self) -> list[str]:
        """Return the digests of manifest, configuration and layers."""
        return [self.digest, str(self.manifest["config"]["digest"]), *self.layers]


def index_for(image: Image, name: str) -> bytes:
    """Render the index.json that gives an image its name in containerd."""
    entry = {
        "mediaType": MANIFEST,
        "digest": image.digest,
        "size": image.descriptor["size"],
        # containerd takes the first as the whole name.
        "annotations": {
            "io.containerd.image.name": name,
            "org.opencontainers.image.ref.name": name,
        },
    }
    document = {"schemaVersion": 2, "manifests": [entry]}
    return json.dumps(document).encode()


def blobs_to_send(image: Image, present: Iterable[str]) -> list[str]:
    """Return the blobs a tar must hold: always manifest and configuration, missing layers only.

    Args:
        present: Digests that the node's content store has.
    """
    have = set(present)
    sent = image.blobs[:2]
    return sent + [d for d in dict.fromkeys(image.layers) if d not in have and d not in sent]


def one_layer_image(layer: bytes, name: str, entrypoint: str, arch: str) -> bytes:
    """Return an OCI archive of an image with one layer.

    Args:
        layer: An uncompressed tar.
        arch: Go's name of the architecture.
    """
    diff = digest_of(layer)
    config = json.dumps(
        {
            "architecture": arch,
            "os": "linux",
            "config": {"Entrypoint": [entrypoint], "User": "65535:65535"},
            "rootfs": {"type": "layers", "diff_ids": [diff]},
        }
    ).encode()
    parts: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": digest_of(config), "size": len(config)},
        "layers": [{"mediaType": LAYER, "digest": diff, "size": len(layer)}],
    }
    manifest = json.dumps(parts).encode()
    image = Image({"digest": digest_of(manifest), "size": len(manifest)}, parts)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        add_bytes(tar, "oci-layout", LAYOUT)
        add_bytes(tar, "index.json", index_for(image, name))
        for data in (manifest, config, layer):
            add_bytes(tar, blob_path(digest_of(data)), data)
    return out.getvalue()


def single_file_layer(program: Path, name: str) -> bytes:
    """Return a layer with one executable at the root."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        add_bytes(tar, name, program.read_bytes(), mode=0o755)
    return out.getvalue()


def add_bytes(tar: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    """Add a file with fixed times and owner, so that equal content gives an equal tar."""
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    entry.mode = mode
    tar.addfile(entry, io.BytesIO(data))
