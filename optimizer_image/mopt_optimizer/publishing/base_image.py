"""The image whose layers come first: a KServe modelcar needs a shell."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mopt_api.text import one_line
from mopt_optimizer.errors import RegistryRefused

from .manifests import BaseImage, Descriptor
from .registry import Registry

_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
_OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
_KEPT = ("Env", "Cmd", "Entrypoint", "User", "WorkingDir", "Labels")


def split_reference(reference: str) -> tuple[str, str]:
    """Return the repository and the digest of an image that is named by digest; a tag is dropped.

    Raises:
        RegistryRefused: It is not named by digest.
    """
    name, at, digest = reference.partition("@")
    if not at:
        raise RegistryRefused(f"baseImage {one_line(reference, 200)} is not named by digest")
    host, slash, path = name.partition("/")
    if not slash or not (set(".:") & set(host) or host == "localhost"):
        host, path = "docker.io", name if slash else f"library/{name}"
    return f"{host}/{path.partition(':')[0]}", digest


def read_base(registry: Registry, digest: str, platform: Mapping[str, str]) -> BaseImage:
    """Return an image for a platform.

    Args:
        registry: The repository that holds it.
        digest: Of its manifest, or of an index that names it.

    Raises:
        RegistryRefused: It is not there, not for the platform, or no image.
        RegistryError.
    """
    named = f"{registry.repository}@{digest}"
    try:
        manifest = _manifest(registry, digest)
        if "manifests" in manifest:
            manifest = _manifest(registry, _chosen(manifest["manifests"], platform))
        config = json.loads(registry.read(manifest["config"]["digest"]))
        layers = [_layer(layer) for layer in manifest["layers"]]
        diff_ids = [str(each) for each in config["rootfs"]["diff_ids"]]
        kept = {key: value for key in _KEPT if (value := (config.get("config") or {}).get(key))}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise RegistryRefused(f"baseImage {named} is no image that can be read") from error
    if config.get("architecture") != platform["architecture"] or len(diff_ids) != len(layers):
        raise RegistryRefused(
            f"baseImage {named} is not for {platform['os']}/{platform['architecture']}"
        )
    return BaseImage(named, layers, diff_ids, kept)


def _manifest(registry: Registry, digest: str) -> dict[str, Any]:
    found = registry.manifest(digest)
    if found is None:
        raise RegistryRefused(f"baseImage {registry.repository}@{digest} does not exist")
    manifest: dict[str, Any] = json.loads(found.data)
    return manifest


def _chosen(entries: Sequence[Mapping[str, Any]], platform: Mapping[str, str]) -> str:
    for entry in entries:
        offered = entry.get("platform") or {}
        if all(offered.get(key) == value for key, value in platform.items()):
            return str(entry["digest"])
    raise LookupError("no image for the platform")


def _layer(layer: Mapping[str, Any]) -> Descriptor:
    """Return a layer as an OCI manifest names it: Docker's are the same bytes."""
    kind = str(layer["mediaType"])
    if kind.startswith(_DOCKER_LAYER):
        kind = kind.replace(_DOCKER_LAYER, _OCI_LAYER).replace(".gzip", "+gzip")
    if not kind.startswith(_OCI_LAYER):
        raise ValueError("a layer that may not be copied")
    return Descriptor(kind, str(layer["digest"]), int(layer["size"]))
