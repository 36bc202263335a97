"""Stores behind a proxy: a real MinIO that speaks TLS, reached by tunnels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from web_server import TlsFront, Tunnels, server_pki, tls_front, tunnels

from devcluster.certificates import Pki
from mopt_api.jobs.plan import Credentials
from mopt_optimizer.errors import StoreUnreachable
from mopt_optimizer.store.access import access
from mopt_optimizer.store.identity import WebIdentity
from mopt_optimizer.store.proxies import proxy_for
from mopt_optimizer.store.registry import open_store

if TYPE_CHECKING:
    from minio_server import MinioServer

ENDPOINT = Credentials.OUTPUT.variable("AWS_ENDPOINT_URL")


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return server_pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def front(pki: Pki, minio: MinioServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[TlsFront]:
    monkeypatch.setenv("SSL_CERT_FILE", str(pki.certificate("ca")))
    with tls_front(pki, minio.endpoint) as front:
        yield front


@pytest.fixture
def proxy() -> Iterator[Tunnels]:
    with tunnels() as proxy:
        yield proxy


@pytest.mark.parametrize(
    ("environ", "proxy"),
    [
        ({}, None),
        ({"https_proxy": "http://p:3128"}, "http://p:3128"),
        ({"HTTPS_PROXY": "p:3128"}, "http://p:3128"),
        ({"HTTPS_PROXY": "https://u:s@p"}, "https://u:s@p"),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": ".example.com"}, None),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "other.com"}, "http://p"),
        ({"HTTP_PROXY": "http://p"}, None),
    ],
)
def test_proxy_for(environ: dict[str, str], proxy: str | None) -> None:
    assert proxy_for("models.example.com", environ) == proxy


@pytest.mark.parametrize("text", ["socks5://u:secret@p", "http://", "http://p:secret", "http://[p"])
def test_what_is_no_proxy_is_told_unquoted(text: str) -> None:
    with pytest.raises(StoreUnreachable, match="HTTPS_PROXY is not") as told:
        proxy_for("models.example.com", {"HTTPS_PROXY": text})
    assert "secret" not in str(told.value)


def test_a_bucket_is_reached_through_the_proxy(
    minio: MinioServer, front: TlsFront, proxy: Tunnels, tmp_path: Path
) -> None:
    environ = minio.environ() | {ENDPOINT: front.address, "HTTPS_PROXY": proxy.address}
    place = f"s3://{minio.bucket()}"
    store, _ = open_store(place, Credentials.OUTPUT, environ)
    content = bytes(range(256)) * 70_000  # More than a part of an upload.
    (tmp_path / "in").write_bytes(content)
    store.put_file("folder/object", tmp_path / "in")
    store.fetch("folder/object", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == content
    assert store.list("") == ["folder/object"]
    assert set(proxy.asked) == {front.address.removeprefix("https://")}
    before = len(proxy.asked)
    store, _ = open_store(place, Credentials.OUTPUT, environ | {"NO_PROXY": "127.0.0.1"})
    assert store.list("") == ["folder/object"]
    assert len(proxy.asked) == before


def test_without_tls_there_is_no_proxy(minio: MinioServer, proxy: Tunnels) -> None:
    environ = minio.environ() | {"HTTPS_PROXY": proxy.address}
    store, _ = open_store(f"s3://{minio.bucket()}", Credentials.OUTPUT, environ)
    assert store.list("") == []
    assert proxy.asked == []


def test_a_proxy_that_is_not_there_is_named_by_its_error(
    minio: MinioServer, front: TlsFront, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mopt_optimizer.store.transport.PAUSE_SECONDS", 0.01)
    environ = minio.environ() | {ENDPOINT: front.address, "HTTPS_PROXY": "http://127.0.0.1:9"}
    store, _ = open_store("s3://bucket", Credentials.OUTPUT, environ)
    with pytest.raises(StoreUnreachable, match="refused"):
        store.size("object")


def test_the_service_that_gives_keys_is_reached_through_it_too() -> None:
    environ = {
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/token",
        "AWS_REGION": "eu-west-1",
        "HTTPS_PROXY": "http://p:3128",
    }
    granted = access(Credentials.OUTPUT, environ)
    assert granted.proxy == "http://p:3128"
    assert isinstance(granted.keys, WebIdentity)
    assert granted.keys.proxy == "http://p:3128"
    around = access(Credentials.OUTPUT, environ | {"NO_PROXY": "sts.eu-west-1.amazonaws.com"})
    assert isinstance(around.keys, WebIdentity)
    assert (around.proxy, around.keys.proxy) == ("http://p:3128", None)
