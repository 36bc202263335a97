"""The stages and ModelQuantizer in a real environment of a GPU machine's packages and the bundle's.

Long: it installs torch for that Python (`make test-bare`, part of `make test-full`).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bench.gpu.rows import Row

pytestmark = pytest.mark.bare
ROOT = Path(__file__).resolve().parents[2]
UV = Path(sys.executable).with_name("uv")
LOCKS = ("gpu-machine", "gpu-bundle")
LACKS = ("openvino", "nncf", "onnxoptimizer", "tensorrt", "tensorrt_rtx")
# Far below what right ones have, above any wrong one.
LEAST_DB = 30.0


def _python() -> str:
    """Return a Python 3.12: MOPT_PYTHON312, that of PATH, or pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    named = [os.environ.get("MOPT_PYTHON312"), shutil.which("python3.12")]
    named += [str(path) for path in sorted(pyenv.glob("versions/3.12*/bin/python"))]
    for python in filter(None, named):
        done = subprocess.run([python, "-c", "import ensurepip"], capture_output=True, check=False)
        if done.returncode == 0:
            return python
    pytest.skip("no Python 3.12 here: set MOPT_PYTHON312")


def _run(*command: str | Path, **environ: str) -> str:
    done = subprocess.run(
        command, env=os.environ | environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def became(tmp_path_factory: pytest.TempPathFactory) -> Row:
    """What the script tells, and the environment's packages."""
    import build

    folder = tmp_path_factory.mktemp("bare")
    environment = folder / "venv"
    _run(_python(), "-m", "venv", "--without-pip", environment)
    python = environment / "bin" / "python"
    locks = [str(ROOT / "requirements" / f"{name}.txt") for name in LOCKS]
    _run(UV, "pip", "sync", "-q", "--python", python, "--require-hashes", *locks)
    build.cut_tiles({"chelsea.png": 2}, folder / "images")
    script = ROOT / "tests" / "bench_gpu" / "bare_machine.py"
    paths = os.pathsep.join([str(ROOT / "crds"), str(ROOT / "optimizer_image")])
    work = folder / "work"
    work.mkdir()
    told = _run(python, script, folder / "images", work, PYTHONPATH=paths)
    listed = json.loads(_run(UV, "pip", "list", "--python", python, "--format", "json"))
    found: Row = json.loads(told.splitlines()[-1])
    found["packages"] = {package["name"]: package["version"] for package in listed}
    if record := os.environ.get("MOPT_BARE_RECORD"):
        (ROOT / record).write_text(_page(found))
    return found


def _page(found: Row) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in found["packages"].items())
    lines = [
        "# On a machine without most runtimes",
        "",
        "Written by `make test-bare`: prepare, measure and ModelQuantizer in an environment of "
        "`requirements/gpu-machine.txt` and `requirements/gpu-bundle.txt` alone, on a CPU.",
        "",
        "| variant | state | why |",
        "|---|---|---|",
    ]
    lines += [
        f"| {name} | {one['state']} | {one['message'] or ''} |"
        for name, one in found["variants"].items()
    ]
    lines += ["", "| ModelQuantizer | dB against FP32 |", "|---|---:|"]
    lines += [f"| {name} | {value:.1f} |" for name, value in found["quantizer"].items()]
    return "\n".join([*lines, "", f"Installed: {versions}.", ""])


def test_the_environment_lacks_what_is_optional(became: Row) -> None:
    assert not set(LACKS) & {name.replace("-", "_") for name in became["packages"]}
    assert became["torch"].startswith("2.11.")


def test_what_is_there_is_measured_and_what_is_missing_is_skipped_by_its_name(became: Row) -> None:
    states = {name: one["state"] for name, one in became["variants"].items()}
    assert states["fp32"] == states["int8"] == "Passed"
    for name in ("openvino", "openvino-int8", "nncf"):
        assert states[name] == "Skipped"
        assert "openvino is not installed" in became["variants"][name]["message"]
    assert states["tensorrt"] == "Skipped"


def test_every_type_is_quantized_close_to_fp32(became: Row) -> None:
    assert set(became["quantizer"]) == {"dynamic", "static", "fp16", "bf16"}
    assert all(value > LEAST_DB for value in became["quantizer"].values())
