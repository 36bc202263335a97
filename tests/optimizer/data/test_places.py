"""Data in one file: an archive on a real web server, verified, listed and unpacked."""

from __future__ import annotations

import gzip
import hashlib
import io
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from web_server import WebRequest, WebServer, server_pki, web_server

from devcluster.certificates import Pki
from mopt_api.inputs import ImageTransform, InputSpec
from mopt_api.jobs.plan import Credentials, PlannedData, PlannedReferences
from mopt_api.sandbox import SCRATCH_VARIABLE
from mopt_optimizer.data import archives, fetching
from mopt_optimizer.data.decoder import Decoder
from mopt_optimizer.data.decoding import LocalDecoder
from mopt_optimizer.data.folder import load_data
from mopt_optimizer.data.process import DecodingProcess
from mopt_optimizer.data.references import load_references
from mopt_optimizer.data.samples import Samples
from mopt_optimizer.errors import DataError, DigestMismatch, DiskError, ObjectNotFound

INPUT = [InputSpec(name="x", shape=[1, 3])]
Files = Mapping[str, bytes]
Serve = Callable[[bytes], WebServer]


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return server_pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def serve(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Return what serves bytes, whatever the path."""
    monkeypatch.setenv("SSL_CERT_FILE", str(pki.certificate("ca")))
    with ExitStack() as stack:

        def serve(content: bytes) -> WebServer:
            def script(request: WebRequest) -> None:
                request.answer(200, content)

            return stack.enter_context(web_server(pki, script))

        yield serve


def array(value: float) -> bytes:
    out = io.BytesIO()
    np.save(out, np.full((1, 3), value, np.float32))
    return out.getvalue()


def zipped(files: Files) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def tarred(files: Files, *others: tarfile.TarInfo) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for entry in others:
            archive.addfile(entry)
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


PACKED: dict[str, Callable[[Files], bytes]] = {
    ".zip": zipped,
    ".tar": tarred,
    ".tar.gz": lambda files: gzip.compress(tarred(files)),
    ".tgz": lambda files: gzip.compress(tarred(files)),
}


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def load(
    uri: str,
    sha256: str | None,
    workdir: Path,
    *,
    samples: int = 64,
    decoder: Decoder | None = None,
    environ: Mapping[str, str] | None = None,
) -> Samples:
    planned = PlannedData(uri=uri, sha256=sha256, samples=samples, images=ImageTransform())
    role, decoder = Credentials.EVALUATION, decoder or LocalDecoder()
    return load_data(planned, role, INPUT, {}, workdir, environ or {}, decoder)


def local(content: bytes, folder: Path, suffix: str = ".zip") -> tuple[str, str]:
    """Write a file; return its uri and digest."""
    path = folder / f"data{suffix}"
    path.write_bytes(content)
    return path.as_uri(), digest(content)


def values(samples: Samples) -> list[float]:
    return [float(sample["x"][0, 0]) for sample in samples.inputs]


@pytest.mark.parametrize("suffix", PACKED)
def test_an_archive_on_the_web_is_the_folder_that_it_holds(
    serve: Serve, tmp_path: Path, suffix: str
) -> None:
    files = {"b.npy": array(2), "a/1.npy": array(1), "README.txt": b"passed over"}
    content = PACKED[suffix](files)
    server = serve(content)
    uri = f"{server.address}/v1/data{suffix}"
    for decoder in (LocalDecoder(), DecodingProcess(tmp_path)):
        work = tmp_path / "data"
        found = load(uri, digest(content), work, decoder=decoder)
        assert found.names == ["a/1.npy", "b.npy"]
        assert values(found) == [1, 2]
        left = [path.name for path in work.iterdir()]
        assert sorted(left) == [f"{digest(content)}{suffix}", "files-evaluation"]
        if isinstance(decoder, DecodingProcess):
            decoder.close()
    assert [*map(values, [load(uri, digest(content), work, samples=1)])] == [[1]]
    folder = tmp_path / "folder"
    (folder / "a").mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    assert load(folder.as_uri(), None, tmp_path / "other").digest == found.digest
    # Its size, then its bytes, once for all that read it here.
    assert len(server.asked) == 2


def test_another_file_is_refused_before_it_is_opened(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = zipped({"a.npy": array(1)})
    uri = f"{serve(content).address}/data.zip"

    def opened(path: Path) -> None:
        raise AssertionError

    monkeypatch.setattr(archives, "members", opened)
    with pytest.raises(DigestMismatch, match=rf"data\.zip has sha256 {digest(content)}, spec says"):
        load(uri, "0" * 64, tmp_path / "data")
    assert [*(tmp_path / "data").iterdir()] == []


def test_a_folder_of_an_archive_is_named(tmp_path: Path) -> None:
    files = {"set/val/1.npy": array(1), "set/train/1.npy": array(2), "set/validate/1.npy": array(3)}
    uri, sha = local(zipped(files), tmp_path)
    found = load(f"{uri}#set/val/", sha, tmp_path / "data")
    assert (found.names, values(found)) == (["1.npy"], [1])
    with pytest.raises(DataError, match=r"no samples under .*data\.zip#test: 3 objects"):
        load(f"{uri}#test", sha, tmp_path / "data")


def test_samples_and_truth_of_one_archive_are_fetched_once(serve: Serve, tmp_path: Path) -> None:
    files = {f"{at}/{n}.npy": array(n) for at in ("low", "high") for n in (1, 2)}
    content = tarred(files)
    server = serve(content)
    uri, work = f"{server.address}/data.tar", tmp_path / "data"
    planned = PlannedData(
        uri=f"{uri}#low", sha256=digest(content), samples=1, images=ImageTransform()
    )
    decoder, role = LocalDecoder(), Credentials.EVALUATION
    samples = load_data(planned, role, INPUT, {}, work, {}, decoder)
    truth = PlannedReferences(uri=f"{uri}#high", sha256=digest(content), images=ImageTransform())
    found = load_references(truth, role, planned, samples.names, work, {}, decoder)
    assert found.names == [f"{uri}#high/1.npy"]
    assert float(found.read(0).outputs[0][0, 0]) == 1
    assert len(server.asked) == 2


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_a_single_file_is_one_sample(serve: Serve, tmp_path: Path, suffix: str) -> None:
    out = io.BytesIO()
    np.savez(out, x=np.full((1, 3), 7, np.float32))
    content = array(7) if suffix == ".npy" else out.getvalue()
    server = serve(content)
    found = load(f"{server.address}/x{suffix}", digest(content), tmp_path / "data")
    assert (found.names, values(found)) == ([f"x{suffix}"], [7])


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ObjectNotFound):
        load((tmp_path / "data.zip").as_uri(), "0" * 64, tmp_path / "data")


def _link(kind: bytes) -> tarfile.TarInfo:
    entry = tarfile.TarInfo("a.npy")
    entry.type, entry.linkname = kind, "/etc/passwd"
    return entry


def _zip_link() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        entry = zipfile.ZipInfo("a.npy")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, "/etc/passwd")
    return out.getvalue()


HOSTILE: dict[str, tuple[str, bytes, str]] = {
    "leads out": (".tar", tarred({"../../a.npy": array(1)}), "no place in a folder"),
    "absolute": (".tar", tarred({"/etc/a.npy": array(1)}), "no place in a folder"),
    "leads out of a zip": (".zip", zipped({"x/../../a.npy": array(1)}), "no place in a folder"),
    "no text": (".zip", zipped({"a\x07.npy": array(1)}), "no place in a folder"),
    "symlink": (".tar", tarred({}, _link(tarfile.SYMTYPE)), "no plain file"),
    "hard link": (".tar", tarred({}, _link(tarfile.LNKTYPE)), "no plain file"),
    "device": (".tar", tarred({}, _link(tarfile.CHRTYPE)), "no plain file"),
    "pipe": (".tar", tarred({}, _link(tarfile.FIFOTYPE)), "no plain file"),
    "symlink in a zip": (".zip", _zip_link(), "no plain file"),
    "twice": (".tar", tarred({"a.npy": array(1), "./a.npy": array(2)}), "two files"),
    "no archive": (".zip", array(1), "damaged zip"),
    "no tar": (".tar.gz", b"\x1f\x8b" + b"x" * 999, "damaged tar"),
    "cut short": (".tgz", gzip.compress(tarred({"a.npy": array(1)}))[:-60], "damaged tar"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_is_no_folder_of_files_is_refused(tmp_path: Path, case: str) -> None:
    suffix, content, words = HOSTILE[case]
    uri, sha = local(content, tmp_path, suffix)
    work = tmp_path / "data"
    with pytest.raises(DataError, match=words):
        load(uri, sha, work)
    assert [path.name for path in work.iterdir()] == [f"{sha}{suffix}"]


def test_a_process_that_reads_a_hostile_archive_says_the_same(tmp_path: Path) -> None:
    suffix, content, words = HOSTILE["symlink"]
    uri, sha = local(content, tmp_path, suffix)
    with DecodingProcess(tmp_path) as decoder, pytest.raises(DataError, match=words):
        load(uri, sha, decoder.data, decoder=decoder)


def test_what_systems_put_beside_files_is_passed_over(tmp_path: Path) -> None:
    files = {"a.npy": array(1), "__MACOSX/a.npy": b"", "._a.npy": b"", "link.txt": b""}
    uri, sha = local(zipped(files), tmp_path)
    assert load(uri, sha, tmp_path / "data").names == ["a.npy"]


def test_what_unpacks_to_too_much_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = tarfile.TarInfo("x.bin")
    bomb.size = archives.MOST_BYTES + 1
    header = gzip.compress(bomb.tobuf() + b"\0" * 4096)
    uri, sha = local(header, tmp_path, ".tgz")
    with pytest.raises(DataError, match=f"more than {archives.MOST_BYTES} bytes unpacked"):
        load(uri, sha, tmp_path / "data")
    monkeypatch.setattr(archives, "MAX_KEYS", 2)
    uri, sha = local(zipped({f"{n}.npy": b"" for n in range(3)}), tmp_path)
    with pytest.raises(DataError, match="more than 2 files and folders"):
        load(uri, sha, tmp_path / "data")


def test_a_large_member_is_refused_unless_nobody_wants_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "MAX_FILE_BYTES", 1000)
    uri, sha = local(zipped({"a.npy": array(1), "b.npy": b"\0" * 1001}), tmp_path)
    assert values(load(uri, sha, tmp_path / "data", samples=1)) == [1]
    with pytest.raises(DataError, match=r"data\.zip#b\.npy has 1001 bytes, more than the 1000"):
        load(uri, sha, tmp_path / "data")


def test_a_damaged_member_leaves_nothing(tmp_path: Path) -> None:
    content = bytearray(zipped({"a.npy": array(1)}))
    content[45] ^= 0xFF
    uri, sha = local(bytes(content), tmp_path)
    work = tmp_path / "data"
    with pytest.raises(DataError, match="damaged zip"):
        load(uri, sha, work)
    assert [*(work / "files-evaluation").iterdir()] == []


@pytest.mark.parametrize("scratch", [100, 1000])
def test_a_scratch_volume_that_is_too_small_is_told_first(tmp_path: Path, scratch: int) -> None:
    content = PACKED[".tgz"]({f"{n}.npy": array(n) for n in range(9)})
    uri, sha = local(content, tmp_path, ".tgz")
    what = "fetching" if scratch < len(content) else "unpacking"
    with pytest.raises(DiskError, match=rf"{what} .*data\.tgz needs .*scratchSize"):
        load(uri, sha, tmp_path / "data", environ={SCRATCH_VARIABLE: str(scratch)})
