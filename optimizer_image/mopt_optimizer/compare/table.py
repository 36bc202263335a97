"""The strategy table's rows, and the table as text or Markdown. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from mopt_api.enums import QualityMetric
from mopt_api.figures import Latency, QualityResult
from mopt_api.metrics import metric_in_words

NOT_MEASURED = "not measured"
_HEADINGS = ("Strategy", "Runtime", "Size reduction", "CPU speedup", "p50 ms")


class State(StrEnum):
    """How a row ended."""

    MEASURED = "Measured"
    NOT_MEASURED = "NotMeasured"
    FAILED = "Failed"


@dataclass(frozen=True)
class Row:
    """One strategy.

    Attributes:
        reason: Why it is not measured, or failed.
        size_bytes: Of the file that would be served.
        size_reduction_percent: Against the FP32 program's file; negative where it grew.
        latency_ms: Of one call on the first sample, host to host.
        cpu_speedup: Median of PyTorch FP32 eager over its own.
        quality: Against the FP32 outputs, over all samples.
        runs: Calls timed.
    """

    name: str
    precision: str
    state: State
    runtime: str | None = None
    reason: str | None = None
    size_bytes: int | None = None
    size_reduction_percent: float | None = None
    latency_ms: Latency | None = None
    cpu_speedup: float | None = None
    quality: tuple[QualityResult, ...] = ()
    runs: int = 0

    def value(self, metric: QualityMetric) -> float | None:
        """Return the worst sample's value of a metric, None where it was not computed."""
        return next((s.worst for s in self.quality if s.metric == metric), None)


@dataclass(frozen=True)
class StrategyTable:
    """A measured comparison.

    Attributes:
        rows: The baseline first.
        samples: Over which quality was told.
        calibration_samples: None where the samples themselves served.
        input_shapes: Of the sample that was timed.
    """

    rows: tuple[Row, ...]
    cpu: str | None
    threads: int
    samples: int
    calibration_samples: int | None
    measured_at: datetime
    input_shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def row(self, name: str) -> Row:
        """Return a row by name; KeyError where there is none."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(name)

    def caption(self) -> str:
        """Return when, where and on what it was measured."""
        shapes = ", ".join(f"{n} {'x'.join(map(str, s))}" for n, s in self.input_shapes.items())
        calibrated = (
            "INT8 calibrated on the same samples"
            if self.calibration_samples is None
            else f"INT8 calibrated on {self.calibration_samples} others"
        )
        return (
            f"{self.measured_at:%Y-%m-%d}, {self.cpu or 'unknown CPU'}, {self.threads} threads, "
            f"{shapes}; quality: worst of {self.samples} samples against FP32, {calibrated}"
        )

    def cells(self) -> list[tuple[str, ...]]:
        """Return heading and rows as text."""
        metrics = list(dict.fromkeys(s.metric for row in self.rows for s in row.quality))
        table = [(*_HEADINGS, *metrics)]
        for row in self.rows:
            if row.state is State.MEASURED:
                table.append(_measured(row, metrics))
            else:
                word = NOT_MEASURED if row.state is State.NOT_MEASURED else "failed"
                blanks = [""] * (len(table[0]) - 3)
                table.append((row.name, "", f"{word}: {row.reason}", *blanks))
        return table

    def render(self) -> str:
        """Return the table as plain text in columns, its caption last."""
        cells = self.cells()
        wide = [row for row in cells if any(row[3:])]
        widths = [max(len(row[i]) for row in wide) for i in range(len(cells[0]))]
        widths[0] = max(len(row[0]) for row in cells)
        lines = [
            "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
            for row in cells
        ]
        lines.insert(1, "  ".join("-" * width for width in widths))
        return "\n".join([*lines, self.caption()])

    def markdown(self) -> str:
        """Return the table as Markdown, its caption last."""
        head, *rows = self.cells()
        lines = [_line(head), _line(["---"] * len(head)), *map(_line, rows)]
        return "\n".join([*lines, "", self.caption()])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _measured(row: Row, metrics: Sequence[QualityMetric]) -> tuple[str, ...]:
    reduction, speedup, latency = row.size_reduction_percent, row.cpu_speedup, row.latency_ms
    return (
        row.name,
        row.runtime or "",
        "" if reduction is None else f"{reduction:.1f} %",
        "" if speedup is None else f"{speedup:.2f}x",
        "" if latency is None else f"{latency.p50:.2f}",
        *(_quality(row.value(metric), metric) for metric in metrics),
    )


def _quality(value: float | None, metric: QualityMetric) -> str:
    if value is None:
        return "reference"
    return metric_in_words(metric, value)
