"""`mopt fetch` and `mopt export` of a resource on a real API server, whose files lie in a real
MinIO."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cli_process import clean_environ
from light_cluster import Api
from minio_server import MinioServer, minio_running
from operator_world import MakeManifest
from published_forms import MEASURED_AT, WIDTH, stored_form, write_model
from triton_config import parsed

from mopt_api.jobs.plan import Credentials
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.registry import open_store

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinioServer]:
    with minio_running(tmp_path_factory.mktemp("minio")) as server:
        yield server


@dataclass(frozen=True)
class Stored:
    """A resource that serves a form whose files lie in a bucket.

    Attributes:
        model: The same form on this machine; its weights lie beside it.
        environ: Keys of the store, and the cluster.
        result: Where its result.json lies.
    """

    name: str
    namespace: str
    model: Path
    blobs: Blobs
    environ: dict[str, str]
    result: str

    @property
    def digest(self) -> str:
        return f"sha256:{hashlib.sha256(self.model.read_bytes()).hexdigest()}"

    def mopt(self, command: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run the command line on the resource."""
        return self.run(command, self.name, "-n", self.namespace, *arguments)

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run the command line in the folder above the model's."""
        return subprocess.run(
            [sys.executable, "-m", "mopt_cli.main", *map(str, arguments)],
            cwd=self.model.parents[1],
            env=clean_environ() | self.environ,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


@pytest.fixture
def stored(
    cluster: Path,
    api: Api,
    namespace: str,
    resource_manifest: MakeManifest,
    minio: MinioServer,
    tmp_path: Path,
) -> Stored:
    keys = minio.keys()
    output = f"s3://{minio.bucket()}/optimized/net"
    blobs = Blobs(*open_store(output, Credentials.OUTPUT, keys))
    model = write_model(tmp_path / "model" / "model.onnx", beside=True)
    form = stored_form(blobs, model)
    manifest = resource_manifest("net", output={"uri": output})
    manifest["metadata"]["namespace"] = namespace
    api.create(manifest)
    weights = model.with_name("model.onnx.data")
    beside = f"sha256:{hashlib.sha256(weights.read_bytes()).hexdigest()}"
    artifact = {
        "digest": form.artifact,
        "sizeBytes": model.stat().st_size + weights.stat().st_size,
        "format": "ONNX",
        "uri": form.uri,
        "externalData": [
            {"path": weights.name, "digest": beside, "sizeBytes": weights.stat().st_size}
        ],
        "variant": form.variant,
        "runtime": "ONNXRuntime",
        "precision": "FP32",
        "report": form.result,
        "generation": 1,
        "time": MEASURED_AT,
    }
    target = {
        "name": form.target,
        "hardware": {"threads": 2},
        "report": {"digest": form.result, "uri": blobs.uri(form.result)},
        "artifact": artifact,
    }
    path = f"{api.path(manifest)}/status"
    api.call("PATCH", path, {"status": {"targets": [target]}}, kind="merge-patch+json")
    return Stored(
        "net", namespace, model, blobs, keys | {"KUBECONFIG": str(cluster)}, blobs.uri(form.result)
    )


def test_fetch_brings_the_file_with_its_weights(stored: Stored, tmp_path: Path) -> None:
    done = stored.mopt("fetch", "-o", "there/")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "there/model.onnx\n"
    assert f"verified: {stored.digest}" in done.stderr
    for name in ("model.onnx", "model.onnx.data"):
        assert (tmp_path / "there" / name).read_bytes() == (
            stored.model.with_name(name).read_bytes()
        )


def test_export_writes_what_triton_loads(stored: Stored, tmp_path: Path) -> None:
    done = stored.mopt("export", "--as", "triton", "-o", "repository")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "repository" / "net"
    assert (folder / "1" / "model.onnx").read_bytes() == stored.model.read_bytes()
    weights = stored.model.with_name("model.onnx.data")
    assert (folder / "1" / "model.onnx.data").read_bytes() == weights.read_bytes()
    config = parsed((folder / "config.pbtxt").read_bytes())
    assert [(i.name, [*i.dims]) for i in config.input] == [("x", [WIDTH])]
    assert config.parameters["intra_op_thread_count"].string_value == "2"


def test_export_writes_the_files_alone(stored: Stored, tmp_path: Path) -> None:
    done = stored.mopt("export", "--as", "files", "-o", "files")
    assert done.returncode == 0, done.stderr
    for name in ("model.onnx", "model.onnx.data"):
        assert (tmp_path / "files" / name).read_bytes() == (
            stored.model.with_name(name).read_bytes()
        )


def test_a_result_in_the_store_is_a_source_without_a_cluster(
    stored: Stored, tmp_path: Path
) -> None:
    del stored.environ["KUBECONFIG"]
    done = stored.run("export", stored.result, "--as", "files", "-o", "files")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "files" / "model.onnx").read_bytes() == stored.model.read_bytes()


@pytest.mark.parametrize(
    ("end", "why"),
    [
        ("0" * 64, "ObjectNotFound"),
        ("../result.json", "is no result.json in a store: s3://BUCKET/PREFIX/blobs/sha256/HEX"),
    ],
)
def test_what_is_no_result_in_the_store_is_one_line(stored: Stored, end: str, why: str) -> None:
    where = f"{stored.result.rpartition('/')[0]}/{end}"
    for command in (
        ("export", where, "--as", "files", "-o", "files"),
        ("serve", where),
        ("verify-endpoint", "--url=http://127.0.0.1:1", "--result", where),
    ):
        done = stored.run(*command)
        assert done.returncode in (1, 2)
        assert why in " ".join(done.stderr.split())
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments", [("fetch", "-o", "there/"), ("export", "--as", "triton", "-o", "there")]
)
def test_what_the_store_holds_instead_is_refused(
    stored: Stored, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    size = stored.model.stat().st_size
    stored.blobs._store.put_bytes(stored.blobs._key(stored.digest), b"x" * size)
    done = stored.mopt(*arguments)
    assert done.returncode == 1
    assert "DigestMismatch" in done.stderr
    assert "Traceback" not in done.stderr
    there = tmp_path / "there"
    assert not there.exists() or not list(there.iterdir())
