"""spec.benchmark.load: how speed is measured under load.

Scenarios and validity are MLPerf Inference's (LoadGen); what it calls SingleStream is a benchmark
point without load: one call after the other.
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from .base import ApiModel


class LoadScenario(StrEnum):
    """How requests arrive."""

    OFFLINE = "Offline"
    """A queue that is never empty: the most that is computed in a second."""
    SERVER = "Server"
    """At random, as a Poisson process of a rate: the highest rate within the latency bound."""


class Load(ApiModel):
    """How speed is measured under load, at the objective's point."""

    scenario: LoadScenario = Field(
        default=LoadScenario.SERVER,
        description="Server: requests arrive at random, and the highest rate is found that keeps "
        "the tightest latency of objective.constraints. Offline: a queue that is never empty.",
    )
    duration_seconds: float = Field(
        default=10.0, ge=1, le=600, description="Minimum time of a trial whose figures count."
    )
    budget_seconds: float = Field(
        default=300.0,
        ge=10,
        le=21600,
        description="Time for the search for the best instances, threads and batch, per variant.",
    )
    maximum_batch: int = Field(
        default=8,
        ge=1,
        le=1024,
        description="Largest batch tried, where the inputs have a dimension named batch.",
    )
