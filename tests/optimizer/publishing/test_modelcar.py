"""A file among the layers of an image: the topmost one, unless it is hidden."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from mopt_optimizer.errors import ObjectNotFound, OptimizerError, SpecError, StoreUnreachable
from mopt_optimizer.publishing import modelcar
from mopt_optimizer.publishing.manifests import LAYER
from mopt_optimizer.publishing.modelcar import opened_file


@dataclass
class Tar:
    """A layer, and its bytes."""

    data: bytes
    media_type: str = LAYER
    digest: str = "sha256:1"
    read: list[int] = field(default_factory=list)

    def chunks(self) -> Iterator[bytes]:
        for start in range(0, len(self.data), 1000):
            self.read.append(start)
            yield self.data[start : start + 1000]


def tar(*entries: str | tuple[str, bytes] | tarfile.TarInfo, pad: bytes = b"") -> Tar:
    """Return a layer of folders (a/), empty files, files, and entries as they are."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                archive.addfile(entry)
                continue
            name, data = (entry, b"") if isinstance(entry, str) else entry
            info = tarfile.TarInfo(name.rstrip("/"))
            info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return Tar(out.getvalue() + pad)


def link(name: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "elsewhere"
    return info


def content(layers: Sequence[Tar], file: str = "a/m") -> bytes:
    with opened_file("oci://x", layers, file, Tar.chunks) as (size, chunks):  # type: ignore[arg-type]
        data = b"".join(chunks)
    assert len(data) == size
    return data


FOUND = tar("models/", "models/a/", ("models/a/m", b"weights" * 1000))


@pytest.mark.parametrize(
    "layers",
    [
        [FOUND],
        [tar(("./models/a/m", b"weights" * 1000))],
        [tar(("/models/a/m", b"weights" * 1000))],
        [tar(("models/a/m", b"old")), FOUND],
        [FOUND, tar("etc/", ("etc/models/a/m", b"other"))],
        [FOUND, tar("models/.wh.b", "models/a/.wh.x", "etc/.wh..wh..opq")],
        # What a layer hides is of those below it.
        [tar("models/a/.wh.m", "models/.wh..wh..opq", ("models/a/m", b"weights" * 1000))],
        [tar(("models/" + "long/" * 60 + "x", b"1"), ("models/a/m", b"weights" * 1000))],
    ],
)
def test_the_topmost_file_counts(layers: Sequence[Tar]) -> None:
    assert content(layers) == b"weights" * 1000


@pytest.mark.parametrize("parts", [1, 2])
def test_gzip_in_one_part_or_several(parts: int) -> None:
    half = len(FOUND.data) // parts
    packed = b"".join(gzip.compress(FOUND.data[n * half : (n + 1) * half]) for n in range(parts))
    for kind in (f"{LAYER}+gzip", "application/vnd.docker.image.rootfs.diff.tar.gzip"):
        assert content([Tar(packed, kind)]) == b"weights" * 1000


@pytest.mark.parametrize(
    "above",
    [
        tar("models/a/.wh.m"),
        tar("models/.wh.a"),
        tar(".wh.models"),
        tar("models/a/.wh..wh..opq"),
        tar(".wh..wh..opq"),
        tar(("models/a", b"a file in its folder's place")),
    ],
)
def test_what_is_hidden_is_not_there(above: Tar) -> None:
    with pytest.raises(ObjectNotFound, match="oci://x: the image has no file /models/a/m"):
        content([FOUND, above])


ENDLESS = tarfile.TarInfo("models/a/m")
ENDLESS.pax_headers = {"comment": "x" * 2_000_000}


@pytest.mark.parametrize(
    ("layer", "error", "words"),
    [
        (tar(link("models/a/m")), SpecError, "/models/a/m is no plain file"),
        (tar(link("models/a/m", tarfile.LNKTYPE)), SpecError, "is no plain file"),
        (tar(link("models/a/m", tarfile.CHRTYPE)), SpecError, "is no plain file"),
        (tar("models/a/m/"), SpecError, "is no plain file"),
        (tar(link("models")), SpecError, "/models is no plain file"),
        (Tar(b"", f"{LAYER}+zstd"), SpecError, r"tar\+zstd: push it uncompressed or with gzip"),
        (Tar(b"<html>" * 1000), StoreUnreachable, "damaged layer sha256:1"),
        (Tar(b"<html>", f"{LAYER}+gzip"), StoreUnreachable, "damaged layer"),
        (Tar(FOUND.data[:4000]), StoreUnreachable, "damaged layer"),
        (Tar(gzip.compress(FOUND.data)[:-20], f"{LAYER}+gzip"), StoreUnreachable, "damaged layer"),
        (tar(ENDLESS), StoreUnreachable, "headers without end"),
        (tar("models/a/x"), ObjectNotFound, "has no file"),
        (tar(("models/../models/a/m", b"x")), ObjectNotFound, "has no file"),
    ],
)
def test_what_is_no_file_is_told(layer: Tar, error: type[OptimizerError], words: str) -> None:
    with pytest.raises(error, match=words):
        content([layer])


def test_nothing_is_read_beyond_the_file() -> None:
    layer = tar(("models/a/m", b"weights"), ("models/large", b"x" * 1_000_000))
    assert content([layer]) == b"weights"
    assert layer.read[-1] < 100_000


def test_what_unpacks_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modelcar, "MOST_BYTES", 1_000_000)
    bomb = tar(("x", bytes(2_000_000)), ("models/a/m", b"weights"))
    with pytest.raises(StoreUnreachable, match="too much to unpack"):
        content([Tar(gzip.compress(bomb.data), f"{LAYER}+gzip")])
    monkeypatch.setattr(modelcar, "MOST_ENTRIES", 3)
    with pytest.raises(StoreUnreachable, match="more than 3 entries"):
        content([tar("a", "b", "c", ("models/a/m", b"weights"))])
