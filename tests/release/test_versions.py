"""One version, wherever mopt says what it is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mopt_api.version import VERSION
from mopt_operator.version import product_version
from mopt_optimizer.stages.step_keys import software_versions
from release.errors import ReleaseError
from release.versions import COPIES, SOURCE, Place, bump, version

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted({place.file for place in (SOURCE, *COPIES)})


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the files that have the version."""
    for file in FILES:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / file, tmp_path / file)
    return tmp_path


def run(module: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=os.environ | environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_files_agree() -> None:
    assert version(ROOT) == VERSION


@pytest.mark.parametrize("place", COPIES, ids=lambda place: f"{place.file} {place.pattern}")
def test_a_file_that_differs_is_named(copied: Path, place: Place) -> None:
    place.write(copied, "9.9.9")
    with pytest.raises(ReleaseError, match=rf"{place.file} has version .*9\.9\.9"):
        version(copied)


def test_bump_changes_the_version_and_nothing_else(copied: Path) -> None:
    bump(copied, "12.0.1")
    assert version(copied) == "12.0.1"
    bump(copied, VERSION)
    for file in FILES:
        assert (copied / file).read_bytes() == (ROOT / file).read_bytes()


@pytest.mark.parametrize("wrong", ["", "1.2", "v1.2.3", "1.2.3rc1", "1.2.3\n"])
def test_what_is_no_version_is_refused(copied: Path, wrong: str) -> None:
    with pytest.raises(ReleaseError, match="three numbers"):
        bump(copied, wrong)


def test_the_operator_begins_its_log_with_it(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"optimizerImage": "mopt/optimizer:x", "logFormat": "json"}))
    done = run("mopt_operator.main", MOPT_OPERATOR_CONFIG=str(config), KUBECONFIG="/nonexistent")
    first = json.loads(done.stderr.splitlines()[0])
    assert product_version() in first["message"]
    assert product_version().startswith(f"{VERSION}+")


def test_a_job_begins_its_log_with_that_of_its_results(tmp_path: Path) -> None:
    plan = {
        "stage": "Prepare",
        "model": {"uri": f"file://{tmp_path}/m.onnx", "sha256": "0" * 64, "format": "ONNX"},
        "inputs": [],
        "dimensions": {},
        "variants": [],
        "outputUri": f"file://{tmp_path}/out",
    }
    done = run(
        *("mopt_optimizer.main", "prepare", "--workdir", str(tmp_path)),
        MOPT_PLAN=json.dumps(plan),
        MOPT_TERMINATION_LOG=str(tmp_path / "message"),
        MOPT_RESOURCE="team/sr",
        MOPT_GENERATION="3",
    )
    first = json.loads(done.stdout.splitlines()[0])
    assert (first["step"], first["version"]) == ("prepare", software_versions()["mopt"])
    assert first["version"].startswith(f"{VERSION}+")
    assert (first["namespace"], first["name"], first["generation"]) == ("team", "sr", 3)


def test_the_command_line_says_that_of_its_results() -> None:
    done = run("mopt_cli.main", "--version")
    assert done.stdout == f"mopt {software_versions()['mopt']}\n", done.stderr
