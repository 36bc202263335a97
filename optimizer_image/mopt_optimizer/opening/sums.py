"""Sizes that models write as sums of others: past_sequence_length + 1, s14 + s27. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_NAME = r"[A-Za-z_]\w*"
_TERM = re.compile(rf"(?:(\d{{1,3}})\s*\*\s*)?({_NAME})|(\d{{1,6}})")
_MOST_TIMES = 3


@dataclass(frozen=True)
class Sum:
    """Names, one as often as it counts, and a number."""

    names: tuple[str, ...]
    plus: int = 0

    def of(self, sizes: Mapping[str, int]) -> int:
        """Return the sum, where sizes has every name."""
        return sum(sizes[name] for name in self.names) + self.plus


def parse_sum(text: str) -> Sum | None:
    """Return a sum of names and positive numbers; None for a single name and for all else."""
    names: list[str] = []
    plus = 0
    for part in text.strip("() ").split("+"):
        found = _TERM.fullmatch(part.strip())
        if found is None:
            return None
        times, name, number = found.groups()
        if name is None:
            plus += int(number)
        elif int(times or 1) > _MOST_TIMES:
            return None
        else:
            names += [name] * int(times or 1)
    # A multiple of one size is a size of its own, in steps.
    return Sum(tuple(names), plus) if len(set(names)) > 1 or (names and plus) else None
