"""NVIDIA's perf_analyzer: a load generator that has no part in this project."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Sequence
from ctypes.util import find_library
from dataclasses import dataclass
from pathlib import Path

from devcluster.host import install

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements" / "perf-analyzer.txt"
# What it is linked with, beside libraries that every Debian has.
LIBRARIES = {"b64": "libb64-0d"}


@dataclass(frozen=True)
class Level:
    """What it found for so many requests at a time.

    Attributes:
        throughput: Answers a second.
    """

    concurrency: int
    throughput: float
    p50_us: float


@dataclass(frozen=True)
class PerfAnalyzer:
    """The program, and the environment that it runs in."""

    program: Path
    libraries: Path

    def run(self, folder: Path, *options: str) -> list[Level]:
        """Return what it found at each concurrency.

        Raises:
            AssertionError: It failed; with all that it said.
        """
        table = folder / "levels.csv"
        environ = {**os.environ, "LD_LIBRARY_PATH": str(self.libraries)}
        command = [str(self.program), *options, "-f", str(table)]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        with table.open(newline="") as file:
            return sorted(map(_level, csv.DictReader(file)), key=lambda level: level.concurrency)


def _level(row: dict[str, str]) -> Level:
    return Level(
        int(row["Concurrency"]), float(row["Inferences/Second"]), float(row["p50 latency"])
    )


def installed(folder: Path) -> PerfAnalyzer:
    """Install it from its lock."""
    install([package for name, package in LIBRARIES.items() if find_library(name) is None])
    uv = Path(sys.executable).with_name("uv")
    options: Sequence[str] = ("-q", "--no-deps", "--require-hashes", "--python", sys.executable)
    subprocess.run([uv, "pip", "install", *options, "--target", folder, "-r", LOCK], check=True)
    return PerfAnalyzer(
        folder / "bin" / "perf_analyzer", folder / "nvidia" / "cuda_runtime" / "lib"
    )
