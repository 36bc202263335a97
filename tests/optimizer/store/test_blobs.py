from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from mopt_api.jobs.plan import Credentials
from mopt_optimizer.errors import DigestMismatch, ObjectNotFound, SpecError
from mopt_optimizer.store.base import Store
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.registry import open_store

DATA = b"the content"
HEX = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(params=["file", "s3"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Store, Blobs]:
    if request.param == "file":
        store, key = open_store(f"file://{tmp_path}/root", Credentials.OUTPUT, {})
        return store, Blobs(store, f"{key}/out/")
    minio = request.getfixturevalue("minio")
    uri = f"s3://{minio.bucket()}/out"
    store, key = open_store(uri, Credentials.OUTPUT, minio.environ())
    return store, Blobs(store, key)


def test_file_lies_under_its_digest(opened: tuple[Store, Blobs], tmp_path: Path) -> None:
    store, blobs = opened
    (tmp_path / "in").write_bytes(DATA)
    assert blobs.put_file(tmp_path / "in") == f"sha256:{HEX}"
    assert store.list("") == [f"out/blobs/sha256/{HEX}"]
    assert blobs.uri(f"sha256:{HEX}") == store.uri(f"out/blobs/sha256/{HEX}")
    blobs.fetch(f"sha256:{HEX}", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == DATA


def test_a_page_lies_where_its_result_s_digest_says(opened: tuple[Store, Blobs]) -> None:
    store, blobs = opened
    digest = blobs.put_bytes(DATA)
    assert not blobs.has_page(digest)
    assert blobs.put_page(digest, b"<p>") == store.uri(f"out/reports/{HEX}.html")
    assert blobs.has_page(digest)
    assert store.read(f"out/reports/{HEX}.html") == b"<p>"


def test_damaged_object_is_never_handed_out(opened: tuple[Store, Blobs], tmp_path: Path) -> None:
    store, blobs = opened
    digest = blobs.put_bytes(DATA)
    store.put_bytes(f"out/blobs/sha256/{HEX}", b"another one")
    (tmp_path / "copy").write_bytes(b"as it was")
    with pytest.raises(DigestMismatch, match=f"instead of {digest}"):
        blobs.fetch(digest, tmp_path / "copy")
    with pytest.raises(DigestMismatch):
        blobs.read(digest)
    assert (tmp_path / "copy").read_bytes() == b"as it was"
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["copy"]


def test_damaged_manifest_is_written_again(opened: tuple[Store, Blobs]) -> None:
    store, blobs = opened
    digest = blobs.put_bytes(DATA)
    store.put_bytes(f"out/blobs/sha256/{HEX}", b"another one"[: len(DATA)])
    assert blobs.put_bytes(DATA) == digest
    assert blobs.read(digest) == DATA


def test_stored_object_is_not_sent_again(
    opened: tuple[Store, Blobs], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        pytest.fail("it was sent again")

    store, blobs = opened
    (tmp_path / "in").write_bytes(DATA)
    blobs.put_file(tmp_path / "in")
    monkeypatch.setattr(store, "put_file", refuse)
    assert blobs.put_file(tmp_path / "in") == f"sha256:{HEX}"


@pytest.mark.parametrize("damaged", [b"cut", b"X" * len(DATA)])
def test_damaged_file_is_found_and_sent_again(
    opened: tuple[Store, Blobs], tmp_path: Path, damaged: bytes
) -> None:
    store, blobs = opened
    (tmp_path / "in").write_bytes(DATA)
    blobs.put_file(tmp_path / "in")
    assert blobs.intact(f"sha256:{HEX}", len(DATA))
    store.put_bytes(f"out/blobs/sha256/{HEX}", damaged)
    assert not blobs.intact(f"sha256:{HEX}", len(DATA))
    blobs.put_file(tmp_path / "in")
    assert store.read(f"out/blobs/sha256/{HEX}") == DATA


def test_index_leads_to_what_it_names(opened: tuple[Store, Blobs]) -> None:
    _, blobs = opened
    assert blobs.index_read("key") is None
    digest = blobs.put_bytes(DATA)
    blobs.index_put("key", digest)
    assert blobs.index_read("key") == (digest, DATA)


def test_index_to_a_damaged_object_counts_as_absent(opened: tuple[Store, Blobs]) -> None:
    store, blobs = opened
    blobs.index_put("key", blobs.put_bytes(DATA))
    store.put_bytes(f"out/blobs/sha256/{HEX}", b"cut")
    assert blobs.index_read("key") is None


@pytest.mark.parametrize("content", [b"", b"sha256:short", b"\xff\xfe", b"x" * 5000])
def test_damaged_index_counts_as_absent(opened: tuple[Store, Blobs], content: bytes) -> None:
    store, blobs = opened
    store.put_bytes("out/index/key", content)
    assert blobs.index_read("key") is None


def test_absent_object_is_not_found(opened: tuple[Store, Blobs]) -> None:
    _, blobs = opened
    with pytest.raises(ObjectNotFound):
        blobs.read(f"sha256:{HEX}")
    assert not blobs.intact(f"sha256:{HEX}", len(DATA))


@pytest.mark.parametrize("digest", ["", HEX, f"md5:{HEX}", f"sha256:{HEX[:-1]}", "sha256:../x"])
def test_malformed_digest_is_refused(opened: tuple[Store, Blobs], digest: str) -> None:
    _, blobs = opened
    with pytest.raises(SpecError):
        blobs.uri(digest)


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 201])
def test_index_name_that_leads_elsewhere_is_refused(opened: tuple[Store, Blobs], name: str) -> None:
    _, blobs = opened
    with pytest.raises(SpecError):
        blobs.index_read(name)
