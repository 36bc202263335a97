"""`spec` of a ModelOptimization: what the user asks for."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic.config import JsonDict

from . import metric_rules, size_rules
from .base import ApiModel, Name, OutputUri, Rule
from .benchmark import Benchmark
from .data import DataSpec
from .enums import Aggregate, QualityMetric
from .inputs import (
    CLAIM_RULES,
    AnyDimension,
    DimensionRange,
    DimensionSum,
    InputSpec,
    ModelSource,
    SecretRef,
    every_dimension,
)
from .load import LoadScenario
from .metrics import listed, names
from .objective import LATENCIES, Objective
from .publishing import Publish
from .quantities import Quantity
from .unseen import LEAST_SAMPLES
from .variants import Variant

MOST_INPUTS = 64
"""A decoder has two caches for each of its layers."""


class Resources(ApiModel):
    """Compute resources of the Job's container, as in a Pod."""

    requests: dict[str, Quantity] = Field(
        default={}, max_length=8, description="Guaranteed amounts, such as cpu and memory."
    )
    limits: dict[str, Quantity] = Field(
        default={},
        max_length=8,
        description="Upper bounds. The CPU limit sets how many threads a measurement uses.",
    )


# A label value of Kueue's: the name of a LocalQueue.
QueueName = Annotated[
    str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
]


class Target(ApiModel):
    """Hardware to measure on."""

    name: Name = Field(description="Unique name, shown in status.")
    profile: Name | None = Field(
        default=None,
        description="An OptimizationProfile, which the administrator defines. "
        "Omitted, the one named default.",
    )
    node_selector: dict[str, Annotated[str, Field(max_length=63)]] = Field(
        default={},
        max_length=8,
        description="Labels a node must have, in addition to the profile's.",
    )
    queue_name: QueueName | None = Field(
        default=None,
        description="Kueue LocalQueue for this target's Job. Omitted, execution.queueName.",
    )
    resources: Resources | None = Field(
        default=None, description="Compute resources. Omitted, the profile's."
    )


OutputName = Annotated[str, Field(min_length=1, max_length=128)]
AxisIndex = Annotated[int, Field(ge=0, le=2**31 - 1)]


class OutputSlice(ApiModel):
    """A part of an output that holds one quantity, such as a detector's boxes."""

    name: Name = Field(description="Name in results and messages.")
    axis: int = Field(default=-1, ge=-8, le=7, description="Axis of the output; -1 is the last.")
    range: list[AxisIndex] = Field(
        min_length=2,
        max_length=2,
        description="First index on the axis, and the one after the last: [0, 4] is 0, 1, 2, 3.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )

    RULES = (
        Rule(
            "self.range[0] < self.range[1]",
            "range is the first index and the one after the last: the second must be larger",
            lambda part: part.range[0] < part.range[1],
        ),
    )


class QualityGate(ApiModel):
    """What a variant's output must reach to be eligible."""

    metric: QualityMetric = Field(description=metric_rules.meanings())
    minimum: float | None = Field(
        default=None,
        ge=-200,
        le=200,
        description=f"Smallest value that passes; for all metrics except {metric_rules.LOWER}.",
    )
    aggregate: Aggregate = Field(
        default=Aggregate.WORST,
        description="Judge the worst sample, the mean of all, or the Tolerance: the value that, "
        "with 95 % confidence, at least 95 % of new samples reach; it needs "
        f"{LEAST_SAMPLES} evaluation samples.",
    )
    data_range: float = Field(
        default=1.0,
        gt=0,
        description="Span of the output's values (peak of PSNR): 1 for images in 0 to 1. "
        f"Never derived from the data. Only {listed(names(needs_range=True))} depend on it.",
    )
    maximum: float | None = Field(
        default=None,
        ge=0,
        le=1e12,
        description=f"Largest value that passes; for {metric_rules.LOWER}, where smaller is "
        f"better.",
    )
    output: OutputName | None = Field(
        default=None,
        description="Name of the output to judge. Omitted, each output, and each part that "
        "differs in scale from the rest of its output; the worst decides.",
    )
    slice: OutputSlice | None = Field(
        default=None,
        description="Part to judge of that output; without output, of the model's only one.",
    )

    RULES = (
        Rule(
            "has(self.minimum) != has(self.maximum)",
            "a gate needs either minimum or maximum",
            lambda g: (g.minimum is None) != (g.maximum is None),
        ),
        *metric_rules.bound_rules(),
    )

    @model_validator(mode="after")
    def _bound_of_its_metric(self) -> Self:
        """Hold a metric that an extension added to its row, as RULES hold those of the CRD."""
        if (fault := metric_rules.bound_fault(self)) is not None:
            raise ValueError(fault)
        return self

    @property
    def part(self) -> tuple[str | None, str | None]:
        """The output and the slice that it judges, by name, as a QualityResult has them."""
        return self.output, self.slice.name if self.slice else None

    @property
    def figure(self) -> str:
        """What has to be computed for it, beside its dataRange: gates of one figure share it."""
        where = [f"of {self.output}"] if self.output else []
        if self.slice is not None:
            first, end = self.slice.range
            where.append(f"{self.slice.name}, axis {self.slice.axis}, {first}:{end}")
        return " ".join([self.metric.value, *where])

    def passes(self, value: float) -> bool:
        """Return whether a value of the metric passes; NaN never does."""
        if self.maximum is not None:
            return value <= self.maximum
        return self.minimum is not None and value >= self.minimum


class Output(ApiModel):
    """Where artifacts and results go."""

    uri: OutputUri = Field(
        description="Prefix to write under, s3://BUCKET/PREFIX, or a folder of a "
        "PersistentVolumeClaim in the resource's namespace, pvc://CLAIM/PATH."
    )
    credentials_secret_ref: SecretRef | None = Field(
        default=None, description="Credentials of the store."
    )

    RULES = CLAIM_RULES


PROGRESS_DEADLINE_SECONDS = 600


class Execution(ApiModel):
    """How the Jobs run."""

    active_deadline_seconds: int = Field(
        default=3600, ge=10, le=86400, description="Maximum run time of a Pod once it has started."
    )
    backoff_limit: int = Field(
        default=2, ge=0, le=6, description="Retries of a Job after a failure that may be transient."
    )
    # No default in the schema: the API server would put it into every resource, also into those
    # that an older operator reads, which does not know the field.
    progress_deadline_seconds: int | None = Field(
        default=None,
        ge=10,
        le=2147483647,
        description="How long the run may wait without any progress, for a node, an image, a "
        "Secret or quota, until it is Stalled. It goes on once the obstacle is gone. A wait for "
        f"its turn does not count. Omitted, {PROGRESS_DEADLINE_SECONDS}, as a Deployment's.",
    )
    suspend: bool = Field(
        default=False,
        description="Run no Jobs: running ones are deleted, results are kept. False resumes.",
    )
    queue_name: QueueName | None = Field(
        default=None,
        description="Kueue LocalQueue in the resource's namespace, set as the Jobs' label "
        "kueue.x-k8s.io/queue-name.",
    )
    ttl_seconds_after_finished: int | None = Field(
        default=None,
        ge=0,
        le=2147483647,
        description="How long a finished Job is kept once its result is in status. Omitted, the "
        "administrator's default (Helm values, ttlSecondsAfterFinished).",
    )

    @property
    def longest_wait_seconds(self) -> int:
        """How long the run may wait without any progress."""
        return self.progress_deadline_seconds or PROGRESS_DEADLINE_SECONDS


def _unknown_dimensions(spec: ModelOptimizationSpec) -> set[str]:
    names = {size for i in spec.inputs for size in i.shape if isinstance(size, str)}
    return names - set(spec.dimensions) - set(spec.derived_dimensions)


def _named(key: str, *more: str) -> JsonDict:
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key, *more]}


class ModelOptimizationSpec(ApiModel):
    """The model, its inputs, real data, the hardware, the quality gates and the objective."""

    model: ModelSource = Field(description="The trained model to optimize.")
    inputs: list[InputSpec] = Field(
        min_length=1,
        max_length=MOST_INPUTS,
        description="The model's inputs.",
        json_schema_extra=_named("name"),
    )
    dimensions: dict[str, DimensionRange] = Field(
        default={},
        max_length=16,
        description="Ranges of the dimensions in inputs. Each stays dynamic in the artifacts.",
    )
    derived_dimensions: dict[str, DimensionSum] = Field(
        default={},
        max_length=8,
        description="Dimensions that are sums of those under dimensions, such as the length of an "
        "attention mask beside a cache. Their sizes follow; a benchmark point does not name them.",
    )
    data: DataSpec = Field(default=DataSpec(), description="Real calibration and evaluation data.")
    variants: list[Variant] | None = Field(
        default=None,
        min_length=1,
        max_length=12,
        description="Variants to try. Omitted, those that may win with this model, data and "
        "hardware (listed in docs/api.md). The source model is always measured too, as "
        "baseline.",
        json_schema_extra=_named("name"),
    )
    targets: list[Target] = Field(
        default=[],
        max_length=8,
        description="Hardware to measure on. Omitted, one target named default.",
        json_schema_extra=_named("name"),
    )
    quality: list[QualityGate] = Field(
        default=[],
        max_length=4,
        description="Gates a variant must pass, judged against the FP32 output; with "
        "data.evaluation.references against ground truth, which the baseline must pass "
        "too.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    objective: Objective = Field(default=Objective(), description="How the winner is chosen.")
    benchmark: Benchmark = Field(default=Benchmark(), description="How speed is measured.")
    output: Output | None = Field(
        default=None,
        description="Where artifacts and results go. Omitted, the Helm value defaultOutput.",
    )
    publish: Publish | None = Field(
        default=None, description="Where what to serve is published by digest. Omitted, nowhere."
    )
    execution: Execution = Field(default=Execution(), description="How the Jobs run.")

    RULES = (
        Rule(
            "self.inputs.all(i, i.shape.all(d, type(d) == int || "
            "(has(self.dimensions) && d in self.dimensions) || "
            "(has(self.derivedDimensions) && d in self.derivedDimensions)))",
            "every name in an input's shape must be declared under dimensions or derivedDimensions",
            lambda s: not _unknown_dimensions(s),
        ),
        Rule(
            "!has(self.quality) || size(self.quality) == 0 || "
            "(has(self.data) && has(self.data.evaluation))",
            "quality needs data.evaluation: gates are judged on real data only",
            lambda s: not s.quality or s.data.evaluation is not None,
        ),
        Rule(
            "!has(self.benchmark) || !has(self.benchmark.points) || "
            "self.benchmark.points.all(p, !has(p.dimensions) || p.dimensions.all(k, "
            "has(self.dimensions) && k in self.dimensions && "
            "p.dimensions[k] >= self.dimensions[k].min && "
            "p.dimensions[k] <= self.dimensions[k].max))",
            "a benchmark point's dimensions must be declared and lie between min and max",
            lambda s: all(
                name in s.dimensions and s.dimensions[name].min <= size <= s.dimensions[name].max
                for point in s.benchmark.points
                for name, size in point.dimensions.items()
            ),
        ),
        Rule(
            "!has(self.objective) || !has(self.objective.point) || (has(self.benchmark) && "
            "has(self.benchmark.points) && "
            "self.benchmark.points.exists(p, p.name == self.objective.point))",
            "objective.point must name one of benchmark.points",
            lambda s: (
                s.objective.point is None
                or s.objective.point in {p.name for p in s.benchmark.points}
            ),
        ),
        Rule(
            "!has(self.benchmark) || !has(self.benchmark.load) || "
            "self.benchmark.load.scenario != 'Server' || (has(self.objective) && "
            "has(self.objective.constraints) && self.objective.constraints.exists(c, c.metric in ["
            + ", ".join(f"'{metric}'" for metric in LATENCIES)
            + "]))",
            "benchmark.load with scenario Server needs a latency in objective.constraints",
            lambda s: (
                s.benchmark.load is None
                or s.benchmark.load.scenario is not LoadScenario.SERVER
                or bool(s.objective.latency_bounds)
            ),
        ),
        *size_rules.derived_rules(),
        *metric_rules.gate_rules(),
        size_rules.opt_rule(),
        size_rules.points_rule(),
    )

    @property
    def every_dimension(self) -> dict[str, AnyDimension]:
        """The dimensions, with those that are sums of them."""
        return every_dimension(self.dimensions, self.derived_dimensions)
