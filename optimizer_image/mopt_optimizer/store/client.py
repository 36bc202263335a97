"""The MinIO client of a store."""

from __future__ import annotations

import ssl
from typing import Any
from urllib.parse import urlsplit

from minio import Minio
from minio.credentials.providers import Provider

from mopt_api.text import one_line
from mopt_optimizer.errors import StoreUnreachable

from .access import Access
from .transport import QUOTED, Budget, ProxiedTransport, Transport


def tls_context(granted: Access) -> ssl.SSLContext:
    """Return what certificates are checked by: the system's authorities, and those of ca.crt.

    Raises:
        StoreUnreachable: ca.crt cannot be used.
    """
    context = ssl.create_default_context()
    if granted.ca:
        try:
            context.load_verify_locations(cadata=granted.ca)
        except (ssl.SSLError, ValueError) as error:
            raise StoreUnreachable(f"ca.crt is not a PEM certificate: {error}") from error
    return context


def client_of(
    granted: Access,
    keys: Provider | None,
    context: ssl.SSLContext,
    pause_seconds: float,
    budget: Budget | None = None,
) -> Minio:
    """Return a client.

    Args:
        keys: See provider_of: one for all clients of a store.
        pause_seconds, budget: See Transport.

    Raises:
        StoreUnreachable: The endpoint or the region cannot be used.
    """
    parts = urlsplit(granted.endpoint)
    transport = _transport(granted.proxy, context, pause_seconds=pause_seconds, budget=budget)
    try:
        return Minio(
            parts.netloc,
            credentials=keys,
            secure=parts.scheme == "https",
            region=granted.region,
            http_client=transport,
        )
    except ValueError as error:
        raise StoreUnreachable(
            f"AWS_ENDPOINT_URL {granted.endpoint} or AWS_REGION cannot be used: "
            f"{one_line(str(error), QUOTED)}"
        ) from error


def _transport(proxy: str | None, context: ssl.SSLContext, **more: Any) -> Transport:
    if proxy is None:
        return Transport(context, **more)
    return ProxiedTransport(context, proxy_url=proxy, **more)
