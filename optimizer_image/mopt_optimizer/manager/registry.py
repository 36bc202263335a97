"""Models in a registry's store: manifests, and files stored by digest."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mopt_api.enums import Runtime
from mopt_api.jobs.plan import Credentials
from mopt_optimizer.digests import file_digest
from mopt_optimizer.errors import ModelError, ObjectNotFound, SpecError
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.registry import open_store

from .manifest import SCHEMA_VERSION, Form, FormFile, FormPrecision, InputEntry, Manifest
from .registering import file_inputs

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MANIFEST = "manifest.json"


class Registry:
    """A folder, created if missing, or an s3:// or file:// prefix.

    Args:
        environ: Holds the store's credentials.
    """

    def __init__(self, registry: str | os.PathLike[str], environ: Mapping[str, str]) -> None:
        uri = os.fspath(registry)
        if "://" not in uri:
            uri = Path(uri).resolve().as_uri()
        self._store, prefix = open_store(uri, Credentials.MODEL, environ)
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""

    def names(self) -> list[str]:
        """Return the names of the registered models, sorted."""
        keys = (key.removeprefix(self._prefix) for key in self._store.list(self._prefix))
        parts = (key.split("/") for key in keys)
        return sorted(p[0] for p in parts if len(p) == 2 and p[1] == _MANIFEST)

    def manifest(self, name: str) -> Manifest:
        """Return the manifest of a model.

        Raises:
            ObjectNotFound: No model of that name; the message lists the registered ones.
            ModelError: The manifest is damaged, or of a newer version.
        """
        key = f"{self.folder(name)}/{_MANIFEST}"
        try:
            text = self._store.read(key)
        except ObjectNotFound as error:
            known = ", ".join(self.names()) or "none"
            raise ObjectNotFound(f"no model {name!r} is registered; there is {known}") from error
        try:
            manifest = Manifest.model_validate_json(text)
        except ValidationError as error:
            raise ModelError(f"{self._store.uri(key)} is no manifest: {error}") from error
        if manifest.schema_version > SCHEMA_VERSION:
            raise ModelError(
                f"{self._store.uri(key)} has version {manifest.schema_version}, this mopt reads "
                f"up to {SCHEMA_VERSION}; upgrade it"
            )
        return manifest

    def write(self, name: str, manifest: Manifest) -> None:
        """Store the manifest of a model, atomically."""
        text = manifest.model_dump_json(by_alias=True, exclude_none=True, indent=2)
        self._store.put_bytes(f"{self.folder(name)}/{_MANIFEST}", text.encode())

    def blobs(self, name: str) -> Blobs:
        """Return the blobs that hold the files of a model's forms."""
        return Blobs(self._store, self.folder(name))

    def folder(self, name: str) -> str:
        """Return the key prefix of a model.

        Raises:
            SpecError: The name is invalid.
        """
        if not _NAME.fullmatch(name):
            raise SpecError(f"{name!r} cannot name a model: letters, digits, '.', '_' and '-'")
        return f"{self._prefix}{name}"

    def put_form(
        self,
        name: str,
        form: str,
        paths: Sequence[Path],
        runtime: str,
        precision: str,
        **fields: Any,
    ) -> Form:
        """Check and store files; return their form, not yet in the manifest.

        Raises:
            As ModelManager.add_form.
        """
        if not paths:
            raise SpecError(f"form {form}: give one file at least")
        inputs = [InputEntry.of(i) for i in file_inputs(paths[0], [p.name for p in paths[1:]])]
        blobs = self.blobs(name)
        try:
            made = Form(
                name=form,
                runtime=Runtime(runtime),
                precision=FormPrecision(precision),
                files=[
                    FormFile(name=p.name, digest=file_digest(p), size_bytes=p.stat().st_size)
                    for p in paths
                ],
                inputs=inputs,
                **fields,
            )
        except ValueError as error:  # includes pydantic's ValidationError
            raise SpecError(f"form {form}: {error}") from error
        for path in paths:
            blobs.put_file(path)
        return made
