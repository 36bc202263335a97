"""`mopt run` on a small real model, from an empty folder, again, and interrupted."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_process import Mopt, clean_environ
from web_server import server_pki, web_server

pytestmark = pytest.mark.optimizer

VARIANTS = [
    {"name": "ort", "runtime": "ONNXRuntime", "precision": "FP32"},
    {"name": "ort-int8", "runtime": "ONNXRuntime", "precision": "INT8"},
]
HEIGHT = {"min": 24, "opt": 48, "max": 64}
DIMENSIONS = {
    "batch": {"min": 1, "opt": 1, "max": 4},
    "height": HEIGHT,
    "width": {"min": 16, "opt": 64, "max": 64},
}
GATES = [{"metric": "PSNR", "minimum": 30}]


def processes_below(folder: Path) -> list[str]:
    """Return the command lines of processes that were told of a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # It has just ended.
            continue
        if str(folder) in line:
            found.append(line)
    return found


@pytest.fixture
def arguments(small_pt2: Path, images: Path, write: Callable[..., Path]) -> list[object]:
    file = write(model=None, dimensions=DIMENSIONS, variants=VARIANTS, quality=GATES)
    return [
        *("run", file, "--model", small_pt2, "--output", "out"),
        *("--calibration", images / "calibration", "--evaluation", images / "evaluation"),
    ]


def test_run_from_nothing_and_again(mopt: Mopt, arguments: list[object], tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    first = mopt(*arguments, "--workdir", "work", "-o", "json")
    assert first.returncode == 0, first.stderr
    found = json.loads(first.stdout)
    result = found["result"]
    assert {v["name"] for v in result["variants"]} == {"ort", "ort-int8"}
    assert result["evaluationSamples"] == 2
    assert result["selected"] in {"baseline", "ort", "ort-int8"}
    assert "prepare export: exporting to ONNX" in first.stderr
    assert "prepare prepare: done: 2 steps built, 0 served from the store" in first.stderr
    digest = found["report"]["digest"]
    stored = tmp_path / "out" / "blobs" / digest.replace(":", "/")
    assert f"sha256:{hashlib.sha256(stored.read_bytes()).hexdigest()}" == digest
    assert b"servedFromStore" not in stored.read_bytes()
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")}

    again = mopt(*arguments, "--workdir", "work")
    assert again.returncode == 0, again.stderr
    assert "prepare prepare: done: 0 steps built, 2 served from the store" in again.stderr
    assert "measure measure: served from the store" in again.stderr
    assert "ort-int8" in again.stdout
    assert "served from the store" in " ".join(again.stdout.split())
    assert str(stored) in again.stdout
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")} == before
    assert not list((tmp_path / "work").iterdir())


def test_other_objective_judges_without_measuring(
    mopt: Mopt, arguments: list[object], write: Any
) -> None:
    first = mopt(*arguments, "-o", "json")
    assert first.returncode == 0, first.stderr
    arguments[1] = write(
        model=None,
        dimensions=DIMENSIONS,
        variants=VARIANTS,
        quality=GATES,
        objective={"metric": "SizeBytes"},
    )
    again = mopt(*arguments, "-o", "json")
    assert again.returncode == 0, again.stderr
    assert "judged again by other gates or objective" in again.stderr
    assert "measure trials" not in again.stderr
    results = [json.loads(done.stdout)["result"] for done in (first, again)]
    assert results[0]["measuredAt"] == results[1]["measuredAt"]
    assert results[1]["plan"]["objective"]["metric"] == "SizeBytes"


def test_no_winner_is_exit_status_3(mopt: Mopt, arguments: list[object], write: Any) -> None:
    objective = {"minimumSpeedup": 1000, "onNoWinner": "Fail"}
    arguments[1] = write(
        model=None, dimensions=DIMENSIONS, variants=VARIANTS[:1], objective=objective
    )
    done = mopt(*arguments)
    assert done.returncode == 3, done.stderr
    assert done.stdout.startswith("no variant passed")


def test_a_model_on_the_web_is_fetched_and_measured(
    mopt: Mopt, arguments: list[object], write: Any, small_pt2: Path, tmp_path: Path
) -> None:
    content = small_pt2.read_bytes()
    pki = server_pki(tmp_path / "pki")
    with web_server(pki, lambda request: request.answer(200, content)) as server:
        model = {
            "uri": f"{server.address}/releases/net.pt2",
            "sha256": hashlib.sha256(content).hexdigest(),
            "format": "ExportedProgram",
        }
        file = write(model=model, dimensions=DIMENSIONS, variants=VARIANTS[:1])
        options = [*arguments[4:], "-o", "json"]
        done = mopt("run", file, *options, SSL_CERT_FILE=str(pki.certificate("ca")))
        assert done.returncode == 0, done.stderr
        assert set(server.asked) == {"/releases/net.pt2"}
    assert json.loads(done.stdout)["result"]["variants"][0]["state"] == "Passed"


def test_spec_that_the_model_refuses_is_exit_status_2(
    mopt: Mopt, arguments: list[object], write: Any, tmp_path: Path
) -> None:
    arguments[1] = write(
        model=None, dimensions=DIMENSIONS | {"height": HEIGHT | {"min": 16}}, variants=VARIANTS
    )
    done = mopt(*arguments)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("mopt: InvalidDimension: axis 2 of input image")
    assert not list((tmp_path / "out").rglob("*.part"))


def test_file_that_is_no_model_is_exit_status_1(
    mopt: Mopt, arguments: list[object], tmp_path: Path
) -> None:
    (tmp_path / "broken.pt2").write_bytes(b"not a program")
    arguments[3] = tmp_path / "broken.pt2"
    done = mopt(*arguments)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("mopt: InvalidModel: ")
    assert "Traceback" not in done.stderr


def test_store_without_keys_says_which(mopt: Mopt, arguments: list[object]) -> None:
    arguments[5] = "s3://bucket/prefix"
    done = mopt(*arguments)
    assert done.returncode == 1
    assert "StoreAccessDenied" in done.stderr
    assert "AWS_ACCESS_KEY_ID" in done.stderr


@pytest.fixture
def started(arguments: list[object], tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    (tmp_path / "work").mkdir()
    command = [
        sys.executable,
        "-m",
        "mopt_cli.main",
        *map(str, arguments),
        "--workdir",
        f"{tmp_path}/work",
    ]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=clean_environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", ["prepare reference", "measure trials"])
def test_interrupt_leaves_no_process_and_no_half_written_file(
    started: subprocess.Popen[str], tmp_path: Path, step: str, number: signal.Signals
) -> None:
    assert started.stderr is not None
    for line in started.stderr:
        if line.startswith(f"{step}: "):
            break
    assert processes_below(tmp_path)
    started.send_signal(number)
    output, errors = started.communicate(timeout=120)
    assert (started.returncode, output) == (130, "")
    assert errors.splitlines()[-1] == "mopt: interrupted; no partial files are left"
    assert "Traceback" not in errors
    assert processes_below(tmp_path) == []
    assert not list((tmp_path / "work").iterdir())
    written = [p for p in tmp_path.glob("out/blobs/sha256/*") if p.is_file()]
    for path in written:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
