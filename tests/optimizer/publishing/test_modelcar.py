"""A file among the layers of an image: the topmost one, unless it is hidden."""

from __future__ import annotations

import gzip
import io
import shutil
import subprocess
import tarfile
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import zstandard

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


ZSTD = f"{LAYER}+zstd"


def skipped(data: bytes) -> bytes:
    """Return a frame that decoders skip: zstd:chunked puts its table of contents there."""
    return b"\x50\x2a\x4d\x18" + len(data).to_bytes(4, "little") + data


@pytest.mark.parametrize("parts", [1, 2, 7])
def test_zstd_in_one_frame_or_several_with_frames_that_are_skipped(parts: int) -> None:
    size = -(-len(FOUND.data) // parts)
    frames = [zstandard.compress(FOUND.data[n * size : (n + 1) * size]) for n in range(parts)]
    packed = skipped(b"before") + skipped(b"between").join(frames) + skipped(b"a table")
    for kind in (ZSTD, "application/vnd.docker.image.rootfs.diff.tar.zstd"):
        assert content([Tar(packed, kind)]) == b"weights" * 1000


def test_zstd_without_the_size_and_from_another_program(tmp_path: Path) -> None:
    """As builders write it, as a stream; where this machine has the zstd program, by that."""
    stream = zstandard.ZstdCompressor().compressobj()
    assert content([Tar(stream.compress(FOUND.data) + stream.flush(), ZSTD)])
    if program := shutil.which("zstd"):
        (tmp_path / "tar").write_bytes(FOUND.data)
        command = [program, "-19", "--long=27", "-c", str(tmp_path / "tar")]
        packed = subprocess.run(command, check=True, capture_output=True).stdout
        assert content([Tar(packed, ZSTD)]) == b"weights" * 1000


def test_zstd_that_would_hold_too_much_in_memory_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=28)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    packed = stream.compress(FOUND.data) + stream.flush()
    with pytest.raises(StoreUnreachable, match="requires too much memory"):
        content([Tar(packed, ZSTD)])


def test_a_zstd_bomb_is_unpacked_no_further_than_what_is_allowed() -> None:
    """A gigabyte in some 100 kB, as one header without end: a small part of it is read."""
    endless = tarfile.TarInfo("models/a/m")
    endless.type, endless.size = tarfile.XHDTYPE, 10**9
    stream = zstandard.ZstdCompressor().compressobj()
    block = bytes(10**6)
    packed = stream.compress(endless.tobuf())
    packed += b"".join(stream.compress(block) for _ in range(1000)) + stream.flush()
    assert len(packed) < 200_000
    layer = Tar(packed, ZSTD)
    tracemalloc.start()
    try:
        with pytest.raises(StoreUnreachable, match="headers without end"):
            content([layer])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 50_000_000


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
        (
            Tar(b"", f"{LAYER}+lz4"),
            SpecError,
            r"tar\+lz4: push it uncompressed, with gzip",
        ),
        (Tar(b"<html>" * 1000), StoreUnreachable, "damaged layer sha256:1"),
        (Tar(b"<html>", f"{LAYER}+gzip"), StoreUnreachable, "damaged layer"),
        (Tar(FOUND.data[:4000]), StoreUnreachable, "damaged layer"),
        (Tar(gzip.compress(FOUND.data)[:-20], f"{LAYER}+gzip"), StoreUnreachable, "damaged layer"),
        (Tar(b"<html>" * 9, ZSTD), StoreUnreachable, "damaged layer"),
        (Tar(zstandard.compress(FOUND.data)[:99], ZSTD), StoreUnreachable, "damaged layer"),
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
    for packed in (
        Tar(gzip.compress(bomb.data), f"{LAYER}+gzip"),
        Tar(zstandard.compress(bomb.data), ZSTD),
    ):
        with pytest.raises(StoreUnreachable, match="too much to unpack"):
            content([packed])
    monkeypatch.setattr(modelcar, "MOST_ENTRIES", 3)
    with pytest.raises(StoreUnreachable, match="more than 3 entries"):
        content([tar("a", "b", "c", ("models/a/m", b"weights"))])
