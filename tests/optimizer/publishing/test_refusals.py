"""What the answers of registries mean; each as such a registry says it."""

from __future__ import annotations

import io
import json

import pytest
import requests

from mopt_optimizer.errors import (
    RegistryAccessDenied,
    RegistryError,
    RegistryRefused,
    RegistryUnreachable,
)
from mopt_optimizer.publishing.client import refusal


def answer(status: int, body: bytes) -> requests.Response:
    found = requests.Response()
    found.status_code = status
    found.raw = io.BytesIO(body)
    return found


def said(code: str, message: str, detail: object = None) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message, "detail": detail}]}).encode()


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (
            401,
            said("UNAUTHORIZED", "authentication required"),
            RegistryAccessDenied,
            "UNAUTHORIZED",
        ),
        (403, said("DENIED", "permission_denied: write_package"), RegistryAccessDenied, "denies"),
        (403, b"<html>secret</html>", RegistryAccessDenied, "denies access: HTTP status 403"),
        (405, b"", RegistryRefused, "takes no uploads: HTTP status 405"),
        (405, said("UNSUPPORTED", "The operation is unsupported."), RegistryRefused, "UNSUPPORTED"),
        (403, said("DENIED", "The system is in read only mode."), RegistryRefused, "no uploads"),
        (
            403,
            said("DENIED", "adding 5.0 MiB, which ... will exceed the configured upper limit"),
            RegistryRefused,
            "has no room",
        ),
        (412, said("PRECONDITION", "configured as immutable"), RegistryRefused, "PRECONDITION"),
        (400, said("TAG_INVALID", "the tag is immutable"), RegistryRefused, "TAG_INVALID"),
        (400, said("MANIFEST_INVALID", "manifest invalid"), RegistryRefused, "MANIFEST_INVALID"),
        (404, said("NAME_UNKNOWN", "repository name not known"), RegistryRefused, "NAME_UNKNOWN"),
        (413, b"<html>nginx</html>", RegistryRefused, "refuses: HTTP status 413"),
        (507, b"", RegistryRefused, "has no room: HTTP status 507"),
        (
            500,
            said("UNKNOWN", "unknown error", {"Op": "write", "Err": 28}).replace(b" ", b""),
            RegistryRefused,
            "has no room",
        ),
        (500, said("UNKNOWN", "unknown error"), RegistryUnreachable, "fails: HTTP status 500"),
        (501, b"", RegistryRefused, "HTTP status 501"),
        (503, b"", RegistryUnreachable, "HTTP status 503"),
        (429, said("TOOMANYREQUESTS", "slow down"), RegistryUnreachable, "TOOMANYREQUESTS"),
    ],
    ids=[
        "no login",
        "a login that may not push",
        "a proxy's page is not quoted",
        "distribution's read-only mode",
        "an operation that is not supported",
        "Harbor's read-only mode",
        "Harbor's quota",
        "Harbor's immutable tag",
        "a registry's immutable tag",
        "a manifest that it does not take",
        "a repository that must be made first",
        "a proxy with a limit",
        "no storage",
        "distribution's full disk",
        "distribution's own trouble",
        "not implemented",
        "it is restarting",
        "too many requests",
    ],
)
def test_an_answer(status: int, body: bytes, kind: type[RegistryError], words: str) -> None:
    error = refusal("registry.test/models/a", answer(status, body))
    assert type(error) is kind
    assert str(error).startswith("registry.test/models/a: the registry ")
    assert words in str(error)
    assert "secret" not in str(error)


def test_what_a_registry_says_is_one_clean_line_with_an_end() -> None:
    text = "\x1b[31mred\nsecond line \u202e" + "x" * 5000
    shown = str(refusal("registry.test/a", answer(403, said("DENIED", text))))
    assert shown.isprintable()
    assert len(shown) < 500
