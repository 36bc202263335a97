"""What a reader demands of an image beyond that its proof holds. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mopt_api.enums import Aggregate
from mopt_api.metrics import METRICS

_GATE = re.compile(
    r"\s*(?:(?P<aggregate>worst|mean|tolerance)\s+)?(?P<metric>\w+)"
    r"(?:\s+of\s+(?P<part>[^<>=]*[^<>=\s]))?\s*(?P<sign>>=|<=)\s*(?P<limit>[-+.\deE]+)\s*",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class WantedGate:
    """A limit on a figure of quality, as on a command line: `PSNR>=35`, `mean SSIM >= 0.97`.

    Attributes:
        part: An output, a slice, or `SLICE of OUTPUT`; None for the figure of no part.
    """

    text: str
    metric: str
    limit: float
    at_least: bool
    aggregate: Aggregate = Aggregate.WORST
    part: str | None = None

    @classmethod
    def parse(cls, text: str) -> WantedGate:
        """Read a gate.

        Raises:
            ValueError: It is none, of an unknown metric, or has its limit on the wrong side.
        """
        found = _GATE.fullmatch(text)
        metrics = {metric.value.lower(): metric for metric in METRICS}
        metric = metrics.get(found["metric"].lower()) if found else None
        try:
            limit = float(found["limit"]) if found else None
        except ValueError:
            limit = None
        if found is None or limit is None:
            raise ValueError(f"{text!r} is no gate; write it as PSNR>=35 or mean SSIM>=0.97")
        if metric is None:
            known = ", ".join(sorted(metric.value for metric in METRICS))
            raise ValueError(f"{text!r}: no metric {found['metric']}; there are {known}")
        at_least = found["sign"] == ">="
        if at_least is not METRICS[metric].higher_is_better:
            better = "larger" if METRICS[metric].higher_is_better else "smaller"
            raise ValueError(f"{text!r}: of {metric.value} the {better} is the better value")
        aggregate = Aggregate((found["aggregate"] or "worst").capitalize())
        return cls(text, metric.value, limit, at_least, aggregate, found["part"])

    def judged(self, figures: Iterable[Mapping[str, Any]]) -> tuple[bool, str]:
        """Return whether the figures of a statement reach it, and the value that says so."""
        value = next((self._value(f) for f in figures if self._is_of(f)), None)
        if value is None:
            of = f" of {self.part}" if self.part else ""
            return False, f"{self.metric}{of} was not measured"
        holds = value >= self.limit if self.at_least else value <= self.limit
        return holds, f"{value:.10g}"

    def _is_of(self, figure: Mapping[str, Any]) -> bool:
        part = " of ".join(str(figure[k]) for k in ("slice", "output") if figure.get(k)) or None
        return figure.get("metric") == self.metric and part == self.part

    def _value(self, figure: Mapping[str, Any]) -> float | None:
        value = figure.get(self.aggregate.value.lower())
        return float(value) if isinstance(value, int | float) else None


@dataclass(frozen=True)
class Wanted:
    """All that a reader demands.

    Attributes:
        data: Digests or URIs of data that must be among what the statement names.
    """

    data: tuple[str, ...] = ()
    gates: tuple[WantedGate, ...] = ()
