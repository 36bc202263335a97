"""Layers are the same, byte for byte, for the same files, whatever their size and order."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mopt_optimizer.publishing.archive import Archive, Given, Sized, Stored, digest_of, split

NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=120
).filter(lambda name: name not in (".", ".."))
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
TREES = st.dictionaries(PATHS, st.binary(max_size=2000), max_size=6).filter(
    lambda tree: not any(a.startswith(f"{b}/") for a in tree for b in tree)
)


def archive(tree: dict[str, bytes], folder: str = "models") -> Archive:
    return Archive({name: Given(data) for name, data in tree.items()}, folder=folder)


def whole(made: Sized) -> bytes:
    return b"".join(made)


class Zeros:
    """A file that no disk here has room for."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        chunk = bytes(1 << 24)
        for _ in range(self._size // len(chunk)):
            yield chunk


@given(TREES)
def test_the_order_of_the_files_changes_nothing_and_the_size_is_known_before(
    tree: dict[str, bytes],
) -> None:
    made = archive(tree)
    assert whole(made) == whole(archive(dict(reversed(tree.items()))))
    assert len(made) == len(whole(made))


@given(TREES)
def test_what_python_s_tar_reads_is_what_was_written(tree: dict[str, bytes]) -> None:
    with tarfile.open(fileobj=io.BytesIO(whole(archive(tree)))) as opened:
        files = {m.name: m for m in opened.getmembers() if m.isfile()}
        read = {name: opened.extractfile(member) for name, member in files.items()}
        assert {name: file.read() for name, file in read.items() if file} == {
            f"models/{name}": data for name, data in tree.items()
        }
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in opened.getmembers()} <= {
            (0, 0, 0, "", "")
        }
        assert {(m.isdir(), m.mode) for m in opened.getmembers()} <= {(True, 0o755), (False, 0o644)}


def test_a_layer_has_the_digest_it_had_in_the_first_release() -> None:
    """Another digest means that every published model is pushed anew."""
    tree = {"model/1/model.onnx": b"weights", "model/config.pbtxt": b'name: "model"\n'}
    assert archive(tree).digest == (
        "sha256:31d4fc697934cc859c8f278abad4f6ad0658a529875e63b41719380ec258d4f6"
    )


def test_folders_come_before_what_lies_in_them() -> None:
    with tarfile.open(fileobj=io.BytesIO(whole(archive({"b/c/d": b"1", "a": b"2"})))) as opened:
        names = opened.getnames()
    assert names == ["models", "models/a", "models/b", "models/b/c", "models/b/c/d"]


def test_a_file_above_eight_gigabytes_is_written_chunk_by_chunk() -> None:
    size = 9 * (1 << 30)
    made = Archive({"model.data": Zeros(size)})
    written, header = 0, b""
    for chunk in made:
        header = header or chunk
        assert len(chunk) <= 1 << 24
        written += len(chunk)
    assert written == len(made) > size
    with tarfile.open(fileobj=io.BytesIO(header), mode="r|") as opened:
        member = opened.next()
    assert member is not None
    assert member.size == size


def test_a_stored_file_is_read_from_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"x" * 3_000_000)
    stored = Stored(path, 3_000_000)
    assert Archive({"m": stored}).digest == digest_of(Archive({"m": Given(b"x" * 3_000_000)}))


def test_a_file_that_changed_its_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"12345")
    with pytest.raises(ValueError, match="m has 5 bytes instead of 6"):
        whole(Archive({"m": Stored(path, 6)}))


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["/etc/passwd"], "not a path below the root"),
        (["a/../../b"], "not a path below the root"),
        ([""], "without a name"),
        (["a", "a/b"], "both a file and a folder"),
    ],
    ids=["an absolute path", "a path that leaves the root", "no name", "a file that is a folder"],
)
def test_paths_that_are_none_are_refused(names: list[str], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        archive(dict.fromkeys(names, b""))


def test_large_files_lie_alone_and_small_ones_together_last() -> None:
    files = {name: Given(b"") for name in ("z.onnx", "config", "a.data", "b")}
    layers = split(files, lambda name: "." in name)
    assert [list(layer) for layer in layers] == [["a.data"], ["z.onnx"], ["config", "b"]]
    assert split({}, bool) == []
