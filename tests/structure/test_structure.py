"""The plan of the house: no circle of imports, nothing too long to read in one go.

That imports point one way is held by import-linter's contracts in pyproject.toml.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "mopt_api": ROOT / "crds",
    "mopt_cli": ROOT / "cli",
    "mopt_operator": ROOT / "operator",
    "mopt_optimizer": ROOT / "optimizer_image",
}
MODULE_LINES, CLASS_LINES, FUNCTION_LINES = 400, 200, 60


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(*PACKAGES, exclude_type_checking_imports=True, cache_dir=None)


def test_no_modules_import_each_other_in_a_circle(graph: grimp.ImportGraph) -> None:
    edges = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    assert len(edges) > 300
    assert circles(edges) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_packages_import_each_other_in_a_circle(graph: grimp.ImportGraph, package: str) -> None:
    """The rooms directly below a package, each with all that is in it."""

    def room(module: str) -> str:
        return ".".join(module.split(".")[:2])

    # A package's own module, __init__, names what is public and so imports from all rooms.
    modules = {m for m in graph.modules if m.startswith(f"{package}.")}
    edges: dict[str, set[str]] = {room(m): set() for m in modules}
    for module in modules:
        found = graph.find_modules_directly_imported_by(module) & modules
        edges[room(module)] |= {room(other) for other in found} - {room(module)}
    assert circles(edges) == []


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of nodes that reach each other, after Tarjan."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(edges.get(node, ())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(edges):
        if node not in index:
            visit(node)
    return found


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]


def product_files() -> list[Path]:
    return sorted(path for name, src in PACKAGES.items() for path in (src / name).rglob("*.py"))


def test_modules_can_be_read_in_one_go() -> None:
    files = [*product_files(), *(ROOT / "hack").rglob("*.py"), *(ROOT / "bench").rglob("*.py")]
    lengths = {str(f.relative_to(ROOT)): len(f.read_text().splitlines()) for f in files}
    assert {name: n for name, n in lengths.items() if n > MODULE_LINES} == {}


@pytest.mark.parametrize(
    ("kinds", "most"),
    [((ast.ClassDef,), CLASS_LINES), ((ast.FunctionDef, ast.AsyncFunctionDef), FUNCTION_LINES)],
    ids=["classes", "functions"],
)
def test_classes_and_functions_are_short(kinds: tuple[type[ast.AST], ...], most: int) -> None:
    lengths = {f"{path.name}:{name}": lines for path, name, lines in _spans(kinds)}
    assert len(lengths) > 100
    assert {name: lines for name, lines in lengths.items() if lines > most} == {}


def _spans(kinds: tuple[type[ast.AST], ...]) -> Iterator[tuple[Path, str, int]]:
    for path in product_files():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, kinds) and isinstance(
                node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
            ):
                yield path, node.name, (node.end_lineno or node.lineno) - node.lineno + 1
