"""What is measured in which order, and how long each part may take. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

LIMIT_SECONDS = 465.0
"""From the first line of run.sh: below eight minutes, with room to end a part and write."""


class Work(StrEnum):
    """What a part does."""

    FIGURES = "figures"
    """Eager and compiled forms of a model, and its Linear layers in 8 bits."""
    TUNED = "tuned"
    """Forms with CUDA graphs and max-autotune, which compile for long."""
    STAGE = "stage"
    """Prepare and measure of a GPU target, as its Jobs do; writes a report."""
    TESTS = "tests"
    """tests/gpu."""


@dataclass(frozen=True)
class Part:
    """A process of its own, with a time limit.

    Attributes:
        model: Name of models.MODELS; None where it is about none.
        seconds: Its time box.
        least: It is not started with less time left, in seconds.
    """

    work: Work
    model: str | None
    seconds: float
    least: float

    @property
    def name(self) -> str:
        """Return what tells it from the others."""
        return f"{self.work}-{self.model}" if self.model else str(self.work)


@dataclass(frozen=True)
class Step:
    """A part to start now, and when it is ended, in seconds from now."""

    part: Part
    seconds: float


PARTS = (
    Part(Work.FIGURES, "super_resolution", seconds=120, least=40),
    Part(Work.FIGURES, "transformer", seconds=110, least=40),
    Part(Work.STAGE, "super_resolution", seconds=110, least=60),
    Part(Work.TESTS, None, seconds=60, least=30),
    Part(Work.TUNED, "super_resolution", seconds=75, least=40),
    Part(Work.TUNED, "transformer", seconds=75, least=40),
    Part(Work.STAGE, "transformer", seconds=110, least=60),
)
"""The most valuable first: what is not reached is what README needs least."""


def next_step(waiting: Sequence[Part], elapsed: float, limit: float = LIMIT_SECONDS) -> Step | None:
    """Return what is started now; None where nothing that waits fits into the time left.

    A part that does not fit any more is passed over for a later one that does.

    Args:
        waiting: In the order of their value.
        elapsed: Seconds since the start.
        limit: Seconds for all.
    """
    left = limit - elapsed
    for part in waiting:
        if left >= part.least:
            return Step(part, min(part.seconds, left))
    return None
