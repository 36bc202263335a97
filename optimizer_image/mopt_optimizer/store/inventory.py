"""What lies in a store, and its removal: of `mopt gc` alone. Stages have Store, which removes
nothing."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pkgutil import resolve_name
from typing import Protocol
from urllib.parse import SplitResult

from mopt_api.jobs.plan import Credentials
from mopt_api.stores import FILE, PVC, S3
from mopt_optimizer.errors import SpecError

from .registry import split_uri

INVENTORIES: dict[str, str] = {
    S3: "mopt_optimizer.store.s3_inventory:open_uri",
    PVC: "mopt_optimizer.store.claim_inventory:open_uri",
    FILE: "mopt_optimizer.store.folder_inventory:open_uri",
}
"""MODULE:FUNCTION of each scheme's, an OpenInventory."""

_DIGEST = re.compile(rb"(?<=[^0-9a-f])[0-9a-f]{64}(?=[^0-9a-f])")
_WITH_BEFORE = 65


@dataclass(frozen=True)
class Found:
    """An object of a store.

    Attributes:
        key: As of Store.
        modified: When it was written, by the store's clock.
    """

    key: str
    size: int
    modified: datetime


class Inventory(Protocol):
    """The objects of a store, under keys as Store has them."""

    def objects(self, prefix: str) -> Iterator[Found]:
        """Yield the objects whose keys start with prefix, in any order.

        Raises:
            StoreAccessDenied, StoreUnreachable, ObjectNotFound: No such bucket.
        """

    def digests(self, key: str, *, documents: bool = False) -> frozenset[str]:
        """Return the SHA-256 digests, in hex, in the text of an object; none where it is gone.

        Args:
            documents: Read only what begins as a JSON object does; all else names none.

        Raises:
            StoreAccessDenied, StoreUnreachable.
        """

    def remove(self, keys: Collection[str]) -> None:
        """Remove objects; one that is gone is no error.

        Raises:
            StoreAccessDenied: One of them may not be removed; others may be gone by then.
            StoreUnreachable.
        """


class OpenInventory(Protocol):
    """Returns the inventory that a uri names, and the uri's prefix in it; None for a malformed
    one."""

    def __call__(
        self, uri: SplitResult, credentials: Credentials, environ: Mapping[str, str]
    ) -> tuple[Inventory, str] | None: ...


def open_inventory(
    uri: str, credentials: Credentials, environ: Mapping[str, str]
) -> tuple[Inventory, str]:
    """Return the inventory of a store, and the uri's prefix in it; as registry.open_store.

    Raises:
        SpecError, StoreAccessDenied, StoreUnreachable.
    """
    parts = split_uri(uri)
    if (place := INVENTORIES.get(parts.scheme)) is not None:
        opens: OpenInventory = resolve_name(place)
        if (found := opens(parts, credentials, environ)) is not None:
            return found
    raise SpecError(f"uri {uri!r} is no store that can be swept")


def digests_in(chunks: Iterable[bytes], *, documents: bool) -> frozenset[str]:
    """Return the SHA-256 digests, in hex, in a text that comes in parts. Pure.

    Args:
        documents: As of Inventory.digests; no further part is then taken.
    """
    found: set[bytes] = set()
    rest = b"\n"  # What comes before a digest, and after it, is no digit.
    begun = not documents
    for chunk in chunks:
        text = rest + chunk
        if not begun and (start := text.lstrip()[:1]):
            if start != b"{":
                return frozenset()
            begun = True
        found.update(_DIGEST.findall(text))
        # A digest may lie across two parts.
        rest = text[-_WITH_BEFORE:]
    found.update(_DIGEST.findall(rest + b"\n"))
    return frozenset(digest.decode() for digest in found)
