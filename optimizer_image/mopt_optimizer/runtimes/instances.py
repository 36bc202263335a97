"""Several instances of a model that compute at the same time: how each runtime opens them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .base import Feeds, Runner

Batches = Callable[[Sequence[int]], Feeds]
"""From the numbers of some samples to their inputs, as one batch."""
Compute = Callable[[Sequence[int]], None]
"""Computes some samples, host to host; raises RuntimeFailure. Each is called by one thread."""


def computed(runner: Runner, batches: Batches, samples: Sequence[int]) -> None:
    """Compute samples as one batch."""
    runner.run(batches(samples))
