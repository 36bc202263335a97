"""How a store is reached, from the environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from mopt_api.enums import StoreCredentials
from mopt_api.jobs.anonymous import CREDENTIALS_KEY
from mopt_api.jobs.plan import Credentials
from mopt_api.stores import S3, SCHEMES
from mopt_api.text import one_line
from mopt_optimizer.errors import StoreAccessDenied, StoreUnreachable

from .identity import (
    TOKEN_FILE,
    ContainerIdentity,
    Keys,
    WebIdentity,
    container_identity,
    web_identity,
)
from .proxies import proxy_to

_AWS_ENDPOINT = "https://s3.amazonaws.com"
_DEFAULT_REGION = "us-east-1"
_HOST_AND_PORT = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
_SHOWN = 200


@dataclass(frozen=True)
class Access:
    """How to reach a store, from the environment.

    Attributes:
        endpoint: http(s)://HOST[:PORT].
        keys: Or whose they are to be; None for requests without.
        ca: Certificates in PEM form that are trusted besides the system's.
        proxy: Through which the endpoint is reached; None for none.
    """

    endpoint: str
    keys: Keys | WebIdentity | ContainerIdentity | None
    region: str | None
    ca: str | None
    proxy: str | None = None

    def __repr__(self) -> str:
        return f"Access({self.endpoint!r})"


def access(credentials: Credentials, environ: Mapping[str, str]) -> Access:
    """Return the access that credentials have in an environment.

    Where there are no keys, the identity of the process takes their place, as it does for the SDKs.

    Raises:
        StoreAccessDenied: A key is missing.
        StoreUnreachable: The endpoint is not an http(s) url of a host, or HTTPS_PROXY no proxy.
    """
    keys = SCHEMES[S3].keys
    own = {key: environ.get(credentials.variable(key), "").strip() for key in keys}
    # All or nothing: one role's keys with another's token or endpoint would be nobody's.
    used = own if any(own.values()) else {k: environ.get(k, "").strip() for k in keys}
    endpoint = _endpoint(used["AWS_ENDPOINT_URL"] or _AWS_ENDPOINT)
    # Keys made for one bucket may not ask for its region, so none is looked up elsewhere.
    default_region = None if endpoint == _AWS_ENDPOINT else _DEFAULT_REGION
    region = used["AWS_REGION"] or default_region
    own_service = None if endpoint == _AWS_ENDPOINT else endpoint
    anonymous = environ.get(credentials.variable(CREDENTIALS_KEY)) == StoreCredentials.ANONYMOUS
    return Access(
        endpoint=endpoint,
        keys=None if anonymous else _keys(credentials, used, environ, own_service),
        region=region,
        ca=used["ca.crt"] or None,
        proxy=proxy_to(endpoint, environ),
    )


def _keys(
    credentials: Credentials,
    used: Mapping[str, str],
    environ: Mapping[str, str],
    own_service: str | None,
) -> Keys | WebIdentity | ContainerIdentity:
    """Return the keys in use, or the identity whose they are to be.

    Raises:
        StoreAccessDenied: A key is missing.
    """
    needed = [key for key, required in SCHEMES[S3].keys.items() if required]
    # A Secret that is named has keys: whoever wrote one without does not get the Pod's own sent to
    # the place that it names.
    named = any(credentials.variable(key) in environ for key in needed)
    if not (named or any(used[key] for key in needed)):
        region = used["AWS_REGION"] or None
        if identity := web_identity(environ, region, own_service) or container_identity(environ):
            return identity
    if missing := next((key for key in needed if not used[key]), None):
        raise StoreAccessDenied(
            f"no {missing} for the {credentials.value.lower()} store, and no {TOKEN_FILE}"
        )
    return Keys(
        used["AWS_ACCESS_KEY_ID"],
        used["AWS_SECRET_ACCESS_KEY"],
        used["AWS_SESSION_TOKEN"] or None,
    )


def _endpoint(text: str) -> str:
    """Return http(s)://HOST[:PORT].

    Raises:
        StoreUnreachable: The text is something else.
    """
    try:
        parts = urlsplit(text)
        whole = parts.scheme in ("http", "https") and not (parts.query or parts.fragment)
        if whole and _HOST_AND_PORT.fullmatch(parts.netloc) and parts.path in ("", "/"):
            return f"{parts.scheme}://{parts.netloc}"
    except ValueError:  # Brackets that do not match.
        pass
    raise StoreUnreachable(f"AWS_ENDPOINT_URL {_shown(text)!r} is not http(s)://HOST[:PORT]")


def _shown(endpoint: str) -> str:
    """Return an endpoint without what may be secret: user and password, and a signed query."""
    place, query, _ = endpoint.partition("?")
    before, at, host = place.rpartition("@")
    return one_line(f"{'...@' if at else before}{host}{'?...' if query else ''}", _SHOWN)
