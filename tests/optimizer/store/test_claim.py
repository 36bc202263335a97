"""Claims that are mounted: folders here."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mopt_api.jobs.plan import Credentials
from mopt_optimizer.errors import (
    DataError,
    DiskError,
    ObjectNotFound,
    SpecError,
    StoreAccessDenied,
    StoreUnreachable,
)
from mopt_optimizer.store import claim, folder
from mopt_optimizer.store.base import Store
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.registry import open_store

CONTENT = bytes(range(256)) * 9000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    """Return the folder of the claim `models`."""
    (tmp_path / "claims" / "models").mkdir(parents=True)
    return tmp_path / "claims" / "models"


def opened(mounted: Path, uri: str) -> tuple[Store, str]:
    return open_store(uri, Credentials.MODEL, {"MOPT_CLAIMS": str(mounted.parent)})


def test_a_file_is_fetched_with_its_digest(mounted: Path, tmp_path: Path) -> None:
    (mounted / "v1").mkdir()
    (mounted / "v1" / "a%20b.onnx").write_bytes(CONTENT)
    store, key = opened(mounted, "pvc://models/v1/a%20b.onnx")
    assert store.size(key) == len(CONTENT)
    assert store.fetch(key, tmp_path / "out") == store.digest(key) == DIGEST
    assert (tmp_path / "out").read_bytes() == store.read(key) == CONTENT
    assert store.uri(key) == "pvc://models/v1/a%20b.onnx"
    with pytest.raises(DataError, match=f"has {len(CONTENT)} bytes, more than the 10 taken"):
        store.read(key, max_bytes=10)


def test_a_folder_is_listed_without_what_is_the_file_system_s(mounted: Path) -> None:
    for name in ("e/2.png", "e/1.png", "e/b/3.png", "else/4.png", "lost+found/5.png"):
        (mounted / name).parent.mkdir(exist_ok=True)
        (mounted / name).write_bytes(b"x")
    store, key = opened(mounted, "pvc://models/e/")
    assert (key, store.list("e/")) == ("e", ["e/1.png", "e/2.png", "e/b/3.png"])
    assert store.list("none/") == []
    store, key = opened(mounted, "pvc://models")
    assert (key, len(store.list(key))) == ("", 4)


def test_symlinks_within_the_claim_are_followed(mounted: Path) -> None:
    # As the hub's cache and the kubelet's own volumes have them.
    (mounted / "..2026").mkdir()
    (mounted / "..2026" / "net.onnx").write_bytes(CONTENT)
    (mounted / "..data").symlink_to("..2026")
    (mounted / "net.onnx").symlink_to("..data/net.onnx")
    store, key = opened(mounted, "pvc://models/net.onnx")
    assert store.digest(key) == DIGEST
    assert store.list("net") == ["net.onnx"]


@pytest.mark.parametrize("path", ["../secret", "link", "inner/secret", "a/../../secret"])
def test_nothing_leads_out_of_the_claim(mounted: Path, tmp_path: Path, path: str) -> None:
    (tmp_path / "claims" / "secret").write_bytes(b"secret")
    (mounted / "link").symlink_to("../secret")
    (mounted / "inner").symlink_to(tmp_path / "claims")
    store, key = opened(mounted, f"pvc://models/{path}")
    for attempt in (
        lambda: store.read(key),
        lambda: store.fetch(key, tmp_path / "copy"),
        lambda: store.size(key),
        lambda: store.digest(key),
    ):
        with pytest.raises(StoreAccessDenied, match="leads out of"):
            attempt()
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("swapped", ["folder", "file"])
def test_a_symlink_that_comes_between_leads_nowhere(
    mounted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swapped: str
) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (mounted / "a").mkdir()
    (mounted / "a" / "secret").write_bytes(b"public")
    opens = folder.open_beneath

    def late(root: Path, path: Path) -> object:
        """Open after another Pod has changed what the path leads to."""
        if swapped == "folder":
            (mounted / "a").rename(mounted / "b")
            (mounted / "a").symlink_to(tmp_path)
        else:
            path.unlink()
            path.symlink_to(tmp_path / "secret")
        return opens(root, path)

    monkeypatch.setattr(folder, "open_beneath", late)
    store, key = opened(mounted, "pvc://models/a/secret")
    with pytest.raises((StoreUnreachable, ObjectNotFound), match="pvc://models/a/secret"):
        store.read(key)


def _missing(mounted: Path) -> str:
    return "gone.onnx"


def _folder(mounted: Path) -> str:
    (mounted / "a").mkdir()
    return "a"


def _pipe(mounted: Path) -> str:
    os.mkfifo(mounted / "pipe")
    return "pipe"


def _below_a_file(mounted: Path) -> str:
    (mounted / "a").write_bytes(b"x")
    return "a/b"


@pytest.mark.parametrize("make", [_missing, _folder, _pipe, _below_a_file])
def test_what_is_no_file_does_not_exist(
    mounted: Path, tmp_path: Path, make: Callable[[Path], str]
) -> None:
    store, key = opened(mounted, f"pvc://models/{make(mounted)}")
    with pytest.raises(ObjectNotFound, match="does not exist"):
        store.fetch(key, tmp_path / "copy")
    assert store.size(key) is None
    assert store.digest(key) is None


def test_a_pipe_that_comes_between_is_not_waited_for(mounted: Path) -> None:
    os.mkfifo(mounted / "pipe")
    with pytest.raises(FileNotFoundError, match="is no file"):
        folder.open_beneath(mounted, mounted / "pipe")


def test_symlinks_in_a_circle_are_told(mounted: Path) -> None:
    (mounted / "a").symlink_to("b")
    (mounted / "b").symlink_to("a")
    store, key = opened(mounted, "pvc://models/a")
    with pytest.raises((StoreAccessDenied, ObjectNotFound), match="pvc://models/a"):
        store.read(key)


@pytest.mark.parametrize(
    ("failure", "error", "words"),
    [
        (PermissionError(13, "no"), StoreAccessDenied, r"pvc://models/a may not be read by user"),
        (OSError(116, "Stale file handle"), StoreUnreachable, "cannot be read: Stale file handle"),
    ],
)
def test_what_the_file_system_says_is_told(
    mounted: Path,
    monkeypatch: pytest.MonkeyPatch,
    failure: OSError,
    error: type[Exception],
    words: str,
) -> None:
    def fail(root: Path, path: Path) -> object:
        raise failure

    (mounted / "a").write_bytes(b"x")
    monkeypatch.setattr(folder, "open_beneath", fail)
    store, key = opened(mounted, "pvc://models/a")
    with pytest.raises(error, match=words):
        store.read(key)


def test_a_folder_has_a_bound(mounted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        (mounted / str(number)).write_bytes(b"x")
    monkeypatch.setattr(claim, "MAX_KEYS", 2)
    store, key = opened(mounted, "pvc://models")
    with pytest.raises(DataError, match="more than 2 files"):
        store.list(key)


def test_output_is_written_whole_and_through(
    mounted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[Path] = []
    flush = os.fsync

    def noting(opened: int) -> None:
        flushed.append(Path(os.readlink(f"/proc/self/fd/{opened}")))
        flush(opened)

    monkeypatch.setattr(os, "fsync", noting)
    (tmp_path / "net").write_bytes(CONTENT)
    store, prefix = opened(mounted, "pvc://models/out")
    blobs = Blobs(store, prefix)
    digest = blobs.put_file(tmp_path / "net")
    assert digest == f"sha256:{DIGEST}"
    assert blobs.uri(digest) == f"pvc://models/out/blobs/sha256/{DIGEST}"
    folder = mounted / "out" / "blobs" / "sha256"
    assert (folder / DIGEST).read_bytes() == blobs.read(digest) == CONTENT
    assert [path.name for path in folder.iterdir()] == [DIGEST]
    # The file under another name, then the folder that names it.
    assert [path.parent for path in flushed] == [folder, folder.parent]
    assert DIGEST in flushed[0].name
    assert flushed[0].name != DIGEST
    blobs.index_put("key", digest)
    assert blobs.index_read("key") == (digest, CONTENT)


@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.EROFS, StoreAccessDenied), (errno.EIO, StoreUnreachable), (errno.ENOSPC, DiskError)],
)
def test_what_cannot_be_written_is_told_and_leaves_nothing(
    mounted: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception]
) -> None:
    def fail(source: object, target: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", fail)
    store, _ = opened(mounted, "pvc://models")
    with pytest.raises(error, match="pvc://models/a"):
        store.put_bytes("a", CONTENT)
    assert list(mounted.iterdir()) == []


def test_a_file_system_that_flushes_no_folder_will_do(
    mounted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(opened: int) -> None:
        raise OSError(errno.EINVAL, "no")

    monkeypatch.setattr(os, "fsync", fail)
    store, _ = opened(mounted, "pvc://models")
    store.put_bytes("a", CONTENT)
    assert store.read("a") == CONTENT


def test_claims_are_mounted_in_jobs_alone(mounted: Path) -> None:
    with pytest.raises(SpecError, match="which have the claim models mounted"):
        open_store("pvc://models/a", Credentials.MODEL, {})
    with pytest.raises(StoreUnreachable, match="the claim others is not mounted at"):
        opened(mounted, "pvc://others/a")


@pytest.mark.parametrize("uri", ["pvc://", "pvc:///a", "pvc://../a", "pvc://./a"])
def test_no_claim(mounted: Path, uri: str) -> None:
    with pytest.raises(SpecError, match="is neither"):
        opened(mounted, uri)
