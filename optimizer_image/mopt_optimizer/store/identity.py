"""Keys of a store from a token that the kubelet renews, and that a service exchanges for them.

That is AssumeRoleWithWebIdentity, by the variables that every AWS SDK knows: EKS sets them for a
service account with a role (IRSA), mopt's operator where the administrator says so; MinIO and Ceph
answer it at their own address. EKS Pod Identity names an agent instead, which gives the keys.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minio.credentials.credentials import Credentials
from minio.credentials.providers import (
    IamAwsProvider,
    Provider,
    StaticProvider,
    WebIdentityProvider,
)
from minio.error import MinioException
from urllib3 import PoolManager, ProxyManager, Retry, Timeout
from urllib3.exceptions import HTTPError

from mopt_optimizer.errors import StoreAccessDenied, StoreUnreachable

from .proxies import proxy_to
from .transport import why_no_answer

TOKEN_FILE = "AWS_WEB_IDENTITY_TOKEN_FILE"  # noqa: S105 - a variable's name
AGENT = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
_ROLE = "AWS_ROLE_ARN"
_SERVICE = "AWS_ENDPOINT_URL_STS"
_SESSION = "mopt"
_TIMEOUT = Timeout(connect=3.0, read=10.0)
# An exchange may be repeated: it changes nothing.
_RETRIES = Retry(
    total=3, redirect=0, allowed_methods=None, status_forcelist=(500, 502, 503), backoff_factor=0.3
)
MAX_TOKEN_BYTES = 64 * 1024
"""More than any header would hold."""


@dataclass(frozen=True)
class WebIdentity:
    """Who asks for keys, and whom.

    Attributes:
        token_file: Read anew for each exchange.
        role: ARN; None where the service decides by the token alone.
        service: http(s)://HOST[:PORT] of the service.
        proxy: Through which it is reached; None for none.
    """

    token_file: Path
    role: str | None
    service: str
    proxy: str | None = None


@dataclass(frozen=True)
class Keys:
    """Keys as they are.

    Attributes:
        session: Token that goes with keys of a limited life.
    """

    access: str
    secret: str
    session: str | None

    def __repr__(self) -> str:
        return "Keys(...)"


def web_identity(
    environ: Mapping[str, str], region: str | None, store: str | None
) -> WebIdentity | None:
    """Return the identity that an environment gives, or None.

    Args:
        store: Endpoint of the store, which exchanges tokens itself; None for AWS, which does not.
    """
    token_file = environ.get(TOKEN_FILE, "").strip()
    if not token_file:
        return None
    aws = f"https://sts.{region}.amazonaws.com" if region else "https://sts.amazonaws.com"
    service = environ.get(_SERVICE, "").strip() or store or aws
    return WebIdentity(
        token_file=Path(token_file),
        role=environ.get(_ROLE, "").strip() or None,
        service=service,
        proxy=proxy_to(service, environ),
    )


@dataclass(frozen=True)
class ContainerIdentity:
    """An agent beside the Pod gives it keys, as EKS Pod Identity does.

    Attributes:
        agent: Its address, as the variable has it.
    """

    agent: str


def container_identity(environ: Mapping[str, str]) -> ContainerIdentity | None:
    """Return the identity that an environment gives, or None."""
    agent = environ.get(AGENT, "").strip()
    return ContainerIdentity(agent) if agent else None


class _Asking(Provider):
    """Asks for keys when there are none, and when they are about to expire."""

    def __init__(self, inner: Provider, told: str) -> None:
        self._inner = inner
        self._told = told

    def retrieve(self) -> Credentials:
        """Return keys that hold for a while.

        Raises:
            StoreAccessDenied: There is no token, or it is refused.
            StoreUnreachable: The service does not answer.
        """
        # Messages have no word of the client's, which quotes the token; nor have tracebacks.
        try:
            return self._inner.retrieve()
        except HTTPError as error:
            why = why_no_answer(error)
            raise StoreUnreachable(f"{self._told}: no answer: {why}") from None
        except (MinioException, OSError, SyntaxError, ValueError, LookupError, TypeError):
            raise StoreAccessDenied(
                f"{self._told}: it refuses the token or the role, or is no such service"
            ) from None


def _read(token_file: Path) -> dict[str, str]:
    try:
        with token_file.open("rb") as file:
            return {"access_token": file.read(MAX_TOKEN_BYTES).decode("ascii").strip()}
    except (OSError, UnicodeDecodeError) as error:
        raise StoreAccessDenied(
            f"the token in {TOKEN_FILE} cannot be read: {token_file}"
        ) from error


def provider_of(
    granted: Keys | WebIdentity | ContainerIdentity | None, context: ssl.SSLContext
) -> Provider | None:
    """Return what gives a client its keys; None for one that has none.

    Args:
        context: What certificates of the service are checked by.
    """
    if granted is None:
        return None
    if isinstance(granted, Keys):
        return StaticProvider(granted.access, granted.secret, granted.session)
    how: dict[str, Any] = {"timeout": _TIMEOUT, "ssl_context": context, "retries": _RETRIES}
    if isinstance(granted, ContainerIdentity):
        # It reads the variables itself, and the token file anew each time. An agent of this node.
        inner: Provider = IamAwsProvider(http_client=PoolManager(**how))
        return _Asking(inner, f"no keys for the Pod's identity from {granted.agent}")
    proxy = granted.proxy
    inner = WebIdentityProvider(
        jwt_provider_func=lambda: _read(granted.token_file),
        sts_endpoint=granted.service,
        role_arn=granted.role,
        role_session_name=_SESSION,
        http_client=ProxyManager(proxy, **how) if proxy else PoolManager(**how),
    )
    return _Asking(inner, f"no keys for the token in {TOKEN_FILE} from {granted.service}")
