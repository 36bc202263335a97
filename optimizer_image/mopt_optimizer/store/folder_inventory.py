"""What lies in a folder, and its removal."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import SplitResult, unquote

from mopt_api.jobs.plan import Credentials
from mopt_optimizer.errors import StoreAccessDenied

from .inventory import Found, Inventory, digests_in
from .writing import CHUNK_BYTES


def open_uri(
    uri: SplitResult,
    credentials: Credentials,  # noqa: ARG001 - of stores that have any
    environ: Mapping[str, str],  # noqa: ARG001 - likewise
) -> tuple[Inventory, str] | None:
    """See inventory.OpenInventory."""
    if uri.netloc not in ("", "localhost") or not uri.path:
        return None
    return FolderInventory(Path(unquote(uri.path))), ""


class FolderInventory:
    """Implements Inventory under a root folder; no symlink is followed."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def objects(self, prefix: str) -> Iterator[Found]:
        folder = self._root / prefix.rpartition("/")[0]
        if not folder.is_dir():
            return
        for path in sorted(folder.rglob("*")):
            key = path.relative_to(self._root).as_posix()
            if not key.startswith(prefix) or path.is_symlink():
                continue
            try:
                if path.is_file():
                    facts = path.stat()
                    modified = datetime.fromtimestamp(facts.st_mtime, UTC)
                    yield Found(key, facts.st_size, modified)
            except FileNotFoundError:
                continue

    def digests(self, key: str, *, documents: bool = False) -> frozenset[str]:
        try:
            with (self._root / key).open("rb") as file:
                chunks = iter(lambda: file.read(CHUNK_BYTES), b"")
                return digests_in(chunks, documents=documents)
        except FileNotFoundError:
            return frozenset()
        except PermissionError as error:
            raise StoreAccessDenied(f"{self._root / key} may not be read") from error

    def remove(self, keys: Collection[str]) -> None:
        for key in keys:
            try:
                (self._root / key).unlink(missing_ok=True)
            except PermissionError as error:
                raise StoreAccessDenied(f"{self._root / key} may not be removed") from error
