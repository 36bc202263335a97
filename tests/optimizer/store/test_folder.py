from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from mopt_api.jobs.plan import Credentials
from mopt_optimizer.errors import DataError, DiskError, ObjectNotFound, StoreAccessDenied
from mopt_optimizer.store.registry import open_store
from mopt_optimizer.store.writing import disk_errors


def test_folder_uri_has_its_objects_below_it(tmp_path: Path) -> None:
    store, key = open_store(f"file://{tmp_path}/out", Credentials.OUTPUT, {})
    assert key == ""
    store.put_bytes("a/b", b"data")
    assert (tmp_path / "out" / "a" / "b").read_bytes() == b"data"
    assert store.uri("a/b") == f"file://{tmp_path}/out/a/b"


def test_file_uri_names_one_object(tmp_path: Path) -> None:
    (tmp_path / "with space.bin").write_bytes(b"data")
    store, key = open_store(f"file://{tmp_path}/with%20space.bin", Credentials.MODEL, {})
    assert store.read(key) == b"data"
    assert store.fetch(key, tmp_path / "copy") == hashlib.sha256(b"data").hexdigest()


def test_digest_is_of_all_the_bytes(tmp_path: Path) -> None:
    store, _ = open_store(f"file://{tmp_path}", Credentials.OUTPUT, {})
    store.put_bytes("object", b"data")
    assert store.digest("object") == hashlib.sha256(b"data").hexdigest()
    assert store.digest("other") is None


def test_missing_file_is_named(tmp_path: Path) -> None:
    store, key = open_store(f"file://{tmp_path}/gone.pt2", Credentials.MODEL, {})
    with pytest.raises(ObjectNotFound, match=r"gone\.pt2 does not exist"):
        store.fetch(key, tmp_path / "copy")


@pytest.mark.parametrize("key", ["../secret", "a/../../secret", "/etc/passwd", "link/secret"])
def test_key_that_leads_out_of_the_root_is_refused(key: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path)
    store, _ = open_store(f"file://{tmp_path}/root", Credentials.OUTPUT, {})
    for attempt in (
        lambda: store.read(key),
        lambda: store.fetch(key, tmp_path / "copy"),
        lambda: store.put_bytes(key, b"changed"),
        lambda: store.size(key),
        lambda: store.digest(key),
    ):
        with pytest.raises(StoreAccessDenied, match="leads out of"):
            attempt()
    assert (tmp_path / "secret").read_bytes() == b"secret"
    assert not (tmp_path / "copy").exists()


def test_list_is_sorted_and_keeps_to_the_prefix(tmp_path: Path) -> None:
    store, _ = open_store(f"file://{tmp_path}/root", Credentials.OUTPUT, {})
    assert store.list("a/") == []
    for key in ("a/2", "a/1", "a/b/3", "ab/4"):
        store.put_bytes(key, b"x")
    assert store.list("a/") == ["a/1", "a/2", "a/b/3"]
    assert store.list("a") == ["a/1", "a/2", "a/b/3", "ab/4"]


def test_object_above_the_bound_is_not_read(tmp_path: Path) -> None:
    store, _ = open_store(f"file://{tmp_path}", Credentials.OUTPUT, {})
    store.put_bytes("large", b"12345")
    with pytest.raises(DataError, match="5 bytes"):
        store.read("large", max_bytes=4)


def test_interrupted_write_leaves_the_old_object_and_nothing_else(tmp_path: Path) -> None:
    store, _ = open_store(f"file://{tmp_path}/root", Credentials.OUTPUT, {})
    store.put_bytes("key", b"old")
    with pytest.raises(FileNotFoundError):
        store.put_file("key", tmp_path / "no such file")
    assert store.read("key") == b"old"
    assert store.list("") == ["key"]


def test_full_disk_is_a_disk_error() -> None:
    # /dev/full refuses every write with ENOSPC.
    with (
        pytest.raises(DiskError, match="no space left while writing model"),
        disk_errors("model"),
        Path("/dev/full").open("wb", buffering=0) as file,
    ):
        file.write(b"x")


def test_file_that_says_it_is_empty_is_read_within_the_bound() -> None:
    store, key = open_store("file:///proc/self/maps", Credentials.MODEL, {})
    with pytest.raises(DataError, match="has more than the 10 bytes taken"):
        store.read(key, max_bytes=10)
