"""A token service as registries have it: short tokens for exactly what was asked for."""

from __future__ import annotations

import base64
import ssl
import time
from contextlib import AbstractContextManager
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import jwt
from json_server import JsonHandler, running

from devcluster.certificates import Pki

ISSUER, SERVICE = "issuer-of-tests", "registry-of-tests"


class TokenServer(ThreadingHTTPServer):
    """Serves TLS with the certificate `server` of a folder, and signs tokens with the same.

    Attributes:
        login: Base64 of USER:PASSWORD.
        scopes: That were asked for, in order.
    """

    def __init__(self, pki: Pki, login: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pki.certificate("server"), pki.key("server"))
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.login = login
        self.scopes: list[str] = []
        self._key = pki.key("server").read_text()
        self._certificate = pki.certificate("server")

    @property
    def realm(self) -> str:
        return f"https://127.0.0.1:{self.server_address[1]}/token"

    def token(self, scopes: list[str]) -> str:
        """Return a token that allows what the scopes name."""
        self.scopes += scopes
        access = []
        for scope in scopes:
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "sub": "test",
            "aud": SERVICE,
            "exp": now + 60,
            "nbf": now - 10,
            "iat": now,
            "jti": str(time.time_ns()),
            "access": access,
        }
        chain = [_der(self._certificate)]
        return jwt.encode(claims, self._key, algorithm="ES256", headers={"x5c": chain})


class _Handler(JsonHandler):
    server: TokenServer

    def reply(self) -> object:
        if self.headers.get("Authorization") != f"Basic {self.server.login}":
            return HTTPStatus.UNAUTHORIZED
        query = parse_qs(urlsplit(self.path).query)
        return {"token": self.server.token(query.get("scope", []))}


def _der(certificate: Path) -> str:
    return base64.b64encode(ssl.PEM_cert_to_DER_cert(certificate.read_text())).decode()


def token_server(pki: Pki, login: str) -> AbstractContextManager[TokenServer]:
    """Give a token service that runs."""
    return running(TokenServer(pki, login))
