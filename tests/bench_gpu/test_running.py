"""The time boxes and the record, with parts that end, fail, hang and are never reached."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from bench.gpu import running
from bench.gpu.bundle import summary
from bench.gpu.rows import Reader, Writer
from bench.gpu.schedule import Part, Work

GOOD = Part(Work.FIGURES, "good", seconds=30, least=1)
BAD = Part(Work.FIGURES, "bad", seconds=30, least=1)
HANGS = Part(Work.STAGE, "hangs", seconds=2, least=1)
PYTHON = sys.executable
LATE = Part(Work.TUNED, "late", seconds=1000, least=1000)

# Stands for bench.gpu.worker and bench.gpu.probe: what these two write is tested elsewhere.
_STAND_IN = """
import json, os, sys, time
from pathlib import Path

module, *arguments = sys.argv[2:]
if module == "bench.gpu.probe":
    print(os.environ["MACHINE"])
    sys.exit()
name, rows = arguments[0], Path(arguments[arguments.index("--rows") + 1])
with rows.open("a") as file:
    file.write(json.dumps({"kind": "note", "model": "m", "text": name}) + "\\n")
    file.write('{"kind": "cut in the mid')
if name.endswith("bad"):
    sys.exit("ValueError: no such kernel")
if name.endswith("hangs"):
    Path(os.environ["PID"]).write_text(str(os.getpid()))
    time.sleep(600)
"""


@pytest.fixture
def interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: dict[str, Any]) -> Path:
    """A Python whose `-m` is the stand-in."""
    script = tmp_path / "stand_in.py"
    script.write_text(_STAND_IN)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {PYTHON} {script} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setenv("MACHINE", json.dumps(machine))
    monkeypatch.setenv("PID", str(tmp_path / "pid"))
    return python


def run(tmp_path: Path, *parts: Part, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(running, "PARTS", parts)
    bundle, out, work = (tmp_path / name for name in ("bundle", "out", "work"))
    for folder in (bundle, out, work):
        folder.mkdir()
    (bundle / "bundle.json").write_text('{"encoder": {}, "sha256": {}}')
    assert running.Run(out, bundle, work, time.time()).run() == 0
    found: dict[str, Any] = json.loads((out / "gpu.json").read_text())
    assert sorted(path.name for path in out.iterdir()) == ["gpu.json", "gpu.md"]
    return found


@pytest.mark.usefixtures("interpreter")
def test_a_part_that_fails_or_hangs_costs_its_box_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = run(tmp_path, BAD, HANGS, GOOD, LATE, monkeypatch=monkeypatch)
    ended = {part["name"]: (part["state"], part["why"]) for part in found["parts"]}
    assert ended["figures-bad"] == ("failed", "ValueError: no such kernel")
    assert ended["stage-hangs"] == ("cut off", "its time box of 2 s was over")
    assert ended["figures-good"] == ("done", "")
    state, why = ended["tuned-late"]
    assert state == "not reached"
    assert why.endswith("it needs 1000 s at least")
    # What each had written before its end is there.
    assert [row["text"] for row in found["rows"]] == [
        "figures-bad",
        "stage-hangs",
        "figures-good",
    ]
    hung = int((tmp_path / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(hung, 0)


def test_a_run_that_is_ended_leaves_its_record_and_no_process(
    tmp_path: Path, interpreter: Path, machine: dict[str, Any]
) -> None:
    bundle, out, work = (tmp_path / name for name in ("bundle", "out", "work"))
    for folder in (bundle, out, work):
        folder.mkdir()
    (bundle / "bundle.json").write_text('{"encoder": {}, "sha256": {}}')
    script = (
        "import sys, time, runpy\nfrom bench.gpu import running, schedule\n"
        f"running.sys.executable = {str(interpreter)!r}\n"
        "running.PARTS = (schedule.Part(schedule.Work.STAGE, 'hangs', 300, 1),)\n"
        f"sys.argv = ['x', '--out', {str(out)!r}, '--bundle', {str(bundle)!r}, "
        f"'--workdir', {str(work)!r}]\n"
        "from bench.gpu import __main__ as entry\n"
        "entry.Bundle.read = lambda _folder: None\nentry.main()\n"
    )
    with subprocess.Popen(
        [PYTHON, "-c", script],
        env=os.environ | {"MACHINE": json.dumps(machine), "PID": str(tmp_path / "pid")},
        cwd=Path(__file__).resolve().parents[2],
        stdout=subprocess.DEVNULL,
    ) as process:
        deadline = time.monotonic() + 60
        while not (out / "gpu.json").exists() or not _rows(out):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM
    assert [row["text"] for row in _rows(out)] == ["stage-hangs"]
    assert "NVIDIA H200" in (out / "gpu.md").read_text()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def _rows(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((out / "gpu.json").read_text())["rows"]
    return rows


def test_rows_are_read_as_they_come_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    read = Reader(path)
    assert read() == []
    write = Writer(path)
    write("note", text="ä")
    with path.open("a") as file:
        file.write('{"kind": "fig')
    assert read() == [{"kind": "note", "text": "ä"}]
    with path.open("a") as file:
        file.write('ure"}\n')
    assert read() == [{"kind": "figure"}]
    assert read() == []


def test_each_test_is_a_row_as_it_ends(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(
        "import pytest\n"
        "def test_one(): pass\n"
        "def test_two(): assert 1 == 2\n"
        "def test_three(): pytest.skip('no TensorRT here')\n"
        "@pytest.fixture\ndef broken(): raise ValueError('no GPU')\n"
        "def test_four(broken): pass\n"
    )
    rows = tmp_path / "rows"
    command = [PYTHON, "-m", "pytest", "-q", "-c", "/dev/null", "-p", "bench.gpu.reporting"]
    subprocess.run(
        [*command, "--rootdir", str(tmp_path), str(tmp_path)],
        env=os.environ | {"MOPT_GPU_ROWS": str(rows)},
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        check=False,
    )
    found = [(row["name"], row["state"], row["reason"]) for row in Reader(rows)()]
    assert found == [
        ("test_some.py::test_one", "passed", ""),
        ("test_some.py::test_two", "failed", "assert 1 == 2"),
        ("test_some.py::test_three", "skipped", "no TensorRT here"),
        ("test_some.py::test_four", "failed", "ValueError: no GPU"),
    ]


@pytest.mark.parametrize(
    ("wheels", "tree", "complaint"),
    [
        (20, 5, None),
        (45, 19, None),
        (46, 5, "x is larger than 45 MiB"),
        (40, 25, "x and the tree are larger than 64 MiB together"),
    ],
)
def test_a_bundle_that_is_too_large_is_refused(
    wheels: int, tree: int, complaint: str | None
) -> None:
    words, found = summary({"wheels": wheels * 2**20}, tree * 2**20, "x")
    assert found == complaint
    assert words.endswith("bash bench/gpu/run.sh OUT")
