from __future__ import annotations

import hashlib
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from minio import Minio

from mopt_api.jobs.plan import Credentials
from mopt_optimizer.errors import (
    DataError,
    ObjectNotFound,
    OptimizerError,
    SpecError,
    StoreAccessDenied,
    StoreUnreachable,
)
from mopt_optimizer.store.base import Store
from mopt_optimizer.store.registry import open_store

if TYPE_CHECKING:
    from ..conftest import MinioServer

# What a Job may take to say that a store does not answer, so that a resource shows it in 60 s.
UNREACHABLE_SECONDS = 60


@pytest.fixture
def store(minio: MinioServer) -> Store:
    return open_store(f"s3://{minio.bucket()}", Credentials.OUTPUT, minio.environ())[0]


def test_file_survives_the_round_trip(store: Store, tmp_path: Path) -> None:
    # More than one part of an upload, and not a multiple of any block.
    content = bytes(range(256)) * 70_000 + b"end"
    (tmp_path / "in").write_bytes(content)
    store.put_file("folder/object", tmp_path / "in")
    digest = store.fetch("folder/object", tmp_path / "new" / "out")
    assert digest == hashlib.sha256(content).hexdigest()
    assert (tmp_path / "new" / "out").read_bytes() == content
    assert store.size("folder/object") == len(content)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["out"]


def test_digest_is_of_all_the_bytes(store: Store) -> None:
    content = bytes(range(256)) * 10_000
    store.put_bytes("object", content)
    assert store.digest("object") == hashlib.sha256(content).hexdigest()
    assert store.digest("other") is None


def test_empty_object_survives_the_round_trip(store: Store, tmp_path: Path) -> None:
    store.put_bytes("empty", b"")
    assert store.fetch("empty", tmp_path / "out") == hashlib.sha256(b"").hexdigest()
    assert (tmp_path / "out").read_bytes() == b""
    assert store.size("empty") == 0
    assert store.read("empty") == b""


def test_a_browser_is_told_what_is_a_page(minio: MinioServer) -> None:
    uri = f"s3://{minio.bucket()}"
    store = open_store(uri, Credentials.OUTPUT, minio.environ())[0]
    host = minio.endpoint.removeprefix("http://")
    client = Minio(host, minio.access_key, minio.secret_key, secure=False, region="us-east-1")
    bucket = uri.removeprefix("s3://")
    for key, kind in (("a.html", "text/html; charset=utf-8"), ("b", "application/octet-stream")):
        store.put_bytes(key, b"<p>")
        assert client.stat_object(bucket, key).content_type == kind


def test_list_is_sorted_and_keeps_to_the_prefix(store: Store) -> None:
    for key in ("a/2", "a/1", "a/b/3", "ab/4"):
        store.put_bytes(key, b"x")
    assert store.list("a/") == ["a/1", "a/2", "a/b/3"]
    assert store.list("none/") == []


def test_missing_object_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ObjectNotFound, match=r"s3://bucket-\S+/gone at http"):
        store.fetch("gone", tmp_path / "out")
    assert not list(tmp_path.iterdir())
    assert store.size("gone") is None


def test_missing_bucket_is_told_from_a_missing_object(minio: MinioServer, tmp_path: Path) -> None:
    store, key = open_store("s3://no-such-bucket/x", Credentials.MODEL, minio.environ())
    with pytest.raises(ObjectNotFound, match="NoSuchBucket"):
        store.fetch(key, tmp_path / "out")
    with pytest.raises(ObjectNotFound, match="NoSuchBucket"):
        store.size(key)
    with pytest.raises(ObjectNotFound, match="NoSuchBucket"):
        store.digest(key)
    with pytest.raises(ObjectNotFound, match="NoSuchBucket"):
        store.list("")


def test_object_above_the_bound_is_not_read(store: Store) -> None:
    store.put_bytes("large", b"12345")
    with pytest.raises(DataError, match="has 5 bytes, more than the 4 taken"):
        store.read("large", max_bytes=4)
    assert store.read("large", max_bytes=5) == b"12345"


def test_wrong_secret_is_denied_and_not_repeated(minio: MinioServer, tmp_path: Path) -> None:
    environ = minio.environ()
    environ["MOPT_MODEL_AWS_SECRET_ACCESS_KEY"] = "hunter2-hunter2"
    store, _ = open_store(f"s3://{minio.bucket()}", Credentials.MODEL, environ)
    for attempt in (
        lambda: store.fetch("x", tmp_path / "out"),
        lambda: store.put_bytes("x", b""),
        lambda: store.list(""),
    ):
        with pytest.raises(StoreAccessDenied) as caught:
            attempt()
        assert "hunter2" not in str(caught.value)
        assert not caught.value.retryable


def test_unknown_access_key_is_denied(minio: MinioServer, tmp_path: Path) -> None:
    environ = minio.environ() | {"MOPT_MODEL_AWS_ACCESS_KEY_ID": "nobody"}
    store, _ = open_store(f"s3://{minio.bucket()}", Credentials.MODEL, environ)
    with pytest.raises(StoreAccessDenied):
        store.fetch("x", tmp_path / "out")


def test_role_without_variables_takes_the_plain_ones() -> None:
    environ = {
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    }
    store, key = open_store("s3://bucket/some/key", Credentials.MODEL, environ)
    assert (store.uri(key), key) == ("s3://bucket/some/key", "some/key")


def test_role_with_half_its_variables_does_not_borrow_the_rest() -> None:
    environ = {
        "MOPT_MODEL_AWS_ACCESS_KEY_ID": "a",
        "AWS_ACCESS_KEY_ID": "b",
        "AWS_SECRET_ACCESS_KEY": "c",
    }
    with pytest.raises(StoreAccessDenied, match="no AWS_SECRET_ACCESS_KEY for the model store"):
        open_store("s3://bucket/key", Credentials.MODEL, environ)


@pytest.mark.parametrize("endpoint", ["minio:9000", "ftp://minio", "http://", "http://minio/path"])
def test_endpoint_that_is_no_url_is_named(endpoint: str) -> None:
    environ = {
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_ENDPOINT_URL": endpoint,
    }
    with pytest.raises(StoreUnreachable, match="AWS_ENDPOINT_URL"):
        open_store("s3://bucket/key", Credentials.MODEL, environ)


def test_damaged_ca_certificate_is_named() -> None:
    environ = {
        "MOPT_MODEL_AWS_ACCESS_KEY_ID": "a",
        "MOPT_MODEL_AWS_SECRET_ACCESS_KEY": "b",
        "MOPT_MODEL_AWS_ENDPOINT_URL": "https://127.0.0.1:1",
        "MOPT_MODEL_CA_CRT": "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----",
    }
    with pytest.raises(StoreUnreachable, match=r"ca\.crt"):
        open_store("s3://bucket/key", Credentials.MODEL, environ)


@pytest.mark.parametrize("uri", ["http://host/key", "s3:///key", "file://relative", "key", ""])
def test_other_uris_are_refused(uri: str) -> None:
    with pytest.raises(SpecError):
        open_store(uri, Credentials.MODEL, {})


def _opened(endpoint: str) -> Store:
    environ = {
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_ENDPOINT_URL": endpoint,
    }
    return open_store("s3://bucket/key", Credentials.MODEL, environ)[0]


@pytest.mark.parametrize("accepts", [False, True], ids=["refuses", "never answers"])
def test_store_without_an_answer_is_unreachable_soon(accepts: bool, tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if accepts:
            listener.listen(16)
        store = _opened(f"http://127.0.0.1:{listener.getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises(StoreUnreachable, match="no answer") as caught:
            store.fetch("key", tmp_path / "out")
    assert time.monotonic() - started < UNREACHABLE_SECONDS
    assert caught.value.retryable


class _Faulty(BaseHTTPRequestHandler):
    """An S3 of one object whose faults are scripted on the server object."""

    server: FaultyServer

    def do_HEAD(self) -> None:
        self._send(self.server.status or 200, self.server.content, head=True)

    def do_GET(self) -> None:
        self.server.ranges.append(self.headers.get("Range"))
        if self.headers.get("If-Match", "").strip('"') != self.server.etag:
            body = b"<Error><Code>PreconditionFailed</Code><Message>m</Message></Error>"
            self._send(412, body)
            return
        start = int((self.headers.get("Range") or "bytes=0-")[len("bytes=") :].rstrip("-"))
        content = self.server.content[start:]
        if self.server.breaks:
            self.server.breaks -= 1
            self._send(206, content, sent=len(content) // 2)
            self.close_connection = True
            if self.server.replacement is not None:
                self.server.content, self.server.replacement = self.server.replacement, None
                self.server.etag = "second"
        else:
            self._send(206 if start else 200, content)

    def _send(
        self, status: int, body: bytes, *, head: bool = False, sent: int | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/xml")
        self.send_header("ETag", f'"{self.server.etag}"')
        self.send_header("Last-Modified", formatdate(usegmt=True))
        self.end_headers()
        if not head:
            self.wfile.write(body[:sent])

    def log_message(self, *_: object) -> None:
        pass


class FaultyServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Faulty)
        self.content = bytes(range(256)) * 4 * 4096  # 4 MiB, several chunks
        self.etag = "first"
        self.breaks = 0
        self.status = 0
        self.replacement: bytes | None = None
        self.ranges: list[str | None] = []


@pytest.fixture
def faulty() -> Iterator[FaultyServer]:
    with FaultyServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _fetch(faulty: FaultyServer, path: Path) -> str:
    return _opened(f"http://127.0.0.1:{faulty.server_port}").fetch("key", path)


def test_broken_transfer_goes_on_where_it_broke(faulty: FaultyServer, tmp_path: Path) -> None:
    faulty.breaks = 2
    digest = _fetch(faulty, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == faulty.content
    assert digest == hashlib.sha256(faulty.content).hexdigest()
    assert len(faulty.ranges) == 3
    assert faulty.ranges[2] == f"bytes={len(faulty.content) * 3 // 4}-"


def test_object_replaced_during_a_transfer_is_read_anew(
    faulty: FaultyServer, tmp_path: Path
) -> None:
    faulty.breaks = 1
    faulty.replacement = b"quite another object"
    digest = _fetch(faulty, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"quite another object"
    assert digest == hashlib.sha256(b"quite another object").hexdigest()


def test_transfer_that_never_advances_ends(faulty: FaultyServer, tmp_path: Path) -> None:
    faulty.content = b"x"  # half of it is nothing
    faulty.breaks = 100
    with pytest.raises(StoreUnreachable):
        _fetch(faulty, tmp_path / "out")
    assert len(faulty.ranges) == 4
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("status", "error"),
    [(503, StoreUnreachable), (500, StoreUnreachable), (403, StoreAccessDenied)],
)
def test_status_without_a_body_is_mapped(
    faulty: FaultyServer, status: int, error: type[OptimizerError], tmp_path: Path
) -> None:
    faulty.status = status
    with pytest.raises(error):
        _fetch(faulty, tmp_path / "out")


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A folder with a self-signed server certificate."""
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=store", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "ca.pem")]
    subprocess.run(command, check=True, capture_output=True)
    return tmp_path


@pytest.mark.parametrize("through", ["ca.crt", "SSL_CERT_FILE"])
def test_private_authority_is_trusted(
    faulty: FaultyServer,
    certificate: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    through: str,
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "ca.pem", certificate / "key.pem")
    faulty.socket = context.wrap_socket(faulty.socket, server_side=True)
    environ = {
        "MOPT_MODEL_AWS_ACCESS_KEY_ID": "a",
        "MOPT_MODEL_AWS_SECRET_ACCESS_KEY": "b",
        "MOPT_MODEL_AWS_ENDPOINT_URL": f"https://127.0.0.1:{faulty.server_port}",
    }
    store, _ = open_store("s3://bucket", Credentials.MODEL, environ)
    with pytest.raises(StoreUnreachable, match="certificate verify failed"):
        store.fetch("key", tmp_path / "out")
    if through == "ca.crt":
        environ["MOPT_MODEL_CA_CRT"] = (certificate / "ca.pem").read_text()
    else:
        # As the administrator gives it to all Jobs: OpenSSL reads it.
        monkeypatch.setenv(through, str(certificate / "ca.pem"))
    store, _ = open_store("s3://bucket", Credentials.MODEL, environ)
    digest = store.fetch("key", tmp_path / "out")
    assert digest == hashlib.sha256(faulty.content).hexdigest()
