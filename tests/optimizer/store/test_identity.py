"""Keys by a web identity, against a MinIO that exchanges the tokens of an OpenID provider."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from identity_provider import AUDIENCE, DISCOVERY, IdentityProvider, identity_provider
from minio_server import MinioServer, minio_running

from mopt_api.jobs.plan import Credentials
from mopt_optimizer.errors import StoreAccessDenied, StoreUnreachable
from mopt_optimizer.store.access import access
from mopt_optimizer.store.identity import Keys, WebIdentity
from mopt_optimizer.store.registry import open_store

TOKEN = "/var/run/secrets/token"
KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}


@pytest.fixture(scope="module")
def provider() -> Iterator[IdentityProvider]:
    with identity_provider() as running:
        yield running


@pytest.fixture(scope="module")
def server(
    provider: IdentityProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MinioServer]:
    with minio_running(
        tmp_path_factory.mktemp("minio") / "data",
        MINIO_IDENTITY_OPENID_CONFIG_URL=f"{provider.url}{DISCOVERY}",
        MINIO_IDENTITY_OPENID_CLIENT_ID=AUDIENCE,
    ) as running:
        yield running


def environ(server: MinioServer, tmp_path: Path, token: str) -> dict[str, str]:
    """Return what a Pod of a service account with an identity has: a token, and no keys."""
    (tmp_path / "token").write_text(token)
    return {
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
        "AWS_ENDPOINT_URL": server.endpoint,
    }


def test_token_is_exchanged_for_keys(
    provider: IdentityProvider, server: MinioServer, tmp_path: Path
) -> None:
    given = environ(server, tmp_path, provider.token(policy="readwrite"))
    bucket = server.bucket()
    store, _ = open_store(f"s3://{bucket}", Credentials.OUTPUT, given)
    store.put_bytes("folder/object", b"content")
    assert store.read("folder/object", max_bytes=100) == b"content"
    assert store.list("") == ["folder/object"]


def test_what_the_identity_may_not_do_is_denied(
    provider: IdentityProvider, server: MinioServer, tmp_path: Path
) -> None:
    given = environ(server, tmp_path, provider.token(policy="readonly"))
    store, _ = open_store(f"s3://{server.bucket()}", Credentials.OUTPUT, given)
    with pytest.raises(StoreAccessDenied, match="AccessDenied"):
        store.put_bytes("object", b"")


def test_refused_token_is_told_without_a_word_of_it(
    provider: IdentityProvider, server: MinioServer, tmp_path: Path
) -> None:
    token = provider.token(policy="readwrite", aud="others")
    store, _ = open_store(
        f"s3://{server.bucket()}", Credentials.OUTPUT, environ(server, tmp_path, token)
    )
    with pytest.raises(StoreAccessDenied) as caught:
        store.read("object", max_bytes=1)
    told = str(caught.value)
    assert told.startswith(
        f"no keys for the token in AWS_WEB_IDENTITY_TOKEN_FILE from {server.endpoint}: it refuses"
    )
    assert token.split(".")[1] not in told
    assert caught.value.__cause__ is None


def test_token_that_is_not_there_and_service_that_does_not_answer(
    server: MinioServer, tmp_path: Path
) -> None:
    given = environ(server, tmp_path, "any")
    (tmp_path / "token").unlink()
    store, _ = open_store("s3://bucket", Credentials.OUTPUT, given)
    with pytest.raises(StoreAccessDenied, match="cannot be read"):
        store.read("object", max_bytes=1)
    gone = environ(server, tmp_path, "any") | {"AWS_ENDPOINT_URL_STS": "http://127.0.0.1:1"}
    store, _ = open_store("s3://bucket", Credentials.OUTPUT, gone)
    with pytest.raises(StoreUnreachable, match=r"127\.0\.0\.1:1: no answer"):
        store.read("object", max_bytes=1)


@pytest.mark.parametrize(
    ("given", "keys"),
    [
        (KEYS, Keys("a", "b", None)),
        # Keys that are given are what is meant, as with every SDK.
        (KEYS | {"AWS_WEB_IDENTITY_TOKEN_FILE": TOKEN}, Keys("a", "b", None)),
        (
            {"AWS_WEB_IDENTITY_TOKEN_FILE": TOKEN, "AWS_ROLE_ARN": "arn:aws:iam::1:role/mopt"},
            WebIdentity(Path(TOKEN), "arn:aws:iam::1:role/mopt", "https://sts.amazonaws.com"),
        ),
        (
            {"AWS_WEB_IDENTITY_TOKEN_FILE": TOKEN, "AWS_REGION": "eu-west-1"},
            WebIdentity(Path(TOKEN), None, "https://sts.eu-west-1.amazonaws.com"),
        ),
        (
            {"AWS_WEB_IDENTITY_TOKEN_FILE": TOKEN, "MOPT_MODEL_AWS_ENDPOINT_URL": "http://minio"},
            WebIdentity(Path(TOKEN), None, "http://minio"),
        ),
        (
            {
                "AWS_WEB_IDENTITY_TOKEN_FILE": TOKEN,
                "AWS_ENDPOINT_URL": "http://minio",
                "AWS_ENDPOINT_URL_STS": "http://sts",
            },
            WebIdentity(Path(TOKEN), None, "http://sts"),
        ),
    ],
)
def test_whose_keys_are_used(given: dict[str, str], keys: Keys | WebIdentity) -> None:
    assert access(Credentials.MODEL, given).keys == keys


def test_half_the_keys_are_a_fault_whatever_the_identity_is() -> None:
    given = {"AWS_ACCESS_KEY_ID": "a", "AWS_WEB_IDENTITY_TOKEN_FILE": TOKEN}
    with pytest.raises(StoreAccessDenied, match="no AWS_SECRET_ACCESS_KEY for the model store"):
        access(Credentials.MODEL, given)


def test_secrets_are_not_shown() -> None:
    assert "b" not in repr(Keys("a", "b", "c")).removeprefix("Keys")
