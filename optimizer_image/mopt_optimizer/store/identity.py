"""Keys of a store from a token that the kubelet renews, and that a service exchanges for them.

That is AssumeRoleWithWebIdentity, by the variables that every AWS SDK knows: EKS sets them for a
service account with a role (IRSA); MinIO and Ceph answer it at their own address.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from minio.credentials.credentials import Credentials
from minio.credentials.providers import Provider, StaticProvider, WebIdentityProvider
from minio.error import MinioException
from urllib3 import PoolManager, Retry, Timeout
from urllib3.exceptions import HTTPError

from mopt_optimizer.errors import StoreAccessDenied, StoreUnreachable

from .transport import why_no_answer

TOKEN_FILE = "AWS_WEB_IDENTITY_TOKEN_FILE"  # noqa: S105 - a variable's name
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
    """

    token_file: Path
    role: str | None
    service: str


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
    return WebIdentity(
        token_file=Path(token_file),
        role=environ.get(_ROLE, "").strip() or None,
        service=environ.get(_SERVICE, "").strip() or store or aws,
    )


class _Exchanging(Provider):
    """Exchanges the token when there are no keys, and when they are about to expire."""

    def __init__(self, identity: WebIdentity, context: ssl.SSLContext) -> None:
        self._identity = identity
        self._inner = WebIdentityProvider(
            jwt_provider_func=self._token,
            sts_endpoint=identity.service,
            role_arn=identity.role,
            role_session_name=_SESSION,
            http_client=PoolManager(timeout=_TIMEOUT, ssl_context=context, retries=_RETRIES),
        )

    def _token(self) -> dict[str, str]:
        try:
            with self._identity.token_file.open("rb") as file:
                return {"access_token": file.read(MAX_TOKEN_BYTES).decode("ascii").strip()}
        except (OSError, UnicodeDecodeError) as error:
            raise StoreAccessDenied(
                f"the token in {TOKEN_FILE} cannot be read: {self._identity.token_file}"
            ) from error

    def retrieve(self) -> Credentials:
        """Return keys that hold for a while.

        Raises:
            StoreAccessDenied: There is no token, or it is refused.
            StoreUnreachable: The service does not answer.
        """
        told = f"no keys for the token in {TOKEN_FILE} from {self._identity.service}"
        # Messages have no word of the client's, which quotes the token; nor have tracebacks.
        try:
            return self._inner.retrieve()
        except HTTPError as error:
            raise StoreUnreachable(f"{told}: no answer: {why_no_answer(error)}") from None
        except (MinioException, SyntaxError, ValueError, LookupError, TypeError):
            raise StoreAccessDenied(
                f"{told}: it refuses the token or the role, or is no such service"
            ) from None


def provider_of(granted: Keys | WebIdentity, context: ssl.SSLContext) -> Provider:
    """Return what gives a client its keys.

    Args:
        context: What certificates of the service are checked by.
    """
    if isinstance(granted, WebIdentity):
        return _Exchanging(granted, context)
    return StaticProvider(granted.access, granted.secret, granted.session)
