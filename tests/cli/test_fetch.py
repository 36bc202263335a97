"""`mopt fetch`: from a folder and from a real MinIO."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import selected
from cli_process import Mopt
from minio_server import MinioServer

from mopt_api.artifacts import Artifact
from mopt_api.jobs.plan import Credentials
from mopt_cli._errors import CliError
from mopt_cli.downloading import files_of
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.registry import open_store

MODEL, WEIGHTS = b"an ONNX file" * 1000, bytes(range(256)) * 5000


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def stored(output: str, environ: dict[str, str], **fields: Any) -> dict[str, Any]:
    """Store the model with its weights; return a resource that serves it."""
    store, prefix = open_store(output, Credentials.OUTPUT, environ)
    blobs = Blobs(store, prefix)
    beside = {
        "path": "model.onnx.data",
        "digest": blobs.put_bytes(WEIGHTS),
        "sizeBytes": len(WEIGHTS),
    }
    digest = blobs.put_bytes(MODEL)
    found = selected.artifact(
        1,
        digest=digest,
        uri=blobs.uri(digest),
        sizeBytes=len(MODEL) + len(WEIGHTS),
        externalData=[beside],
    )
    return selected.resource(selected.target(artifact=found | fields))


@pytest.fixture
def raw(tmp_path: Path) -> dict[str, Any]:
    return stored((tmp_path / "out").as_uri(), {})


def blob(folder: Path, data: bytes) -> Path:
    return folder / "out" / "blobs" / sha256(data).replace(":", "/")


def test_the_file_arrives_with_its_weights_and_is_not_fetched_twice(
    mopt_here: Mopt, raw: dict[str, Any], tmp_path: Path
) -> None:
    done = mopt_here("fetch", "-f", "-", stdin=json.dumps(raw))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "sr/model.onnx\n"
    assert f"verified: {sha256(MODEL)}" in done.stderr
    folder = tmp_path / "sr"
    assert (folder / "model.onnx").read_bytes() == MODEL
    assert (folder / "model.onnx.data").read_bytes() == WEIGHTS
    assert sorted(path.name for path in folder.iterdir()) == ["model.onnx", "model.onnx.data"]
    for data in (MODEL, WEIGHTS):
        blob(tmp_path, data).unlink()
    again = mopt_here("fetch", "-f", "-", stdin=json.dumps(raw))
    assert (again.returncode, again.stdout) == (0, "sr/model.onnx\n")
    assert again.stderr == f"mopt: sr/model.onnx is there, verified: {sha256(MODEL)}\n"


def test_only_what_is_damaged_is_fetched_again(
    mopt_here: Mopt, raw: dict[str, Any], tmp_path: Path
) -> None:
    assert mopt_here("fetch", "-f", "-", "-o", "there/", stdin=json.dumps(raw)).returncode == 0
    (tmp_path / "there" / "model.onnx.data").write_bytes(b"\0" + WEIGHTS[1:])
    blob(tmp_path, MODEL).unlink()
    assert mopt_here("fetch", "-f", "-", "-o", "there", stdin=json.dumps(raw)).returncode == 0
    assert (tmp_path / "there" / "model.onnx.data").read_bytes() == WEIGHTS


def test_a_file_is_named_and_its_weights_lie_beside_it(
    mopt_here: Mopt, raw: dict[str, Any], tmp_path: Path
) -> None:
    done = mopt_here("fetch", "-f", "-", "-o", "a/b.onnx", stdin=json.dumps(raw))
    assert done.stdout == "a/b.onnx\n"
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["b.onnx", "model.onnx.data"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"x" + MODEL[1:], "DigestMismatch: "),
        (MODEL + b"x", "bytes instead of"),
        (None, "ObjectNotFound: "),
    ],
    ids=["other bytes", "another size", "none"],
)
def test_what_the_store_holds_instead_leaves_nothing_behind(
    mopt_here: Mopt, raw: dict[str, Any], tmp_path: Path, data: bytes | None, said: str
) -> None:
    if data is None:
        blob(tmp_path, MODEL).unlink()
    else:
        blob(tmp_path, MODEL).write_bytes(data)
    (tmp_path / "sr").mkdir()
    (tmp_path / "sr" / "model.onnx").write_bytes(b"before")
    done = mopt_here("fetch", "-f", "-", stdin=json.dumps(raw))
    assert (done.returncode, done.stdout) == (1, "")
    last = done.stderr.splitlines()[-1]
    assert said in last
    assert "mopt.dev/requestedAt" in last
    assert [path.name for path in (tmp_path / "sr").iterdir()] == ["model.onnx"]
    assert (tmp_path / "sr" / "model.onnx").read_bytes() == b"before"


def test_a_folder_that_may_not_be_written_is_one_line(
    mopt_here: Mopt, raw: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    done = mopt_here("fetch", "-f", "-", "-o", "file/x/", stdin=json.dumps(raw))
    assert done.returncode == 1
    assert "file/x cannot be written" in done.stderr


def test_a_name_in_a_file_leads_nowhere_else(
    mopt_here: Mopt, raw: dict[str, Any], tmp_path: Path
) -> None:
    raw["metadata"]["name"] = "../../outside"
    done = mopt_here("fetch", "-f", "-", stdin=json.dumps(raw))
    assert done.stdout == "model/model.onnx\n"


ENGINE = {
    "digest": selected.digest(1),
    "sizeBytes": 10,
    "format": "TensorRTEngine",
    "uri": selected.uri(1),
    "externalData": [{"path": "e.json", "digest": selected.digest(2), "sizeBytes": 3}],
}


@pytest.mark.parametrize(
    ("fields", "name", "names"),
    [
        ({}, None, ["model.engine.json", "model.engine"]),
        ({}, "a.plan", ["a.plan.json", "a.plan"]),
        ({"format": "ExportedProgram", "externalData": None}, None, ["model.pt2"]),
        ({"format": "TorchScript", "externalData": None}, None, ["model.ts"]),
    ],
)
def test_files_are_named_as_they_are_opened(
    fields: dict[str, Any], name: str | None, names: list[str]
) -> None:
    found = files_of(Artifact.model_validate(ENGINE | fields), name)
    assert [file.name for file in found] == names
    assert found[-1].size == (7 if len(names) > 1 else 10)


@pytest.mark.parametrize(
    ("fields", "name", "said"),
    [
        ({"uri": None}, None, "no location"),
        ({"uri": "s3://models/sr.engine"}, None, "does not end in its digest"),
        ({"format": "ONNX"}, "e.json", "is the name of a file beside it"),
    ],
)
def test_files_that_cannot_be_told_are_refused(
    fields: dict[str, Any], name: str | None, said: str
) -> None:
    with pytest.raises(CliError, match=said):
        files_of(Artifact.model_validate(ENGINE | fields), name)


def test_a_bucket_is_read_with_the_users_keys(
    mopt_here: Mopt, minio: MinioServer, tmp_path: Path
) -> None:
    raw = stored(f"s3://{minio.bucket()}/out", minio.environ())
    (tmp_path / "raw.json").write_text(json.dumps(raw))
    keys = minio.keys()
    without = mopt_here("fetch", "sr", "-f", "raw.json", "-o", "m.onnx")
    assert without.returncode == 1
    assert "StoreAccessDenied: no AWS_ACCESS_KEY_ID" in without.stderr.splitlines()[-1]
    assert not (tmp_path / "m.onnx").exists()
    done = mopt_here("fetch", "sr", "-f", "raw.json", "-o", "m.onnx", **keys)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "m.onnx").read_bytes() == MODEL
    assert (tmp_path / "model.onnx.data").read_bytes() == WEIGHTS


@pytest.mark.optimizer
def test_what_a_result_of_mopt_run_selects_is_fetched(
    mopt: Mopt, small_onnx: Path, write_small: Callable[..., Path], tmp_path: Path
) -> None:
    """A real run; the served file is the one that was measured."""
    file = write_small()
    run = mopt("run", file, "--model", small_onnx, "--output", "out", "-o", "json")
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    path = tmp_path / "result.json"
    path.write_text(json.dumps(found["result"]))
    result = found["result"]
    chosen = next(
        v for v in [result["baseline"], *result["variants"]] if v["name"] == result["selected"]
    )
    done = mopt("fetch", "result.json", "-o", "served/")
    assert done.returncode == 0, done.stderr
    assert sha256((tmp_path / done.stdout.strip()).read_bytes()) == chosen["artifact"]["digest"]
    missing = mopt("fetch", "result.json", "--target", "gpu")
    assert (missing.returncode, missing.stderr) == (
        2,
        "mopt: the result is of target default, not gpu\n",
    )
