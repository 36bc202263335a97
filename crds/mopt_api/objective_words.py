"""What an objective's ratio is called: a smaller file is not faster. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from .enums import ObjectiveMetric


@dataclass(frozen=True)
class Words:
    """Words of one objective.

    Attributes:
        heading: Of the column with ratios to the baseline.
        ratio: How much better something is than another, a format of `ratio` and `other`.
        best: What the best of several is.
        digits: Of a ratio, after the point.
    """

    heading: str
    ratio: str
    best: str
    digits: int = 1

    def better(self, value: float, other: str, *, digits: int | None = None) -> str:
        """Return a ratio as words, such as 3.0x smaller than the baseline."""
        shown = f"{value:.{self.digits if digits is None else digits}f}x"
        return self.ratio.format(ratio=shown, other=other)


_SPEED = Words("SPEEDUP", "{ratio} over {other}", "fastest", digits=2)
_WORDS = {
    ObjectiveMetric.SIZE_BYTES: Words("SMALLER", "{ratio} smaller than {other}", "smallest"),
    ObjectiveMetric.PEAK_MEMORY: Words(
        "LESS MEMORY", "uses {ratio} less memory than {other}", "most frugal"
    ),
}


def words_of(metric: ObjectiveMetric | None) -> Words:
    """Return an objective's words; without one those of speed."""
    return _WORDS.get(metric, _SPEED) if metric is not None else _SPEED
