"""Which module opens the stores of a scheme; its client is loaded when one is opened."""

from __future__ import annotations

from collections.abc import Mapping
from pkgutil import resolve_name
from typing import Protocol
from urllib.parse import SplitResult, urlsplit

from mopt_api.jobs.plan import Credentials
from mopt_api.stores import FILE, HTTPS, OCI, PVC, S3, SCHEMES, shapes
from mopt_optimizer.errors import SpecError

from .base import Store

STORES: dict[str, str] = {
    S3: "mopt_optimizer.store.s3:open_uri",
    HTTPS: "mopt_optimizer.store.web:open_uri",
    OCI: "mopt_optimizer.publishing.model:open_uri",
    PVC: "mopt_optimizer.store.claim:open_uri",
    FILE: "mopt_optimizer.store.folder:open_uri",
}
"""MODULE:FUNCTION of each, an OpenUri."""


class OpenUri(Protocol):
    """Returns the store that a uri names, and the uri's key in it; None for a malformed one."""

    def __call__(
        self, uri: SplitResult, credentials: Credentials, environ: Mapping[str, str]
    ) -> tuple[Store, str] | None: ...


def open_store(uri: str, credentials: Credentials, environ: Mapping[str, str]) -> tuple[Store, str]:
    """Return the store that a uri names, and the uri's key or prefix in it. Opens no connection.

    Args:
        uri: s3://BUCKET/KEY, https://HOST/PATH of one file, oci://HOST/REPOSITORY:TAG of a
            model, pvc://CLAIM/PATH, or file:///absolute/path.
        credentials: Whose MOPT_<ROLE>_* variables apply. Where none of them is set the plain
            AWS_* ones do, for local use.

    Raises:
        SpecError: Another scheme, no bucket, a relative path, or a client that is not installed.
        StoreAccessDenied: No keys in environ.
        StoreUnreachable: An endpoint or CA certificate that cannot be used.
    """
    parts = split_uri(uri)
    if (place := STORES.get(parts.scheme)) is not None:
        try:
            opens: OpenUri = resolve_name(place)
        except ModuleNotFoundError as error:
            raise SpecError(
                f"uri {uri!r} needs {error.name}, which is not installed here: install it, or use "
                f"{SCHEMES[FILE].shape}"
            ) from error
        if (found := opens(parts, credentials, environ)) is not None:
            return found
    raise SpecError(f"uri {uri!r} is neither {shapes()}")


def split_uri(uri: str) -> SplitResult:
    """Return the parts of a uri.

    Raises:
        SpecError: It has none, or holds a user or password, which is not shown.
    """
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise SpecError(f"uri {uri!r} is neither {shapes()}") from error
    if "@" in parts.netloc:
        shown = f"{parts.scheme}://...@{parts.netloc.rpartition('@')[2]}"
        raise SpecError(f"uri {shown!r} holds a user or password: name the place alone")
    return parts
