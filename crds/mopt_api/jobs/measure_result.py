"""result.json of a measure Job: everything known about one target."""

from __future__ import annotations

from pydantic import Field, JsonValue

from mopt_api.artifacts import Artifact
from mopt_api.base import Digest, Name, ObservedModel, PerSecond, Timestamp
from mopt_api.enums import FloatPrecision, ObjectiveMetric, Precision, Runtime, TorchMode
from mopt_api.figures import (
    Hardware,
    JudgedVariant,
    Latency,
    QualityReference,
    QualityResult,
    SourceInfo,
    VariantFigures,
    VariantReason,
    VariantState,
)
from mopt_api.verdict import MOST_FORMS, Compared, Verdict

from .data_statistics import DataWarning
from .limits import ExecutedLayers, Limit, Peaks, Work
from .load_result import LoadSearch

BASELINE = "baseline"


# Quantiles of a point's calls in result.json: 0, 5, ... 100 %.
LATENCY_QUANTILES = 21


QUALITY_OF_ENGINE = "quality by ONNX Runtime, from the ONNX file that the engine is built from"
"""Message of an engine in state Built whose quality is known."""


class PointResult(ObservedModel):
    """Speed at one benchmark point."""

    point: str = Field(description="Name of the point.")
    dimensions: dict[str, int] = Field(default={}, description="Sizes measured at.")
    latency_ms: Latency = Field(description="Latency.")
    throughput: PerSecond = Field(description="Samples per second, at the point's batch size.")
    runs: int = Field(ge=1, description="Calls measured.")
    rounds: int | None = Field(default=None, ge=1, description="Turns that these calls are of.")
    compared: list[Compared] = Field(
        default=[],
        max_length=4 * MOST_FORMS,
        description="With the baseline and with others beside it, by each latency and throughput.",
    )
    coefficient_of_variation: float = Field(description="Standard deviation over mean latency.")
    quantiles_ms: list[float] = Field(
        default=[],
        max_length=LATENCY_QUANTILES,
        description="Latency at 0, 5, ... 100 % of the calls; 0 is the fastest.",
    )
    unstable: bool = Field(
        default=False,
        description="Disturbed in every repetition, see message.",
    )
    message: str | None = Field(
        default=None, max_length=256, description="The disturbance, with figures."
    )
    work: Work | None = Field(
        default=None, description="What a call has to do at least; null where it is not known."
    )
    limit: Limit | None = Field(
        default=None, description="The least time that this takes here; null where it is not known."
    )


class VariantResult(VariantFigures, JudgedVariant):
    """One form of the model, built, compared and measured."""

    name: Name = Field(description="The variant's name.")
    runtime: Runtime = Field(description="Runtime that executed it.")
    precision: Precision = Field(description="Precision it computed in.")
    float_precision: FloatPrecision | None = Field(
        default=None, description="Precision of what is not INT8, where that is not FP32."
    )
    torch_mode: TorchMode | None = Field(default=None, description="How PyTorch ran it.")
    state: VariantState = Field(description="How it ended.")
    reason: VariantReason | None = Field(default=None, description="Why it is not Passed.")
    artifact: Artifact | None = Field(default=None, description="The file to serve.")
    agreement: list[QualityResult] | None = Field(
        default=None,
        description="Agreement with the baseline's FP32 output, where quality is compared with "
        "ground truth.",
    )
    points: list[PointResult] = Field(default=[], description="Speed at each point.")
    load_search: LoadSearch | None = Field(
        default=None, description="How the configuration in load was found."
    )
    layer_datatypes: dict[str, int] | None = Field(
        default=None,
        description="Of a TensorRT engine: how many of its layers read each type, after fusion.",
    )
    executed: ExecutedLayers | None = Field(
        default=None,
        description="Of OpenVINO and ONNX Runtime on CPUs: what its layers are computed in.",
    )
    seconds: float | None = Field(default=None, description="Time spent on this variant.")
    compile_seconds: float | None = Field(
        default=None, description="Of these, the time PyTorch compiled; part of no latency."
    )

    def at(self, point: str | None) -> PointResult | None:
        """Return its speed at a benchmark point; None where it was not timed there."""
        return next((p for p in self.points if p.point == point), None)

    def compared_with(
        self, other: str, metric: ObjectiveMetric, point: str | None
    ) -> Compared | None:
        """Return how it compares with another form at a point; None where that is not known."""
        found = self.at(point)
        return next(
            (c for c in (found.compared if found else ()) if (c.than, c.metric) == (other, metric)),
            None,
        )


class Disturbance(ObservedModel):
    """Signs that something else ran during a measurement."""

    throttled_periods: int | None = Field(
        default=None, description="CPU quota periods in which the container was throttled."
    )
    steal_seconds: float | None = Field(
        default=None, description="CPU time taken by the hypervisor."
    )
    waited_seconds: float | None = Field(
        default=None,
        description="Time for which the variants' threads were runnable without a CPU.",
    )


class SearchEntry(ObservedModel):
    """Auto's decision on one variant."""

    variant: str = Field(max_length=40, description="The variant's name.")
    taken: bool = Field(description="Whether it was tried.")
    reason: str = Field(max_length=256, description="Why, or why not.")


class OutputSpan(ObservedModel):
    """What the baseline computes over the evaluation data, of one output."""

    name: str = Field(description="The output's name.")
    low: float = Field(description="Smallest finite value.")
    high: float = Field(description="Largest finite value.")


class MeasureResult(ObservedModel):
    """result.json of a measure Job: everything known about one target."""

    target: Name
    source: SourceInfo
    prepared: Digest
    hardware: Hardware
    software: dict[str, str]
    baseline: VariantResult | None = Field(
        default=None, description="null where nothing was measured: a target of kind BuildOnly."
    )
    variants: list[VariantResult] = Field(
        max_length=12, json_schema_extra={"x-kubernetes-list-map-keys": ["name"]}
    )
    selected: Name | None = None
    verdict: Verdict | None = Field(
        default=None,
        description="How sure the selection is; null without a baseline, and of older versions.",
    )
    objective_point: Name | None = Field(default=None, description="null without a baseline.")
    evaluation_digest: str | None = None
    evaluation_samples: int | None = None
    reference: QualityReference | None = Field(
        default=None, description="What quality is compared with; null where nothing was compared."
    )
    references_digest: str | None = Field(
        default=None, description="Over names and contents of the ground truth."
    )
    calibration_digest: str | None = Field(
        default=None, description="Of the calibration data that prepare used."
    )
    search: list[SearchEntry] = Field(
        default=[], description="Where Auto chose the variants: all that it knows."
    )
    warnings: list[DataWarning] = Field(
        default=[],
        description="What looks wrong with the data, and with what is declared of it.",
    )
    outputs: list[OutputSpan] = Field(
        default=[], description="Of the outputs of numbers with a fraction; empty without data."
    )
    peaks: Peaks | None = Field(
        default=None, description="What this hardware reaches at most; null on a GPU target."
    )
    disturbance: Disturbance = Disturbance()
    seconds: dict[str, float] = Field(default={}, description="Time of each step.")
    evaluation_names: list[str] = Field(
        default=[], description="Name of each evaluation sample, in the data's order."
    )
    crops: Digest | None = Field(
        default=None, description="Digest of the Crops; null where outputs are not images."
    )
    measured_at: Timestamp | None = Field(default=None, description="When it ended, RFC 3339, UTC.")
    plan: dict[str, JsonValue] | None = Field(
        default=None, description="The plan of the Job, as JSON; gates as last judged."
    )
    served_from_store: bool = Field(
        default=False,
        exclude=True,
        description="An earlier Job measured it; no part of result.json, which is that Job's.",
    )

    @property
    def everyone(self) -> list[VariantResult]:
        """The baseline, where there is one, and the variants."""
        return [*([self.baseline] if self.baseline else []), *self.variants]


def left_out(result: MeasureResult) -> list[SearchEntry]:
    """Return the variants that Auto knows but ruled out, which have no row in the result."""
    rows = {variant.name for variant in result.variants}
    return [entry for entry in result.search if entry.variant not in rows]
