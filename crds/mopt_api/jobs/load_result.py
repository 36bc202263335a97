"""The trials of a variant under load, in result.json: the curve behind VariantFigures.load."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from mopt_api.base import Count, ObservedModel, PerSecond
from mopt_api.figures import Latency, Serving


class LoadStop(StrEnum):
    """Why a search for the best configuration ended."""

    CONVERGED = "Converged"
    BUDGET = "Budget"


class LoadTrial(ObservedModel):
    """One run of LoadGen."""

    serving: Serving = Field(description="The configuration tried.")
    offered: PerSecond | None = Field(
        default=None, description="Requests per second that arrived; null for Offline."
    )
    throughput: PerSecond = Field(description="Samples per second that were computed.")
    latency_ms: Latency = Field(description="From arrival to result.")
    queries: Count = Field(description="Requests completed.")
    seconds: float = Field(ge=0, description="Time that it took.")
    throttled: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Share of the CPU quota's periods in which it was used up; null without one.",
    )
    valid: bool = Field(description="Whether LoadGen calls it valid and the bound was kept.")
    message: str | None = Field(default=None, max_length=256, description="Why it is not valid.")


class LoadSearch(ObservedModel):
    """The search for the best configuration of one variant."""

    trials: list[LoadTrial] = Field(default=[], max_length=256, description="In their order.")
    stopped: LoadStop = Field(description="Why it ended.")
    seconds: float = Field(ge=0, description="Time that it took.")
    message: str | None = Field(
        default=None, max_length=256, description="Why no configuration was found."
    )
