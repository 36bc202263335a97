"""spec.benchmark: how speed is measured."""

from __future__ import annotations

from pydantic import Field

from .base import ApiModel, DimensionSize, Name
from .load import Load


class BenchmarkPoint(ApiModel):
    """Sizes to measure at."""

    name: Name = Field(description="Unique name, shown in the results.")
    dimensions: dict[str, DimensionSize] = Field(
        default={},
        max_length=16,
        description="Size of each named dimension. Omitted ones are at opt.",
    )


LONGER = 2
"""Of minDurationSeconds: how much longer is measured where the winner is not decided."""


class Benchmark(ApiModel):
    """How speed is measured."""

    warmup_seconds: float = Field(
        default=0.5, ge=0, le=60, description="Warm-up time before measuring, per variant."
    )
    min_duration_seconds: float = Field(
        default=3.0,
        ge=0.1,
        le=600,
        description="Time to measure, per variant and point. It ends sooner, from an eighth of "
        "it on, for variants that are certainly not the best and once the winner is certain; it "
        "goes on, up to maxDurationSeconds, while that is open.",
    )
    # No default in the schema: the API server would put it into every resource, also into those
    # that an older operator reads, which does not know the field.
    max_duration_seconds: float | None = Field(
        default=None,
        ge=0.1,
        le=1200,
        description="Longest time to measure, per variant and point, before the winner is named "
        "undecided. Omitted, twice minDurationSeconds; less than that counts as that.",
    )
    points: list[BenchmarkPoint] = Field(
        default=[],
        max_length=8,
        description="Sizes to measure at. Omitted, one point named opt, every dimension at opt.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
        },
    )
    threads: int | None = Field(
        default=None, ge=1, le=256, description="Threads per runtime. Omitted, the CPU limit."
    )
    load: Load | None = Field(
        default=None,
        description="Measure under load too: how many instances, with how many threads and which "
        "batch, serve most. Omitted, one call after the other alone.",
    )

    @property
    def longest_duration_seconds(self) -> float:
        """The longest time to measure each variant at a point."""
        longest = self.max_duration_seconds
        if longest is None:
            return LONGER * self.min_duration_seconds
        return max(longest, self.min_duration_seconds)
