"""The real helm, and what it makes of the chart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]

Manifest = dict[str, Any]
Values = Mapping[str, Any]


def _run(arguments: list[str], *, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments, input=stdin, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture(scope="session")
def chart() -> Path:
    """Return the chart's folder."""
    return ROOT / "helm" / "mopt"


@pytest.fixture(scope="session")
def devcluster() -> Callable[..., str]:
    """Return a function that runs `hack/devcluster` and returns its last line of output."""

    def run(*arguments: str) -> str:
        # Without a network and a cache a tool is built from source, which takes minutes.
        done = subprocess.run(
            [sys.executable, ROOT / "hack" / "devcluster", *arguments],
            stdout=subprocess.PIPE,
            text=True,
            timeout=1800,
            check=True,
        )
        return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""

    return run


@pytest.fixture(scope="session")
def helm(devcluster: Callable[..., str]) -> str:
    """Return the path of helm: MOPT_HELM, else the one that devcluster finds or fetches."""
    return os.environ.get("MOPT_HELM") or devcluster("binary", "helm")


@pytest.fixture(scope="session")
def render(helm: str, chart: Path) -> Callable[..., list[Manifest]]:
    """Return a function that renders the chart as release `mopt` in namespace `mopt-system`."""

    def run(values: Values | None = None) -> list[Manifest]:
        command = [helm, "template", "mopt", str(chart), "--namespace", "mopt-system"]
        done = _run([*command, "--values", "-"], stdin=json.dumps(values or {}))
        assert done.returncode == 0, done.stderr
        return [document for document in yaml.safe_load_all(done.stdout) if document]

    return run


@pytest.fixture(scope="session")
def only(render: Callable[..., list[Manifest]]) -> Callable[..., Manifest]:
    """Return a function that renders the chart and returns its only object of a kind."""

    def run(kind: str, values: Values | None = None) -> Manifest:
        (found,) = [manifest for manifest in render(values) if manifest["kind"] == kind]
        return found

    return run


@pytest.fixture(scope="session")
def refusal(helm: str, chart: Path) -> Callable[[Values], str]:
    """Return a function that returns what helm says of values it must refuse."""

    def run(values: Values) -> str:
        done = _run([helm, "template", "mopt", str(chart), "-f", "-"], stdin=json.dumps(values))
        assert done.returncode != 0, "the values were accepted"
        return done.stderr

    return run
