"""Where a folder of data lies: in a store, or in an archive that is fetched and verified first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

from mopt_api.jobs.plan import Credentials, PlannedData, PlannedReferences
from mopt_api.stores import ARCHIVES
from mopt_optimizer.digests import file_digest
from mopt_optimizer.errors import DigestMismatch, ObjectNotFound
from mopt_optimizer.machine.scratch import check_scratch
from mopt_optimizer.store.registry import open_store
from mopt_optimizer.store.writing import replacing

from .decoder import Decoder
from .fetching import ARRAYS, FetchedFolder, check_size, fetch_objects, is_data


class DataPlace(Protocol):
    """A folder of data, listed.

    Attributes:
        where: What messages call it.
        names: Of its image and array files, relative to it, sorted.
        others: How many other files it has.
    """

    where: str
    names: list[str]
    others: int

    def uri(self, name: str) -> str:
        """Return what messages call a file."""
        ...

    def fetch(self, names: Sequence[str], folder: Path) -> FetchedFolder:
        """Write files to a local folder.

        Raises:
            DataError: One above MAX_FILE_BYTES, or a damaged archive.
            StoreError, DiskError.
        """
        ...


def open_place(
    planned: PlannedData | PlannedReferences,
    credentials: Credentials,
    environ: Mapping[str, str],
    workdir: Path,
    decoder: Decoder,
) -> DataPlace:
    """Return where data lies, listed.

    Args:
        workdir: Gets the file where it is one. One that lies there already is not fetched again.
        decoder: Looks into an archive.

    Raises:
        DigestMismatch: The file is not that of planned.sha256.
        DataError: A damaged archive.
        StoreError, DiskError.
    """
    if planned.sha256 is None:
        return _StoreFolder(planned.uri, credentials, environ)
    uri, _, inside = planned.uri.partition("#")
    suffix = next((each for each in (*ARCHIVES, *ARRAYS) if uri.endswith(each)), "")
    path = workdir / f"{planned.sha256}{suffix}"
    if not path.exists():
        _fetch(uri, planned.sha256, credentials, environ, path)
    if suffix in ARRAYS:
        return _SingleFile(uri, planned.sha256, path)
    return _Archive(planned.uri, inside, path, decoder, environ)


def _fetch(
    uri: str, sha256: str, credentials: Credentials, environ: Mapping[str, str], path: Path
) -> None:
    """Write a file to path once it is known to be the one that is meant."""
    store, key = open_store(uri, credentials, environ)
    size = store.size(key)
    if size is None:
        raise ObjectNotFound(f"{store.uri(key)} does not exist")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in ARRAYS:
        check_size(uri, size)
    check_scratch(size, path.parent, environ, f"fetching {uri}")
    with replacing(path) as arriving:
        found = store.fetch(key, arriving)
        if found != sha256:
            raise DigestMismatch(f"{uri} has sha256 {found}, spec says {sha256}")


class _StoreFolder:
    """The objects under a prefix of a store. See DataPlace."""

    def __init__(self, uri: str, credentials: Credentials, environ: Mapping[str, str]) -> None:
        self._store, key = open_store(uri, credentials, environ)
        self._prefix = f"{key.rstrip('/')}/" if key.rstrip("/") else ""
        keys = [key for key in self._store.list(self._prefix) if not key.endswith("/")]
        self.where = self._store.uri(self._prefix)
        self.names = [key.removeprefix(self._prefix) for key in keys if is_data(key)]
        self.others = len(keys) - len(self.names)

    def uri(self, name: str) -> str:
        return self._store.uri(self._prefix + name)

    def fetch(self, names: Sequence[str], folder: Path) -> FetchedFolder:
        return fetch_objects(
            self._store, self._prefix, [self._prefix + name for name in names], folder
        )


class _SingleFile:
    """One .npz or .npy: a folder of it alone. See DataPlace."""

    def __init__(self, uri: str, sha256: str, path: Path) -> None:
        self.where = uri
        self.names = [PurePosixPath(uri).name]
        self.others = 0
        self._fetched = FetchedFolder(self.names, [path], [sha256])

    def uri(self, name: str) -> str:  # noqa: ARG002 - there is but one
        return self.where

    def fetch(self, names: Sequence[str], folder: Path) -> FetchedFolder:  # noqa: ARG002 - is here
        return self._fetched


class _Archive:
    """A folder in an archive, which is verified. See DataPlace."""

    def __init__(
        self, uri: str, inside: str, path: Path, decoder: Decoder, environ: Mapping[str, str]
    ) -> None:
        self.where = uri
        self._path = path
        self._decoder = decoder
        self._environ = environ
        self._prefix = f"{inside.strip('/')}/" if inside.strip("/") else ""
        found = decoder.members(path)
        here = [name for name in found.files if name.startswith(self._prefix)]
        self._sizes = found.files
        self.names = sorted(name.removeprefix(self._prefix) for name in here)
        self.others = found.others + len(found.files) - len(here)

    def uri(self, name: str) -> str:
        return f"{self.where.partition('#')[0]}#{self._prefix}{name}"

    def fetch(self, names: Sequence[str], folder: Path) -> FetchedFolder:
        members = [self._prefix + name for name in names]
        for name in members:
            check_size(self.uri(name.removeprefix(self._prefix)), self._sizes[name])
        folder.mkdir(parents=True, exist_ok=True)
        total = sum(self._sizes[name] for name in members)
        check_scratch(total, folder, self._environ, f"unpacking {self.where}")
        files = [folder / f"{number:05}" for number in range(len(names))]
        self._decoder.unpack(self._path, members, files)
        digests = [file_digest(file).removeprefix("sha256:") for file in files]
        return FetchedFolder([*names], files, digests)
