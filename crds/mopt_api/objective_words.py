"""What an objective's ratio is called: a smaller file is not faster. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .enums import ObjectiveMetric
from .verdict import ratio_in_words


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

    def better(
        self,
        value: float,
        other: str,
        *,
        digits: int | None = None,
        interval: Sequence[float] | None = None,
    ) -> str:
        """Return a ratio as words, such as 3.0x smaller than the baseline.

        Args:
            interval: Bounds of the ratio, where they are known.
        """
        shown = ratio_in_words(value, interval, self.digits if digits is None else digits)
        return self.ratio.format(ratio=shown, other=other)


_SPEED = Words("SPEEDUP", "{ratio} over {other}", "fastest", digits=2)
_WORDS = {
    ObjectiveMetric.SIZE_BYTES: Words("SMALLER", "{ratio} smaller than {other}", "smallest"),
    ObjectiveMetric.PEAK_MEMORY: Words(
        "LESS MEMORY", "uses {ratio} less memory than {other}", "most frugal"
    ),
    ObjectiveMetric.COST_PER_MILLION: Words(
        "CHEAPER", "{ratio} cheaper than {other}", "cheapest", digits=2
    ),
}


def words_of(metric: ObjectiveMetric | None) -> Words:
    """Return an objective's words; without one those of speed."""
    return _WORDS.get(metric, _SPEED) if metric is not None else _SPEED
