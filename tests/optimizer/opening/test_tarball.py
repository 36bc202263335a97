"""An ONNX file with its weights in a tar: unpacked, or refused before anything is written."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mopt_optimizer.errors import ModelError, UnsafeModelError
from mopt_optimizer.opening.safety import is_tar, unpack_onnx


def member(name: str, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(info, key, value)
    return info


def archive(path: Path, *members: tarfile.TarInfo) -> Path:
    """Write an archive whose plain files hold their own names."""
    with tarfile.open(path, "w") as target:
        for info in members:
            content = info.name.encode() if info.isreg() else b""
            info.size = len(content)
            target.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("prefix", ["", "./"])
def test_files_side_by_side_are_unpacked(tmp_path: Path, prefix: str) -> None:
    members = [member(f"{prefix}{name}") for name in ("net.onnx", "net.onnx.data", "README")]
    if prefix:
        members.insert(0, member(".", type=tarfile.DIRTYPE))
    path = archive(tmp_path / "model.onnx", *members)
    assert is_tar(path)
    found = unpack_onnx(path, tmp_path / "to")
    assert found == tmp_path / "to" / "net.onnx"
    assert found.read_text() == f"{prefix}net.onnx"
    assert sorted(p.name for p in found.parent.iterdir()) == ["README", "net.onnx", "net.onnx.data"]


@pytest.mark.parametrize(
    "bad",
    [
        member("/etc/passwd"),
        member("../up"),
        member(".."),
        member("folder/data"),
        member("folder", type=tarfile.DIRTYPE),
        member("C:data"),
        member("a\\b"),
        member("line\nbreak"),
        member("link", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        member("hard", type=tarfile.LNKTYPE, linkname="net.onnx"),
        member("pipe", type=tarfile.FIFOTYPE),
        member("disk", type=tarfile.BLKTYPE),
    ],
    ids=lambda info: info.name,
)
def test_anything_else_is_unsafe(tmp_path: Path, bad: tarfile.TarInfo) -> None:
    path = archive(tmp_path / "model.tar", member("net.onnx"), bad)
    with pytest.raises(UnsafeModelError, match="only plain files side by side are taken"):
        unpack_onnx(path, tmp_path / "to")
    assert not list((tmp_path / "to").iterdir())


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["data"], "0 .onnx files instead of one"),
        (["a.onnx", "b.onnx"], "2 .onnx files instead of one"),
        (["a.onnx", "./a.onnx"], "two of one name"),
    ],
)
def test_other_archives_say_what_is_wrong(tmp_path: Path, names: list[str], message: str) -> None:
    path = archive(tmp_path / "model.tar", *(member(name) for name in names))
    with pytest.raises(ModelError, match=message):
        unpack_onnx(path, tmp_path / "to")


@given(st.floats(0, 0.999), st.integers(1, 255))
def test_damage_is_a_typed_error_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, position: float, flip: int
) -> None:
    folder = tmp_path_factory.mktemp("damage")
    path = archive(folder / "model.tar", member("net.onnx"), member("net.onnx.data"))
    data = bytearray(path.read_bytes())
    data[int(position * len(data))] ^= flip
    path.write_bytes(data)
    try:
        unpack_onnx(path, folder / "to")
    except ModelError:
        return
    assert {p.parent for p in folder.rglob("*") if p.is_file()} <= {folder, folder / "to"}


def test_other_files_are_no_archives(tmp_path: Path) -> None:
    for content in (b"", b"x", bytes(10240), b"\x08\x08" + bytes(2000)):
        (tmp_path / "file").write_bytes(content)
        assert not is_tar(tmp_path / "file")
