"""A model in a registry: the distribution project's, with TLS and a login."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard
from registry import PASSWORD, Registry, running_registry
from web_server import tunnels

from mopt_api.jobs.plan import Credentials
from mopt_api.jobs.publishing import MODEL_AUTH_VARIABLE, REGISTRY_AUTH_VARIABLE
from mopt_optimizer.digests import json_bytes
from mopt_optimizer.errors import (
    DataError,
    ObjectNotFound,
    SpecError,
    StoreAccessDenied,
    StoreUnreachable,
)
from mopt_optimizer.publishing import registry as edge
from mopt_optimizer.publishing.archive import Archive, Given, digest_of
from mopt_optimizer.publishing.manifests import (
    EMPTY,
    INDEX,
    LAYER,
    MANIFEST,
    Descriptor,
    Document,
    model_file,
)
from mopt_optimizer.publishing.model import (
    ARCHITECTURE,
    Reference,
    layer_of,
    read_manifest,
    reference,
)
from mopt_optimizer.store import file_place
from mopt_optimizer.store.base import Store
from mopt_optimizer.store.registry import open_store

NET, LABELS = Given(b"network " * 100_000), Given(b"cat\ndog\n")
SHA256 = hashlib.sha256(NET.data).hexdigest()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("models") / "registry"
    with running_registry(folder, tls=True, login=True) as running:
        yield running


@pytest.fixture
def environ(registry: Registry, tmp_path: Path) -> dict[str, str]:
    return {MODEL_AUTH_VARIABLE: str(registry.write_auth(tmp_path / "auth" / "config.json"))}


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_place, "RETRY_SECONDS", 0.01)


def artifact(*layers: Descriptor) -> Document:
    """Return a manifest as ORAS writes it."""
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": "application/vnd.onnx.model",
        "config": EMPTY.descriptor.as_json(),
        "layers": [layer.as_json() for layer in layers],
    }
    return Document(MANIFEST, json_bytes(document))


def layer(content: Given, name: str) -> Descriptor:
    return model_file(name, digest_of(content), len(content), weights=True)


def push(
    registry: Registry, tmp_path: Path, document: Document, tag: str | None, *others: Given
) -> None:
    """Push a manifest, and what it may name."""
    auth = {REGISTRY_AUTH_VARIABLE: str(registry.write_auth(tmp_path / "push" / "config.json"))}
    with edge.open_registry(registry.repository(), auth, insecure=False) as opened:
        for content in (NET, LABELS, Given(EMPTY.data), *others):
            opened.push_blob(digest_of(content), content)
        opened.push_manifest(document, tag)


def opened(registry: Registry, name: str, environ: dict[str, str]) -> tuple[Store, str]:
    return open_store(f"oci://{registry.repository()}{name}", Credentials.MODEL, environ)


def test_the_only_file_is_fetched_with_its_digest(
    registry: Registry, environ: dict[str, str], tmp_path: Path
) -> None:
    document = artifact(layer(NET, "net.onnx"))
    push(registry, tmp_path, document, "v1")
    for name in (":v1", f"@{document.digest}", ":v1#net.onnx"):
        store, key = opened(registry, name, environ)
        assert store.uri(key) == f"oci://{registry.repository()}{name}"
        assert store.size(key) == len(NET)
        assert store.fetch(key, tmp_path / "out") == store.digest(key) == SHA256
        assert (tmp_path / "out").read_bytes() == store.read(key) == NET.data
    with pytest.raises(DataError, match=f"has {len(NET)} bytes, more than the 10 taken"):
        store.read(key, max_bytes=10)


def test_a_registry_of_models_is_reached_through_the_proxy(
    registry: Registry, environ: dict[str, str], tmp_path: Path
) -> None:
    push(registry, tmp_path, artifact(layer(NET, "net.onnx")), "proxied")
    with tunnels() as proxy:
        store, key = opened(registry, ":proxied", environ | {"HTTPS_PROXY": proxy.address})
        assert store.fetch(key, tmp_path / "out") == SHA256
        assert set(proxy.asked) == {registry.address}


def test_one_of_several_files_is_named(
    registry: Registry, environ: dict[str, str], tmp_path: Path
) -> None:
    push(registry, tmp_path, artifact(layer(LABELS, "labels"), layer(NET, "a/net.onnx")), "two")
    store, key = opened(registry, ":two#a/net.onnx", environ)
    assert store.fetch(key, tmp_path / "out") == SHA256
    for name, words in (("", "has 2 layers: name one"), ("#none", "has no file 'none': name one")):
        store, key = opened(registry, f":two{name}", environ)
        with pytest.raises(SpecError, match=words + r' by #FILE, of \["labels", "a/net.onnx"\]'):
            store.fetch(key, tmp_path / "other")
    assert not (tmp_path / "other").exists()


OTHER = "s390x" if ARCHITECTURE == "arm64" else "arm64"


def entry(document: Document, architecture: str | None) -> dict[str, Any]:
    system = {"os": "linux", "architecture": architecture}
    if architecture is None:
        system = {"os": "unknown", "architecture": "unknown"}
    return document.descriptor.as_json() | {"platform": system}


def index_of(*entries: dict[str, Any]) -> Document:
    document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
    return Document(INDEX, json_bytes(document))


def test_of_an_index_the_manifest_for_this_machine_is_read(
    registry: Registry, environ: dict[str, str], tmp_path: Path
) -> None:
    here, there = artifact(layer(NET, "net.onnx")), artifact(layer(LABELS, "net.onnx"))
    proof = entry(there, None)
    for document in (here, there):
        push(registry, tmp_path, document, None)
    for entries in (
        (entry(there, OTHER), entry(here, ARCHITECTURE), proof),
        (entry(here, OTHER), proof),
        ({name: part for name, part in entry(here, OTHER).items() if name != "platform"},),
    ):
        push(registry, tmp_path, index_of(*entries), "index")
        store, key = opened(registry, ":index", environ)
        assert store.fetch(key, tmp_path / "out") == SHA256
        assert store.size(key) == len(NET)


def test_an_index_of_none_or_several_for_this_machine_is_told(
    registry: Registry, environ: dict[str, str], tmp_path: Path
) -> None:
    one, other = artifact(layer(NET, "net.onnx")), artifact(layer(LABELS, "net.onnx"))
    inner = index_of(entry(one, ARCHITECTURE))
    for document in (one, other, inner):
        push(registry, tmp_path, document, None)
    for entries, words in (
        ([], f"an index with 0 manifests for linux/{ARCHITECTURE}, of none: name one by"),
        ([entry(one, "riscv64"), entry(other, "s390x")], "of linux/riscv64, linux/s390x"),
        ([entry(one, ARCHITECTURE), entry(other, ARCHITECTURE)], "an index with 2 manifests for"),
        ([entry(inner, ARCHITECTURE)], "is an index of indexes"),
    ):
        push(registry, tmp_path, index_of(*entries), "none")
        store, key = opened(registry, ":none", environ)
        with pytest.raises(SpecError, match=words):
            store.fetch(key, tmp_path / "out")


@pytest.mark.parametrize("packed", ["", "+gzip", "+zstd"])
def test_a_file_of_a_modelcar_is_read_from_its_layers(
    registry: Registry, environ: dict[str, str], tmp_path: Path, packed: str
) -> None:
    """As mopt publishes images, and as builders do, over a base."""
    contents = [
        Given(b"".join(Archive({"bin/sh": LABELS}))),
        Given(b"".join(Archive({"models/1/net.onnx": NET, "models/labels": LABELS}))),
        Given(b"".join(Archive({"etc/motd": LABELS}))),
    ]
    packers: dict[str, Callable[[bytes], bytes]]
    packers = {"": bytes, "+gzip": gzip.compress, "+zstd": zstandard.compress}
    contents = [Given(packers[packed](each.data)) for each in contents]
    layers = [Descriptor(f"{LAYER}{packed}", digest_of(each), len(each)) for each in contents]
    push(registry, tmp_path, artifact(*layers), "car", *contents)
    store, key = opened(registry, ":car#1/net.onnx", environ)
    assert store.size(key) == len(NET)
    assert store.fetch(key, tmp_path / "out") == store.digest(key) == SHA256
    store, key = opened(registry, ":car#net.onnx", environ)
    assert store.size(key) is None
    with pytest.raises(ObjectNotFound, match=r"the image has no file /models/net\.onnx"):
        store.fetch(key, tmp_path / "other")
    store, key = opened(registry, ":car", environ)
    with pytest.raises(SpecError, match="is an image: name the model's file in its folder /models"):
        store.fetch(key, tmp_path / "other")


def test_what_is_not_there_is_told(
    registry: Registry, environ: dict[str, str], tmp_path: Path
) -> None:
    push(registry, tmp_path, artifact(layer(NET, "net.onnx")), "v1")
    for name in (":v2", f"@sha256:{'0' * 64}"):
        store, key = opened(registry, name, environ)
        assert store.size(key) is None
        assert store.digest(key) is None
        with pytest.raises(ObjectNotFound, match="there is no such tag or digest"):
            store.fetch(key, tmp_path / "out")


def test_wrong_and_no_credentials_are_told_apart(
    registry: Registry, environ: dict[str, str], tmp_path: Path
) -> None:
    registry.write_auth(Path(environ[MODEL_AUTH_VARIABLE]), password="others")
    store, key = opened(registry, ":v1", environ)
    with pytest.raises(StoreAccessDenied, match="rejects the credentials") as caught:
        store.fetch(key, tmp_path / "out")
    assert "others" not in str(caught.value)
    Path(environ[MODEL_AUTH_VARIABLE]).write_text('{"auths": {}}')
    with pytest.raises(StoreAccessDenied, match="asks for credentials"):
        store.fetch(key, tmp_path / "out")


def test_in_a_local_run_the_registry_s_login_is_that_of_pushing(
    registry: Registry, tmp_path: Path
) -> None:
    push(registry, tmp_path, artifact(layer(NET, "net.onnx")), "v1")
    auth = {REGISTRY_AUTH_VARIABLE: str(tmp_path / "push" / "config.json")}
    store, key = opened(registry, ":v1", auth)
    assert store.digest(key) == SHA256


def test_no_registry_is_unreachable(tmp_path: Path) -> None:
    store, key = open_store("oci://127.0.0.1:1/a/b:v1", Credentials.MODEL, {})
    with pytest.raises(StoreUnreachable, match="no answer"):
        store.fetch(key, tmp_path / "out")


def test_a_blob_that_is_another_one_is_not_taken(
    registry: Registry, environ: dict[str, str], tmp_path: Path
) -> None:
    content = Given(b"original " * 1000)
    push(registry, tmp_path, artifact(layer(NET, "net.onnx")), "v1")
    auth = {REGISTRY_AUTH_VARIABLE: str(tmp_path / "push" / "config.json")}
    with edge.open_registry(registry.repository(), auth, insecure=False) as pushed:
        pushed.push_blob(digest_of(content), content)
        pushed.push_manifest(artifact(layer(content, "net.onnx")), "broken")
    digest = digest_of(content).removeprefix("sha256:")
    (data,) = registry.storage.rglob(f"sha256/{digest[:2]}/{digest}/data")
    for changed in (b"tampered " * 1000, b"original " * 999, b"original " * 1001):
        data.write_bytes(changed)
        store, key = opened(registry, ":broken", environ)
        with pytest.raises(StoreUnreachable):
            store.fetch(key, tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_nothing_is_written_or_listed(tmp_path: Path) -> None:
    store, key = open_store("oci://registry.test/a:v1", Credentials.MODEL, {})
    for attempt in (
        lambda: store.put_bytes(key, b""),
        lambda: store.put_file(key, tmp_path),
        lambda: store.list(key),
    ):
        with pytest.raises(SpecError, match="is the place of one file"):
            attempt()


def told(manifest: bytes) -> Any:
    """Return the layer that a manifest holds."""
    return layer_of("oci://a", read_manifest("oci://a", Document(MANIFEST, manifest)), None)


UNTITLED = Descriptor("application/vnd.onnx", f"sha256:{SHA256}", 3)


def test_the_only_layer_needs_no_title() -> None:
    assert told(artifact(UNTITLED).data).digest == UNTITLED.digest


@pytest.mark.parametrize(
    ("manifest", "error", "words"),
    [
        (artifact(UNTITLED, UNTITLED).data, SpecError, "holds no file"),
        (artifact().data, SpecError, "holds no file"),
        (b"<html>", StoreUnreachable, "is none of OCI's"),
        (b"[]", StoreUnreachable, "is none of OCI's"),
        (
            artifact(Descriptor("application/vnd.onnx", "sha256:../../etc", 3)).data,
            StoreUnreachable,
            "is none of OCI's",
        ),
        (
            artifact(Descriptor("application/vnd.onnx", f"sha256:{SHA256}", -1)).data,
            StoreUnreachable,
            "is none of OCI's",
        ),
    ],
)
def test_what_holds_no_file_is_told(manifest: bytes, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        told(manifest)


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("a/b:v1", Reference("h:5000/a/b", "v1", None)),
        ("a/b:v1#x/y.onnx", Reference("h:5000/a/b", "v1", "x/y.onnx")),
        (f"a@sha256:{SHA256}", Reference("h:5000/a", f"sha256:{SHA256}", None)),
        ("a/b", None),
        ("a:5000/b", None),
        (":v1", None),
        ("a:", None),
        (f"a:v1@sha256:{SHA256}", None),
    ],
)
def test_what_a_uri_names(key: str, found: Reference | None) -> None:
    assert reference("h:5000", key) == found


def test_a_password_is_not_among_the_messages(registry: Registry, tmp_path: Path) -> None:
    auth = registry.write_auth(tmp_path / "config.json")
    auth.write_text(auth.read_text().replace("auths", "other"))
    store, key = opened(registry, ":v1", {MODEL_AUTH_VARIABLE: str(auth)})
    with pytest.raises(StoreAccessDenied) as caught:
        store.fetch(key, tmp_path / "out")
    assert PASSWORD not in str(caught.value)
