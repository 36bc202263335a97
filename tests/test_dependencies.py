"""The product imports what pyproject.toml declares for it; the rest would only be shipped."""

from __future__ import annotations

import ast
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Of each extra, the package that it is for.
PACKAGES = {
    "operator": "operator/mopt_operator",
    "optimizer": "optimizer_image/mopt_optimizer",
    "optimizer-cpu": "optimizer_image/mopt_optimizer",
    "optimizer-gpu": "optimizer_image/mopt_optimizer",
    "tensorrt": "optimizer_image/mopt_optimizer",
    "pycuda": "optimizer_image/mopt_optimizer",
    "publish": "optimizer_image/mopt_optimizer",
    "tracing": "optimizer_image/mopt_optimizer",
    "serve": "optimizer_image/mopt_optimizer",
    "cli": "cli/mopt_cli",
}
# Modules that are not called as their distribution is.
MODULES = {
    "mlcommons-loadgen": "mlperf_loadgen",
    "nvidia-ml-py": "pynvml",
    "onnxruntime-gpu": "onnxruntime",
    "opentelemetry-exporter-otlp-proto-http": "opentelemetry",
    "opentelemetry-sdk": "opentelemetry",
    "pillow": "PIL",
    "py-landlock": "py_landlock",
    "model-signing": "model_signing",
    "python-dxf": "dxf",
    "sigstore-models": "sigstore_models",
    "prometheus-client": "prometheus_client",
    "pyyaml": "yaml",
    "scikit-image": "skimage",
    "tensorrt-rtx-cu13": "tensorrt_rtx",
}
# Modules that are loaded by their name, or by one that does not require them: the file that does,
# and the words it does so with.
BY_NAME = {
    "tensorrt_rtx": ("runtimes/tensorrt/backends.py", '= "tensorrt_rtx"'),
    "pyopenssl": ("proofs/signing.py", "from model_signing import signing"),
    "torchao": ("torch_quantization/capturing.py", 'import_module(f"torchao.'),
}


def distributions(requirements: list[str]) -> list[str]:
    """Return the names of requirements, without this project's own extras."""
    names = [re.split(r"[^A-Za-z0-9._-]", requirement)[0] for requirement in requirements]
    return [name for name in names if name != PROJECT["name"]]


DECLARED = [
    *(("crds/mopt_api", name) for name in distributions(PROJECT["dependencies"])),
    *(
        (PACKAGES[extra], name)
        for extra, requirements in PROJECT["optional-dependencies"].items()
        if extra != "dev"
        for name in distributions(requirements)
    ),
]


@cache
def imported(folder: str) -> frozenset[str]:
    """Return the top-level modules that a package's code imports, at once or in functions."""
    found: set[str] = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return frozenset(found)


@pytest.mark.parametrize(("folder", "distribution"), DECLARED)
def test_every_declared_dependency_is_imported(folder: str, distribution: str) -> None:
    module = MODULES.get(distribution, distribution)
    if module in BY_NAME:
        file, words = BY_NAME[module]
        assert words in (ROOT / folder / file).read_text()
    else:
        assert module in imported(folder)


def test_every_declared_dependency_is_told_of() -> None:
    told = (ROOT / "docs" / "dependencies.md").read_text()
    rows = [line for line in told.splitlines() if line.startswith("| ")]
    assert [name for _, name in DECLARED if not any(name in row for row in rows)] == []
