"""What lies in a mounted claim, and its removal."""

from __future__ import annotations

import errno
import stat
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import PurePosixPath
from urllib.parse import SplitResult

from mopt_api.jobs.plan import Credentials
from mopt_optimizer.errors import ObjectNotFound, StoreAccessDenied, StoreUnreachable

from .claim import ClaimStore, files_in, mounted
from .folder import remove_beneath
from .inventory import Found, Inventory, digests_in


def open_uri(
    uri: SplitResult,
    credentials: Credentials,  # noqa: ARG001 - of stores that have any
    environ: Mapping[str, str],
) -> tuple[Inventory, str] | None:
    """See inventory.OpenInventory.

    Raises:
        SpecError, StoreUnreachable: As claim.mounted.
    """
    found = mounted(uri, environ)
    return None if found is None else (ClaimInventory(uri.netloc, found), uri.path.strip("/"))


class ClaimInventory(ClaimStore):
    """Implements Inventory on a claim, which no symlink leads out of."""

    def objects(self, prefix: str) -> Iterator[Found]:
        """See Inventory.

        Raises:
            StoreAccessDenied: A folder leads out of the claim, or may not be listed.
        """
        below = prefix.rpartition("/")[0]
        folder = self._path(below)
        with self._reading(prefix):
            for path in files_in(folder):
                key = PurePosixPath(below, path.relative_to(folder)).as_posix()
                try:
                    facts = path.lstat()
                except FileNotFoundError:  # Removed since.
                    continue
                if key.startswith(prefix) and stat.S_ISREG(facts.st_mode):
                    yield Found(key, facts.st_size, datetime.fromtimestamp(facts.st_mtime, UTC))

    def digests(self, key: str, *, documents: bool = False) -> frozenset[str]:
        try:
            return digests_in(self._chunks(key, self._path(key)), documents=documents)
        except ObjectNotFound:
            return frozenset()

    def remove(self, keys: Collection[str]) -> None:
        for key in keys:
            folder, _, name = key.rpartition("/")
            try:
                # A link in a file's place goes itself, and not what it leads to.
                remove_beneath(self._root, self._path(folder) / name)
            except FileNotFoundError:
                continue
            except OSError as error:
                why = f"{self.uri(key)} cannot be removed: {error.strerror}"
                if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                    raise StoreAccessDenied(why) from error
                raise StoreUnreachable(why) from error
