"""Names of TensorRT's Python API that the package uses, and those that its bindings define.

    python tests/optimizer/runtimes/tensorrt/api_names.py CHECKOUT > \\
        tests/optimizer/runtimes/tensorrt/tensorrt_bindings.json

reads a git checkout of NVIDIA's TensorRT repository, whose history holds the source of the bindings
(python/src), at the commits named below.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[4] / "optimizer_image" / "mopt_optimizer" / "runtimes" / "tensorrt"
MODULE = "module"
"""Stands for the module itself, next to the names of its classes."""
RELEASES = {"10.13.3": "94e2b9ef", "10.16.1": "5302b288", "11.1.0": "a892d222"}

# What a variable, or an attribute without its underscore, holds; the same in all modules.
VARIABLES = {
    "api": MODULE,
    "builder": "Builder",
    "network": "INetworkDefinition",
    "tensor": "ITensor",
    "parser": "OnnxParser",
    "error": "ParserError",
    "settings": "IBuilderConfig",
    "profile": "IOptimizationProfile",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "inspector": "EngineInspector",
    "context": "IExecutionContext",
    "runtime_config": "IRuntimeConfig",
    "config": "IRuntimeConfig",
}
# Where "config" is TensorRTConfig, "error" an exception, "tensor" and "profile" our own.
OURS = {
    "building.py": {"config", "runtime", "engine", "context"},
    "loading.py": {"error", "config", "profile", "tensor"},
    "running.py": {"error", "tensor", "profile", "runtime", "builder", "network", "parser"},
    "caches.py": {"error", "config", "engine", "tensor"},
}
_PYTHONS_OWN = ("__members__", "__init__", "__name__")


def used_names() -> set[tuple[str, str]]:
    """Return (class, name) pairs that the package's source reads or calls."""
    found: set[tuple[str, str]] = set()
    for file, ours in OURS.items():
        for node in ast.walk(ast.parse((PACKAGE / file).read_text())):
            if isinstance(node, ast.Attribute):
                found.update(_pairs(node, ours))
    return {(kind, name) for kind, name in found if name not in _PYTHONS_OWN}


def _pairs(node: ast.Attribute, ours: set[str]) -> Iterator[tuple[str, str]]:
    holder = node.value
    # api.BuilderFlag.TF32: a class of the module, and its member.
    if isinstance(holder, ast.Attribute) and _kind(holder.value, ours) == MODULE:
        yield holder.attr, node.attr
        return
    kind = _kind(holder, ours)
    if kind is not None:
        yield kind, node.attr
    if ast.unparse(node).endswith(".get_timing_cache().serialize"):
        yield "ITimingCache", "serialize"


def _kind(node: ast.expr, ours: set[str]) -> str | None:
    if isinstance(node, ast.Name):
        name = node.id
    elif isinstance(node, ast.Attribute):
        name = node.attr.removeprefix("_")
    else:
        return None
    return None if name in ours else VARIABLES.get(name)


def bound_names(source: str) -> dict[str, set[str]]:
    """Return the names that pybind11 source defines, by class; MODULE holds the classes."""
    names: dict[str, set[str]] = {MODULE: set()}
    source = re.sub(r"/\*.*?\*/", "", source, flags=re.S)
    starts = list(
        re.finditer(r'py::(?:class_|enum_)<[^;]*?>\s*\w*\s*[({]\s*\w+,\s*"(\w+)"', source)
    )
    for start, end in zip(starts, [*starts[1:], None], strict=True):
        text = source[start.end() : end.start() if end else len(source)]
        members = re.findall(r'\.(?:def\w*|value)\(\s*"(\w+)"', text)
        names.setdefault(start[1], set()).update(members)
        names[MODULE].add(start[1])
        # ILogger.Severity: an enumeration inside a class.
        if start[1] == "Severity":
            names.setdefault("ILogger", set()).add(start[1])
    return names


def main(checkout: str) -> None:
    """Print the used names that each release's bindings define."""
    used = used_names()
    releases = {}
    for release, commit in RELEASES.items():
        listing = _git(checkout, "ls-tree", "-r", "--name-only", commit, "python/src")
        source = "\n".join(
            _git(checkout, "show", f"{commit}:{path}")
            for path in listing.split()
            if path.endswith(".cpp")
        )
        bound = bound_names(source)
        releases[release] = sorted(
            f"{kind}.{name}" for kind, name in used if name in bound.get(kind, ())
        )
    print(json.dumps(releases, indent=2))


def _git(checkout: str, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", checkout, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout


if __name__ == "__main__":
    main(sys.argv[1])
