"""A claim (PersistentVolumeClaim), mounted under the folder of all of them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import SplitResult

from mopt_api.jobs.plan import Credentials
from mopt_api.stores import CLAIMS_VARIABLE, PVC, SCHEMES
from mopt_api.text import one_line
from mopt_optimizer.errors import DataError, SpecError, StoreAccessDenied, StoreUnreachable

from .base import MAX_KEYS, Store
from .folder import FileStore

# Of a file system's own, in its root, and nobody's to read.
_NO_DATA = "lost+found"


def open_uri(
    uri: SplitResult,
    credentials: Credentials,  # noqa: ARG001 - of stores that have any
    environ: Mapping[str, str],
) -> tuple[Store, str] | None:
    """See registry.OpenUri.

    Raises:
        SpecError, StoreUnreachable: As mounted.
    """
    found = mounted(uri, environ)
    return None if found is None else (ClaimStore(uri.netloc, found), uri.path.strip("/"))


def mounted(uri: SplitResult, environ: Mapping[str, str]) -> Path | None:
    """Return where the claim of a uri is mounted; None for a malformed one.

    Raises:
        SpecError: No claims are mounted here.
        StoreUnreachable: This one is not.
    """
    claim = uri.netloc
    if not claim or claim in (".", "..") or uri.query or uri.fragment:
        return None
    folder = environ.get(CLAIMS_VARIABLE, "").strip()
    if not folder:
        raise SpecError(
            f"{SCHEMES[PVC].shape} is read in Jobs, which have the claim {claim} mounted: copy the "
            f"file out of it, or set {CLAIMS_VARIABLE} to a folder that holds one named {claim}"
        )
    root = Path(folder) / claim
    if not root.is_dir():
        raise StoreUnreachable(f"the claim {claim} is not mounted at {root}")
    return root


class ClaimStore(FileStore):
    """Implements Store on a claim."""

    def __init__(self, claim: str, root: Path) -> None:
        super().__init__(root)
        self._claim = claim

    def uri(self, key: str) -> str:
        # Whoever may write to a claim names its files.
        return one_line(f"{PVC}://{self._claim}/{key}")

    def list(self, prefix: str) -> list[str]:
        """See Store. Folders that are symlinks are not entered.

        Raises:
            DataError: There are more than MAX_KEYS.
        """
        folder = self._path(prefix.rpartition("/")[0])
        keys: list[str] = []
        with self._reading(prefix):
            for path in files_in(folder):
                if (key := path.relative_to(self._root).as_posix()).startswith(prefix):
                    keys.append(key)
                if len(keys) > MAX_KEYS:
                    raise DataError(
                        f"{self.uri(prefix)} holds more than {MAX_KEYS} files: name a smaller "
                        "folder"
                    )
        return sorted(keys)

    @contextmanager
    def _writing(self, key: str) -> Iterator[Path]:
        """See FileStore; what is written survives the end of the node."""
        try:
            with super()._writing(key) as temporary:
                yield temporary
                _flush(temporary)
            _flush(self._path(key).parent)
        except OSError as error:
            why = f"{self.uri(key)} cannot be written: {error.strerror}"
            if error.errno == errno.EROFS:
                raise StoreAccessDenied(why) from error
            raise StoreUnreachable(why) from error


def _flush(path: Path) -> None:
    """Have a file, or the names in a folder, written through; where the file system knows how."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
            raise
    finally:
        os.close(opened)


def files_in(folder: Path) -> Iterator[Path]:
    """Yield the files under a folder; none where it is no folder.

    Raises:
        OSError: One inside cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise error

    if not folder.is_dir():
        return
    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if name != _NO_DATA]
        yield from (Path(place) / name for name in names)
