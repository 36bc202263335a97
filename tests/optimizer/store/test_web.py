"""A file on a web server, against a real one with a certificate."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from web_server import Script, WebRequest, WebServer, server_pki, tunnels, web_server

from devcluster.certificates import Pki
from mopt_api.jobs.plan import Credentials
from mopt_optimizer.errors import (
    DataError,
    ObjectNotFound,
    OptimizerError,
    SpecError,
    StoreAccessDenied,
    StoreUnreachable,
)
from mopt_optimizer.store import file_place
from mopt_optimizer.store.base import Store
from mopt_optimizer.store.file_place import ATTEMPTS
from mopt_optimizer.store.registry import open_store
from mopt_optimizer.store.web import MOST_REDIRECTS

CONTENT = bytes(range(256)) * 9000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
Serve = Callable[[Script], WebServer]


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return server_pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def serve(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Return what starts a server that is trusted here."""
    monkeypatch.setenv("SSL_CERT_FILE", str(pki.certificate("ca")))
    monkeypatch.setattr(file_place, "RETRY_SECONDS", 0.01)
    with ExitStack() as stack:
        yield lambda script: stack.enter_context(web_server(pki, script))


def opened(uri: str, **environ: str) -> tuple[Store, str]:
    return open_store(uri, Credentials.MODEL, environ)


def whole(request: WebRequest) -> None:
    request.answer(200, CONTENT)


def test_a_file_is_fetched_with_its_digest(serve: Serve, tmp_path: Path) -> None:
    server = serve(whole)
    store, key = opened(f"{server.address}/models/net.onnx")
    assert store.size(key) == len(CONTENT)
    assert store.fetch(key, tmp_path / "net.onnx") == DIGEST
    assert (tmp_path / "net.onnx").read_bytes() == CONTENT
    assert store.digest(key) == DIGEST
    assert store.read(key) == CONTENT
    assert store.uri(key) == f"{server.address}/models/net.onnx"
    assert set(server.asked) == {"/models/net.onnx"}
    with pytest.raises(DataError, match=f"has {len(CONTENT)} bytes, more than the 10 taken"):
        store.read(key, max_bytes=10)


def test_a_release_leads_elsewhere(serve: Serve, tmp_path: Path) -> None:
    there = serve(whole)
    here = serve(lambda request: request.answer(302, Location=f"{there.address}/blob?signed=1"))
    store, key = opened(f"{here.address}/release")
    assert store.fetch(key, tmp_path / "out") == DIGEST
    assert there.asked == ["/blob?signed=1"]


@pytest.mark.parametrize(
    "there", ["http://127.0.0.1/x", "ftp://a/b", "https://u:p@127.0.0.1/x", ""]
)
def test_no_redirect_leads_out_of_https(serve: Serve, tmp_path: Path, there: str) -> None:
    server = serve(lambda request: request.answer(302, Location=there))
    store, key = opened(f"{server.address}/a")
    with pytest.raises(StoreUnreachable, match="redirect"):
        store.fetch(key, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_redirects_have_an_end(serve: Serve, tmp_path: Path) -> None:
    server = serve(lambda request: request.answer(307, Location=f"{request.path}x"))
    store, key = opened(f"{server.address}/a")
    with pytest.raises(StoreUnreachable, match=f"more than {MOST_REDIRECTS} redirects"):
        store.fetch(key, tmp_path / "out")
    assert len(server.asked) == MOST_REDIRECTS + 1


def _no_length(request: WebRequest) -> None:
    request.answer(200, CONTENT, Content_Length="")


def _packed(request: WebRequest) -> None:
    request.answer(200, CONTENT, Content_Encoding="gzip")


def _short(request: WebRequest) -> None:
    request.answer(200, CONTENT[:-1], Content_Length=str(len(CONTENT)))


@pytest.mark.parametrize(
    ("script", "error", "words"),
    [
        (lambda r: r.answer(404), ObjectNotFound, "HTTP status 404"),
        (lambda r: r.answer(401), StoreAccessDenied, "HTTP status 401: it must be public"),
        (lambda r: r.answer(403), StoreAccessDenied, "HTTP status 403: it must be public"),
        (lambda r: r.answer(418), StoreUnreachable, "HTTP status 418"),
        (lambda r: r.answer(503), StoreUnreachable, "HTTP status 503"),
        (_no_length, StoreUnreachable, "does not say how many bytes"),
        (_packed, StoreUnreachable, "does not say how many bytes"),
        (_short, StoreUnreachable, "no answer: it breaks off"),
    ],
    ids=["gone", "login", "denied", "teapot", "busy", "no length", "packed", "short"],
)
def test_other_answers_are_told_and_leave_nothing(
    serve: Serve, tmp_path: Path, script: Script, error: type[OptimizerError], words: str
) -> None:
    server = serve(script)
    store, key = opened(f"{server.address}/a")
    with pytest.raises(error, match=words):
        store.fetch(key, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing_has_no_size_and_no_digest(serve: Serve) -> None:
    store, key = opened(f"{serve(lambda request: request.answer(410)).address}/a")
    assert store.size(key) is None
    assert store.digest(key) is None


def test_a_server_that_is_busy_is_asked_again(serve: Serve, tmp_path: Path) -> None:
    answers = iter([503, 429, 200])

    def script(request: WebRequest) -> None:
        status = next(answers)
        request.answer(status, CONTENT if status == 200 else b"")

    server = serve(script)
    store, key = opened(f"{server.address}/a")
    assert store.fetch(key, tmp_path / "out") == DIGEST
    assert len(server.asked) == 3 < ATTEMPTS


def test_a_proxy_is_used_where_the_environment_names_one(serve: Serve, tmp_path: Path) -> None:
    server = serve(whole)
    with tunnels() as proxy:
        store, key = opened(f"{server.address}/a", HTTPS_PROXY=proxy.address)
        assert store.fetch(key, tmp_path / "out") == DIGEST
        assert proxy.asked == [server.address.removeprefix("https://")]
        around = {"HTTPS_PROXY": proxy.address, "NO_PROXY": "127.0.0.1"}
        store, key = opened(f"{server.address}/a", **around)
        assert store.fetch(key, tmp_path / "out") == DIGEST
        assert len(proxy.asked) == 1


def test_a_certificate_of_nobody_known_is_refused(pki: Pki, tmp_path: Path) -> None:
    with web_server(pki, whole) as server:
        store, key = opened(f"{server.address}/a")
        with pytest.raises(StoreUnreachable, match=r"certificate verify failed|CERTIFICATE"):
            store.fetch(key, tmp_path / "out")


def test_nothing_is_written_or_listed(tmp_path: Path) -> None:
    store, key = opened("https://models.example.com/a")
    for attempt in (
        lambda: store.put_bytes(key, b""),
        lambda: store.put_file(key, tmp_path),
        lambda: store.list(key),
    ):
        with pytest.raises(SpecError, match="is the place of one file"):
            attempt()


@pytest.mark.parametrize("uri", ["https://", "https://host", "https://host/", "https://h/a?sig=1"])
def test_no_place_of_a_file(uri: str) -> None:
    with pytest.raises(SpecError, match="is neither"):
        opened(uri)
