"""An OpenID provider that signs tokens, as a cluster's API server does for service accounts."""

from __future__ import annotations

import json
import time
from contextlib import AbstractContextManager
from http import HTTPStatus
from http.server import ThreadingHTTPServer

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from json_server import JsonHandler, running
from jwt.algorithms import RSAAlgorithm

AUDIENCE = "sts.of.tests"
_KEY_ID = "of-tests"
DISCOVERY = "/.well-known/openid-configuration"


class IdentityProvider(ThreadingHTTPServer):
    """Serves the discovery document and the public key."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def token(self, **claims: object) -> str:
        """Return a token that holds for an hour."""
        now = int(time.time())
        told = {
            "iss": self.url,
            "sub": "system:serviceaccount:team:mopt",
            "aud": AUDIENCE,
            "iat": now,
            "exp": now + 3600,
        } | claims
        return jwt.encode(told, self._key, algorithm="RS256", headers={"kid": _KEY_ID})

    def page(self, path: str) -> dict[str, object] | None:
        if path == DISCOVERY:
            return {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/keys",
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            }
        if path == "/keys":
            key = json.loads(RSAAlgorithm.to_jwk(self._key.public_key()))
            return {"keys": [key | {"kid": _KEY_ID, "use": "sig", "alg": "RS256"}]}
        return None


class _Handler(JsonHandler):
    server: IdentityProvider

    def reply(self) -> object:
        return self.server.page(self.path) or HTTPStatus.NOT_FOUND


def identity_provider() -> AbstractContextManager[IdentityProvider]:
    """Give an OpenID provider that runs."""
    return running(IdentityProvider())
