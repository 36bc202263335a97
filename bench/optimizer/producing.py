"""Runs the workers: one process per tool and subject, so that a crash costs one row."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from catalogue import Recipe

WORKER = Path(__file__).with_name("worker.py")
# For each file, on a machine that others use too.
PATIENCE_SECONDS = 300


@dataclass(frozen=True)
class Produced:
    """What became of a recipe.

    Attributes:
        path: The file, None where there is none.
        seconds: That making it took, without the tool's import.
        version: Of the tool; None where it is not installed.
        error: The tool's own words, None where it worked.
    """

    path: Path | None
    seconds: float | None = None
    version: str | None = None
    error: str | None = None


def produce(
    recipes: Sequence[Recipe],
    subject: Path,
    out: Path,
    *,
    environment: Path,
    log: Callable[[str], None],
) -> dict[str, Produced]:
    """Make every recipe's file; recipes of the same file share it.

    Args:
        environment: The virtual environment of the peers that the product does not depend on.
        log: Told which tool works.
    """
    made: dict[str, Produced] = {}
    first_of = {recipe.file_key: recipe for recipe in reversed(recipes)}
    for tool, group in groupby(sorted(first_of.values(), key=_tool), key=_tool):
        mine = list(group)
        folder = out / tool.replace(" ", "-")
        folder.mkdir(parents=True)
        python = Path(sys.executable)
        if mine[0].needs_bench_environment:
            python = environment / "bin" / "python"
            if not python.is_file():
                reason = f"{environment.name} is not there: run `make bench-install`"
                made.update({recipe.file_key: Produced(None, error=reason) for recipe in mine})
                continue
        log(f"{tool}: {len(mine)} files")
        for recipe, produced in _tool_results(mine, subject, folder, python):
            made[recipe.file_key] = produced
    return {recipe.name: made[recipe.file_key] for recipe in recipes}


def _tool(recipe: Recipe) -> str:
    return recipe.tool


def _tool_results(
    recipes: list[Recipe], subject: Path, folder: Path, python: Path
) -> list[tuple[Recipe, Produced]]:
    """Run workers until each recipe has a result; the one that ends a worker is told so."""
    done: list[tuple[Recipe, Produced]] = []
    while len(done) < len(recipes):
        pending = recipes[len(done) :]
        ended = _run_worker(pending, subject, folder, python)
        results = folder / "results.jsonl"
        lines = results.read_text().splitlines() if results.is_file() else []
        results.unlink(missing_ok=True)
        found = [_produced(json.loads(line)) for line in lines]
        done += zip(pending, found, strict=False)
        if len(found) < len(pending):
            done.append((pending[len(found)], Produced(None, error=ended)))
    return done


def _run_worker(recipes: list[Recipe], subject: Path, folder: Path, python: Path) -> str:
    """Return how a worker ended, for those that it leaves without a result."""
    command = [str(python), str(WORKER), str(subject), str(folder), *(r.name for r in recipes)]
    # What the tools print is kept beside their files: a table has no room for it.
    with (folder / "worker.log").open("a") as log:
        try:
            code = subprocess.run(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=PATIENCE_SECONDS * len(recipes),
                env=os.environ | {"PYTHONNOUSERSITE": "1"},
            ).returncode
        except subprocess.TimeoutExpired:
            return f"not done after {PATIENCE_SECONDS * len(recipes)} s"
    return f"its process ended with status {code}"


def _produced(line: dict[str, Any]) -> Produced:
    path = line.get("path")
    return Produced(
        Path(path) if path else None, line.get("seconds"), line.get("version"), line.get("error")
    )
