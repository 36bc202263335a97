"""A model in an OCI registry, as a store: a layer of an artifact, whose bytes are the file's, or a
file in /models of an image.

As ORAS and the CNCF model specification have it, a layer's title is its file's name; for images see
modelcar. Of an index it is the manifest for this machine's platform.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from urllib.parse import SplitResult

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from mopt_api.base import Digest
from mopt_api.jobs.plan import Credentials
from mopt_api.jobs.publishing import (
    MODEL_AUTH_FILE,
    MODEL_AUTH_VARIABLE,
    REGISTRY_AUTH_VARIABLE,
)
from mopt_api.publishing import MODEL_PATH
from mopt_api.stores import OCI, SCHEMES
from mopt_api.text import one_line
from mopt_optimizer.errors import (
    ObjectNotFound,
    RegistryAccessDenied,
    RegistryError,
    SpecError,
    StoreAccessDenied,
    StoreUnreachable,
)
from mopt_optimizer.store.base import Store
from mopt_optimizer.store.file_place import FilePlace

from .manifests import ARCHITECTURES, TITLE, Document
from .modelcar import is_tar, opened_file
from .registry import Registry, open_registry

ARCHITECTURE = ARCHITECTURES.get(platform.machine(), platform.machine())
"""Of this machine, as registries name it."""
_NAMED = 300  # Characters of files' names in a message.
_ATTESTATION = "vnd.docker.reference.type"
"""Annotation of what builders put into an index beside images."""
_UNKNOWN = "unknown"


class _Layer(BaseModel):
    """A layer of a manifest, as far as it matters here."""

    media_type: str = Field(alias="mediaType")
    digest: Digest
    size: int = Field(ge=0)
    annotations: dict[str, str] | None = None

    @property
    def name(self) -> str | None:
        """Its file's name, as the manifest has it."""
        known = self.annotations or {}
        return known.get(TITLE) or known.get(MODEL_PATH)


class _Platform(BaseModel):
    os: str
    architecture: str


class _Entry(BaseModel):
    """A manifest that an index names."""

    digest: Digest
    platform: _Platform | None = None
    annotations: dict[str, str] | None = None

    @property
    def for_machines(self) -> bool:
        """Whether it is what the index is for, not something about that."""
        unknown = self.platform is not None and self.platform.os == _UNKNOWN
        return not unknown and _ATTESTATION not in (self.annotations or {})

    @property
    def shown(self) -> str:
        """Its platform, for people."""
        return f"{self.platform.os}/{self.platform.architecture}" if self.platform else _UNKNOWN


class _Manifest(BaseModel):
    layers: list[_Layer] | None = None
    manifests: list[_Entry] | None = None


_MANIFEST = TypeAdapter(_Manifest)


@dataclass(frozen=True)
class Reference:
    """What a uri names.

    Attributes:
        repository: HOST[:PORT]/PATH.
        name: Tag or digest.
        file: Which layer, by its file's name; None for the only one.
    """

    repository: str
    name: str
    file: str | None


def open_uri(
    uri: SplitResult,
    credentials: Credentials,  # noqa: ARG001 - a registry's are files
    environ: Mapping[str, str],
) -> tuple[Store, str] | None:
    """See registry.OpenUri of stores."""
    key = uri.path.lstrip("/") + (f"#{uri.fragment}" if uri.fragment else "")
    if not uri.netloc or uri.query or reference(uri.netloc, key) is None:
        return None
    return OciStore(uri.netloc, environ), key


def reference(host: str, key: str) -> Reference | None:
    """Return what a key of a host names; None where it has no tag or digest. Pure."""
    place, _, file = key.partition("#")
    path, at, name = place.partition("@")
    if not at:
        path, _, name = place.rpartition(":")
    # Of a tag and a digest it is unclear which of them counts.
    if not path or not name or "/" in name or ":" in path:
        return None
    return Reference(f"{host}/{path}", name, file or None)


class OciStore(FilePlace):
    """Implements Store on one registry, as far as models are read."""

    scheme = OCI
    passing = StoreUnreachable

    def __init__(self, host: str, environ: Mapping[str, str]) -> None:
        super().__init__(host)
        named = environ.get(MODEL_AUTH_VARIABLE) or environ.get(REGISTRY_AUTH_VARIABLE)
        self._environ = {**environ, REGISTRY_AUTH_VARIABLE: named or MODEL_AUTH_FILE}

    @contextmanager
    def _opened(self, key: str) -> Iterator[tuple[int, Iterator[bytes]]]:
        """See FilePlace.

        Raises:
            SpecError: It names no layer that is a file.
        """
        wanted = reference(self._host, key)
        if wanted is None:
            raise SpecError(f"uri {self.uri(key)!r} is not {SCHEMES[OCI].shape}")
        try:
            with open_registry(wanted.repository, self._environ, insecure=False) as registry:
                named = self._named(key)
                manifest = _manifest_of(named, registry, wanted.name, ARCHITECTURE)
                if is_image(manifest):
                    with self._in_image(key, registry, manifest, wanted.file) as found:
                        yield found
                else:
                    layer = layer_of(named, manifest, wanted.file)
                    yield layer.size, self._bytes(key, registry, layer)
        except RegistryAccessDenied as error:
            raise StoreAccessDenied(str(error)) from error
        except RegistryError as error:
            raise StoreUnreachable(str(error)) from error

    def _in_image(
        self, key: str, registry: Registry, manifest: _Manifest, file: str | None
    ) -> AbstractContextManager[tuple[int, Iterator[bytes]]]:
        if file is None:
            raise SpecError(
                f"{self._named(key)} is an image: name the model's file in its folder /models by "
                "#FILE"
            )
        layers = manifest.layers or []
        return opened_file(
            self._named(key), layers, file, lambda layer: registry.chunks(layer.digest)
        )

    def _bytes(self, key: str, registry: Registry, layer: _Layer) -> Iterator[bytes]:
        """Yield a layer's bytes, checked by its digest, and never more than it has."""
        left = layer.size
        for chunk in registry.chunks(layer.digest):
            left -= len(chunk)
            if left < 0:
                raise StoreUnreachable(
                    f"{self._named(key)}: more than the {layer.size} bytes that its manifest says"
                )
            yield chunk


def _manifest_of(named: str, registry: Registry, name: str, architecture: str) -> _Manifest:
    """Return the manifest of a tag or digest, or of an index the one for a machine.

    Raises:
        ObjectNotFound, SpecError, StoreUnreachable: As read_manifest and chosen.
        RegistryError.
    """
    manifest = read_manifest(named, registry.manifest(name))
    if manifest.manifests is None:
        return manifest
    inner = read_manifest(
        named, registry.manifest(chosen(named, manifest.manifests, architecture).digest)
    )
    if inner.manifests is not None:
        raise SpecError(f"{named} is an index of indexes: name a manifest by its digest")
    return inner


def read_manifest(named: str, found: Document | None) -> _Manifest:
    """Return what a registry has under a tag or digest. Pure.

    Args:
        named: The uri, as messages have it.

    Raises:
        ObjectNotFound: Nothing.
        StoreUnreachable: It is no manifest.
    """
    if found is None:
        raise ObjectNotFound(f"{named}: there is no such tag or digest")
    try:
        return _MANIFEST.validate_json(found.data)
    except ValidationError as error:
        raise StoreUnreachable(f"{named}: its manifest is none of OCI's") from error


def chosen(named: str, entries: Sequence[_Entry], architecture: str) -> _Entry:
    """Return the manifest of an index for a machine, or the only one. Pure.

    Raises:
        SpecError: There is none, or more than one.
    """
    offered = [entry for entry in entries if entry.for_machines]
    wanted = f"linux/{architecture}"
    fitting = [entry for entry in offered if entry.shown == wanted]
    if len(offered) == 1 or len(fitting) == 1:
        return offered[0] if len(offered) == 1 else fitting[0]
    known = one_line(", ".join(entry.shown for entry in offered) or "none", _NAMED)
    raise SpecError(
        f"{named} is an index with {len(fitting)} manifests for {wanted}, of {known}: name one by "
        "its digest"
    )


def is_image(manifest: _Manifest) -> bool:
    """Tell whether layers are file systems, and no files by name. Pure."""
    layers = manifest.layers or []
    return bool(layers) and all(is_tar(each.media_type) and not each.name for each in layers)


def layer_of(named: str, manifest: _Manifest, file: str | None) -> _Layer:
    """Return the layer that is a file, by its name or as the only one. Pure.

    Args:
        named: The uri, as messages have it.

    Raises:
        SpecError: There is none, or more than one.
    """
    layers = manifest.layers or []
    titles = [each.name for each in layers if each.name]
    if not (titles or len(layers) == 1):
        raise SpecError(
            f"{named} holds no file: it is neither an image, nor are its layers files with names, "
            "as oras push makes them"
        )
    fitting = [each for each in layers if file is None or each.name == file]
    if len(fitting) != 1:
        wanted = f"no file {file!r}" if file else f"{len(layers)} layers"
        known = one_line(json.dumps(titles), _NAMED)
        raise SpecError(f"{named} has {wanted}: name one by #FILE, of {known}")
    return fitting[0]
