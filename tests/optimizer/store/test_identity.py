"""Keys by a web identity, against a MinIO that exchanges the tokens of an OpenID provider."""

from __future__ import annotations

import os
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from identity_provider import AUDIENCE, DISCOVERY, IdentityProvider, identity_provider
from json_server import JsonHandler, running
from minio.credentials.credentials import Credentials as SessionKeys
from minio.credentials.providers import WebIdentityProvider
from minio_server import MinioServer, minio_running

from mopt_api.jobs.plan import Credentials
from mopt_optimizer.errors import StoreAccessDenied, StoreUnreachable
from mopt_optimizer.store.access import access
from mopt_optimizer.store.identity import ContainerIdentity, Keys, WebIdentity
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


def test_expired_keys_are_replaced_by_those_of_the_token_as_it_is_now(
    provider: IdentityProvider,
    server: MinioServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = environ(server, tmp_path, provider.token(policy="readwrite"))
    store, _ = open_store(f"s3://{server.bucket()}", Credentials.OUTPUT, given)
    store.put_bytes("first", b"content")
    # As the kubelet does while a Job runs.
    (tmp_path / "token").write_text(provider.token(policy="readonly"))
    store.put_bytes("second", b"content")
    monkeypatch.setattr(SessionKeys, "is_expired", lambda _keys: True)
    assert store.read("second") == b"content"
    with pytest.raises(StoreAccessDenied, match="AccessDenied"):
        store.put_bytes("third", b"content")


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


class _Agent(JsonHandler):
    server: Agent

    def reply(self) -> object:
        self.server.asked.append(self.headers["Authorization"])
        return self.server.answers.pop(0)


class Agent(ThreadingHTTPServer):
    """Gives a Pod its keys, as the agent of EKS does.

    Attributes:
        answers: What it says, in order.
        asked: With which tokens.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Agent)
        self.answers: list[object] = []
        self.asked: list[str | None] = []


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Agent]:
    """Return an agent that the environment names."""
    (tmp_path / "pod-token").write_text("of-the-pod")
    with running(Agent()) as server:
        address = f"http://127.0.0.1:{server.server_address[1]}/v1/credentials"
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", address)
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "pod-token"))
        yield server


def answer(provider: IdentityProvider, server: MinioServer, until: str) -> dict[str, str | None]:
    """Return keys of a session of MinIO's, as an agent gives them until a time."""
    keys = WebIdentityProvider(
        jwt_provider_func=lambda: {"access_token": provider.token(policy="readwrite")},
        sts_endpoint=server.endpoint,
    ).retrieve()
    return {
        "AccessKeyId": keys.access_key,
        "SecretAccessKey": keys.secret_key,
        "Token": keys.session_token,
        "Expiration": until,
    }


def test_an_agent_s_keys_are_asked_for_again_before_they_expire(
    provider: IdentityProvider, server: MinioServer, agent: Agent
) -> None:
    given = os.environ | {"AWS_ENDPOINT_URL": server.endpoint}
    past, future = "2026-01-01T00:00:00Z", "2126-01-01T00:00:00Z"
    agent.answers = [answer(provider, server, until) for until in (past, past, future)]
    store, _ = open_store(f"s3://{server.bucket()}", Credentials.OUTPUT, given)
    store.put_bytes("object", b"content")
    for _ in range(4):
        assert store.read("object") == b"content"
    assert agent.asked == ["of-the-pod"] * 3


def test_an_agent_that_refuses_is_told(server: MinioServer, agent: Agent) -> None:
    given = os.environ | {"AWS_ENDPOINT_URL": server.endpoint}
    agent.answers = [{"Code": "AccessDenied", "Message": "secret"}]
    store, _ = open_store(f"s3://{server.bucket()}", Credentials.OUTPUT, given)
    with pytest.raises(StoreAccessDenied, match="no keys for the Pod's identity from") as caught:
        store.read("object")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "keys"),
    [
        (
            {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1/credentials"},
            ContainerIdentity("http://169.254.170.23/v1/credentials"),
        ),
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
def test_whose_keys_are_used(
    given: dict[str, str], keys: Keys | WebIdentity | ContainerIdentity
) -> None:
    assert access(Credentials.MODEL, given).keys == keys


def test_half_the_keys_are_a_fault_whatever_the_identity_is() -> None:
    given = {"AWS_ACCESS_KEY_ID": "a", "AWS_WEB_IDENTITY_TOKEN_FILE": TOKEN}
    with pytest.raises(StoreAccessDenied, match="no AWS_SECRET_ACCESS_KEY for the model store"):
        access(Credentials.MODEL, given)


def test_a_secret_with_empty_keys_gets_no_token() -> None:
    given = {
        "MOPT_MODEL_AWS_ACCESS_KEY_ID": "",
        "MOPT_MODEL_AWS_SECRET_ACCESS_KEY": "",
        "MOPT_MODEL_AWS_ENDPOINT_URL": "https://elsewhere.example",
        "AWS_WEB_IDENTITY_TOKEN_FILE": TOKEN,
    }
    with pytest.raises(StoreAccessDenied, match="no AWS_ACCESS_KEY_ID for the model store"):
        access(Credentials.MODEL, given)


def test_secrets_are_not_shown() -> None:
    assert "b" not in repr(Keys("a", "b", "c")).removeprefix("Keys")
