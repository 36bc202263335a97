"""How a host is reached over HTTPS: by itself, or through the proxy that the environment names."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

from mopt_optimizer.errors import StoreUnreachable


def proxy_for(host: str, environ: Mapping[str, str]) -> str | None:
    """Return the proxy by which a host is reached over HTTPS; None where there is none. Pure.

    Args:
        environ: May hold HTTPS_PROXY and NO_PROXY, in capitals or not.

    Raises:
        StoreUnreachable: What it holds is no proxy.
    """
    named = {name.lower(): value.strip() for name, value in environ.items()}
    proxy = named.get("https_proxy")
    if not proxy or proxy_bypass_environment(host, {"no": named.get("no_proxy", "")}):
        return None
    whole = proxy if "://" in proxy else f"http://{proxy}"
    if not _is_url(whole):
        # It may hold a password, so it is not quoted.
        raise StoreUnreachable("HTTPS_PROXY is not http(s)://[USER:PASSWORD@]HOST[:PORT]")
    return whole


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # A port that is no number, brackets that do not match.
        return False


def proxy_to(url: str, environ: Mapping[str, str]) -> str | None:
    """Return the proxy to a URL's host; None where there is none, and without TLS. Pure.

    Raises:
        StoreUnreachable: See proxy_for.
    """
    parts = urlsplit(url)
    return proxy_for(parts.hostname or "", environ) if parts.scheme == "https" else None
