"""What a part tells: rows of gpu.json, one JSON object a line. Pure but for the file."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]
_DIGITS = 5


def rounded(values: Sequence[float]) -> list[float]:
    """Return values with the digits that a clock has."""
    return [float(f"{value:.{_DIGITS}g}") for value in values]


def percentile(values: Sequence[float], share: float) -> float:
    """Return a percentile, interpolated.

    Args:
        values: At least one.
        share: 0 to 1.
    """
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def latency(samples_ms: Sequence[float]) -> Row:
    """Return the statistics of calls, in milliseconds; at least one."""
    mean = statistics.fmean(samples_ms)
    return {
        "p50": percentile(samples_ms, 0.5),
        "p90": percentile(samples_ms, 0.9),
        "p99": percentile(samples_ms, 0.99),
        "calls": len(samples_ms),
        "coefficientOfVariation": statistics.pstdev(samples_ms) / mean,
    }


class Writer:
    """Appends rows to a file, each whole: a process that is killed leaves those before."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, kind: str, **fields: Any) -> None:
        """Append a row."""
        with self._path.open("a") as file:
            file.write(json.dumps({"kind": kind, **fields}) + "\n")


class Reader:
    """Reads what a Writer has written since the last call."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0

    def __call__(self) -> list[Row]:
        """Return the new rows; a line without its end is left for the next call."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        return [json.loads(line) for line in whole.splitlines()]
