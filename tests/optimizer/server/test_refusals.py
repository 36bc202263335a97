"""What the server refuses to start with: one line, status 1."""

from __future__ import annotations

import json
import pickle
import shutil
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from free_ports import free_port
from model_files import ModelFiles
from served_folders import write_folder

from mopt_api.enums import Runtime
from mopt_optimizer.digests import file_digest

pytestmark = pytest.mark.optimizer


def started(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    ports = [f"--http-port={free_port()}", f"--grpc-port={free_port()}"]
    return subprocess.run(
        [sys.executable, "-P", "-m", "mopt_optimizer.server", str(folder), *ports, *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def described(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "mopt.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def exchanged(folder: Path) -> None:
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"\0")


def with_pickle(folder: Path) -> None:
    """A program whose archive holds a pickle, under its right digest."""
    path = folder / "model.pt2"
    with zipfile.ZipFile(path, "a") as archive:
        top = archive.namelist()[0].partition("/")[0]
        archive.writestr(f"{top}/data/weights/extra.pkl", pickle.dumps(print))
    described(folder, lambda d: d["files"][0].update(digest=file_digest(path)))


def outside(folder: Path) -> None:
    described(folder, lambda d: d["files"][0].update(path="../model.onnx"))


@pytest.mark.parametrize(
    ("model", "change", "words"),
    [
        pytest.param("onnx", exchanged, "mopt.json says sha256:", id="exchanged"),
        pytest.param("onnx", outside, "not a path in the folder", id="outside"),
        pytest.param(
            "onnx",
            lambda folder: (folder / "mopt.json").unlink(),
            "has no mopt.json",
            id="no description",
        ),
        pytest.param(
            "onnx",
            lambda folder: (folder / "mopt.json").write_text("{}"),
            "describes no form",
            id="no form",
        ),
        pytest.param(
            "onnx",
            lambda folder: described(folder, lambda d: d.update(schemaVersion=99)),
            "upgrade it",
            id="newer",
        ),
        pytest.param(
            "onnx",
            lambda folder: described(folder, lambda d: d["inputs"][0].update(name="other")),
            "and its description other",
            id="another model",
        ),
        pytest.param("program", with_pickle, "pickle", id="pickle"),
        pytest.param("onnx", shutil.rmtree, "is no folder", id="no folder"),
    ],
)
def test_folders(
    served_files: ModelFiles,
    tmp_path: Path,
    model: str,
    change: Callable[[Path], None],
    words: str,
) -> None:
    runtime = Runtime.PYTORCH if model == "program" else Runtime.ONNX_RUNTIME
    folder = write_folder(tmp_path / "model", getattr(served_files, model), runtime)
    change(folder)
    done = started(folder)
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.startswith("mopt: ")
    assert done.stderr.count("\n") == 1


def test_a_port_in_use(onnx_folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        done = started(onnx_folder, f"--http-port={taken.getsockname()[1]}")
    assert done.returncode == 1
    assert "cannot be used" in done.stderr


def test_a_batch_that_the_form_does_not_take(onnx_folder: Path) -> None:
    done = started(onnx_folder, "--batch=64")
    assert done.returncode == 1
    assert "--batch 64: form (ONNXRuntime FP32) computes at most 4 together" in done.stderr
