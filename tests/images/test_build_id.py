"""A step of the optimizer's image is served by a key that holds what the image's own files are.

The image only copies the packages: no distribution named mopt is installed there.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "optimizer_image" / "Dockerfile").read_text()
JOBS = DOCKERFILE.rpartition("\nFROM ")[2]
SOURCES = "/opt/mopt/src"

# Keys of all that is served from a store, from a process that has no distribution named mopt.
_KEYS = """
import json
from importlib import metadata

installed = metadata.version


def version(name):
    if name == "mopt":
        raise metadata.PackageNotFoundError(name)
    return installed(name)


metadata.version = version

from mopt_api.enums import ModelFormat, Precision
from mopt_api.figures import Hardware
from mopt_api.jobs.plan import MeasurePlan, PlannedModel, PreparePlan
from mopt_optimizer.forms.form import Form
from mopt_optimizer.forms.registry import FormKind
from mopt_optimizer.machine import versions
from mopt_optimizer.stages.measure.key import content_key, runtime_versions
from mopt_optimizer.stages.step_keys import (
    engine_key, export_key, form_key, manifest_key, software_versions,
)

software = software_versions()
model = PlannedModel(uri="s3://a/m.onnx", sha256="0" * 64, format=ModelFormat.ONNX)
plan = PreparePlan(model=model, inputs=[], dimensions={}, variants=[], output_uri="s3://a/out")
measured = MeasurePlan.model_construct(
    target="a", model=model, prepared="b", quality=[], objective=None
)
form = Form(kind=FormKind.QDQ)
keys = {
    "file": versions.__file__,
    "version": versions.product_version(),
    "manifest": manifest_key(plan, None, software),
    "export": export_key(plan, software),
    "form": form_key(form, plan, fp32="f", samples=None, software=software),
    "engine": engine_key(
        "o", precision=Precision.FP16, shapes={}, compute_capabilities=["8.9"],
        tensorrt="1", software=software,
    ),
    "measurement": runtime_versions()["mopt"],
}
print(json.dumps(keys))
"""


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """The folder on the image's PYTHONPATH, as the Dockerfile's COPY makes it."""
    copies = [shlex.split(line)[1:] for line in JOBS.splitlines() if line.startswith("COPY ")]
    sources = tmp_path / "src"
    for source, target in (c for c in copies if c[-1].startswith(SOURCES)):
        shutil.copytree(
            ROOT / source,
            sources / Path(target).relative_to(SOURCES),
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    return sources


def keys(*folders: Path) -> dict[str, str]:
    path = os.pathsep.join(map(str, folders))
    found = subprocess.run(
        [sys.executable, "-c", _KEYS],
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        check=True,
        capture_output=True,
        text=True,
    )
    parsed: dict[str, str] = json.loads(found.stdout)
    return parsed


def test_the_image_puts_its_packages_on_the_path() -> None:
    assert f"PYTHONPATH={SOURCES}" in DOCKERFILE
    assert f"compileall -q {SOURCES}" in JOBS


CHANGES = [
    ("mopt_optimizer/passes/fold_constants.py", {"export"}),
    ("mopt_optimizer/onnx_quantization/qdq.py", {"form", "engine"}),
    ("mopt_optimizer/quality/metrics/psnr.py", {"form", "engine"}),
    ("mopt_optimizer/torch_quantization/fusion.py", {"form"}),
    ("mopt_optimizer/stages/engines/worker.py", {"engine"}),
    ("mopt_optimizer/onnx_files/verify.py", {"export", "form", "engine"}),
    ("mopt_optimizer/stages/report/page/rows.py", set[str]()),
    ("mopt_api/spec.py", {"export", "form", "engine"}),
]
"""A file, and the steps whose keys change with it."""


@pytest.mark.parametrize(("file", "steps"), CHANGES, ids=[file for file, _ in CHANGES])
def test_a_change_makes_what_runs_it_anew(image: Path, file: str, steps: set[str]) -> None:
    before = keys(image)
    (image / file).write_bytes((image / file).read_bytes() + b"\n")
    after = keys(image)
    # The manifest is assembled anew, and what is measured is measured by all of it.
    always = {"version", "manifest", "measurement"}
    assert {name for name in before if after[name] != before[name]} == always | steps


def test_a_copy_and_a_checkout_come_to_the_same_keys(image: Path) -> None:
    checkout = keys(ROOT / "crds", ROOT / "optimizer_image")
    before = keys(image)
    assert before.pop("file") == str(image / "mopt_optimizer" / "machine" / "versions.py")
    assert checkout.pop("file") != str(image / "mopt_optimizer" / "machine" / "versions.py")
    assert before == checkout
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(image)], check=True)
    compiled = keys(image)
    compiled.pop("file")
    assert compiled == before
