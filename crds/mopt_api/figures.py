"""What every report of a variant holds: state, quality, speed, hardware."""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from typing import Annotated, TypeVar

from pydantic import Field

from .base import Count, Digest, Milliseconds, ObservedModel, PerSecond, Ratio
from .enums import Aggregate, ModelFormat, QualityMetric
from .metrics import listed, names
from .unseen import tolerance
from .verdict import Bounds

# JSON has no Infinity; identical outputs report this many dB and exact: true.
EXACT_PSNR_DB = 200.0


class VariantState(StrEnum):
    """How a variant ended."""

    PASSED = "Passed"
    REJECTED = "Rejected"
    FAILED = "Failed"
    SKIPPED = "Skipped"
    BUILT = "Built"
    """An engine for a GPU that is not present: never run, so never a winner."""


class VariantReason(StrEnum):
    """Why a variant is not Passed."""

    QUALITY_GATE = "QualityGate"
    NO_CALIBRATION_DATA = "NoCalibrationData"
    NO_NATIVE_BF16 = "NoNativeBF16"
    NO_COMPILER = "NoCompiler"
    NO_ACCELERATOR = "NoAccelerator"
    NO_NATIVE_FP8 = "NoNativeFP8"
    SATURATES = "Saturates"
    TOO_SLOW = "TooSlow"
    BUILD_FAILED = "BuildFailed"
    CRASHED = "Crashed"
    TIMED_OUT = "TimedOut"
    OUT_OF_MEMORY = "OutOfMemory"
    NON_FINITE_OUTPUT = "NonFiniteOutput"
    CONSTANT_CHANNEL = "ConstantChannel"
    OTHER_FUNCTION = "OtherFunction"
    CONSTRAINT = "Constraint"
    """It misses a bound of objective.constraints, which is no matter of quality."""


class QualityReference(StrEnum):
    """What outputs are compared with for quality."""

    BASELINE = "Baseline"
    GROUND_TRUTH = "GroundTruth"


AIMED_BY_EVALUATION = "Evaluation"
AIMED_IN_WORDS = (
    "its FP32 layers were searched again by what the evaluation data showed, so its quality is not "
    "that on unseen data"
)
MOST_AIM_DECIBELS = 20
"""Further above a gate no search aims: a hundredth of the noise is another model's, or the data is
unlike what it was calibrated on."""

MOST_TAGS = 8
WarningTags = Annotated[
    list[Annotated[str, Field(max_length=40)]],
    Field(
        max_length=MOST_TAGS,
        description="What looks wrong with the data, such as calibration:ColorOrder; result.json "
        "and the report page say more.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    ),
]


class DataDigests(ObservedModel):
    """The data behind a result, by content: digests over names, bytes and what is done to them."""

    calibration: Digest | None = Field(default=None, description="Of data.calibration.")
    evaluation: Digest | None = Field(default=None, description="Of data.evaluation.")
    references: Digest | None = Field(default=None, description="Of the ground truth.")


class SourceInfo(ObservedModel):
    """Facts about the model file."""

    sha256: str = Field(max_length=64, description="SHA-256 of the file, verified.")
    format: ModelFormat = Field(description="Format it was read as.")
    size_bytes: Count = Field(description="Size of the file.")
    opset: Count | None = Field(default=None, description="ONNX opset of the exported model.")
    parameters: Count | None = Field(default=None, description="Number of trained values.")


class Latency(ObservedModel):
    """Time of one call, in milliseconds, host to host."""

    p50: Milliseconds = Field(description="Median.")
    p90: Milliseconds = Field(description="90th percentile.")
    p99: Milliseconds = Field(description="99th percentile.")


class Serving(ObservedModel):
    """How a form is served: so many copies, each with so many threads, computing such batches."""

    instances: int = Field(ge=1, le=1024, description="Copies that compute at the same time.")
    threads: int = Field(ge=1, le=1024, description="Compute threads of each copy.")
    batch: int = Field(ge=1, le=65536, description="Samples in a call.")

    @property
    def in_words(self) -> str:
        """For people: 2 copies x 1 thread, batch 1."""
        copies = "copy" if self.instances == 1 else "copies"
        threads = "thread" if self.threads == 1 else "threads"
        return f"{self.instances} {copies} x {self.threads} {threads}, batch {self.batch}"


class LoadFigures(ObservedModel):
    """What the best configuration found reaches under load."""

    scenario: str = Field(max_length=16, description="Server or Offline.")
    serving: Serving = Field(description="The configuration.")
    throughput: PerSecond = Field(
        description="Samples per second: of Server the highest rate that kept the bound."
    )
    latency_ms: Latency = Field(
        description="From a request's arrival to its result, queueing included, at that rate."
    )
    queries: Count = Field(description="Requests behind the figures.")


class QualityResult(ObservedModel):
    """Agreement with the reference's outputs over the evaluation samples.

    Without output and slice it is that of the worst output, or of the worst part of one.
    """

    metric: QualityMetric = Field(description="Metric that was computed.")
    worst: float = Field(
        description="Value of the worst sample: the smallest, of "
        f"{listed(names(higher_is_better=False))} the largest."
    )
    mean: float = Field(description="Mean over the samples.")
    exact: bool = Field(default=False, description="Every output is identical to the reference's.")
    output: str | None = Field(
        default=None, max_length=128, description="The output compared, as its gate names it."
    )
    slice: str | None = Field(
        default=None, max_length=40, description="Name of the gate's slice of it."
    )
    part: str | None = Field(
        default=None,
        max_length=96,
        description="Where the worst value is, among several outputs or parts of different scale: "
        "boxes[..., 4:84].",
    )
    per_sample: list[float] | None = Field(
        default=None, description="Value of each sample, in the data's order."
    )
    tolerance: float | None = Field(
        default=None,
        description="Where a gate judges it: the value that, with 95 % confidence, at least 95 % "
        "of new samples reach.",
    )

    def value(self, aggregate: Aggregate) -> float | None:
        """Return what a gate of this aggregate judges; None where the samples do not show it."""
        match aggregate:
            case Aggregate.WORST:
                return self.worst
            case Aggregate.MEAN:
                return self.mean
            case Aggregate.TOLERANCE if self.tolerance is None:
                return tolerance(self.metric, self.per_sample or ())
            case Aggregate.TOLERANCE:
                return self.tolerance

    def is_of(self, output: str | None, part: str | None) -> bool:
        """Return whether it is of an output and a slice, by their names or their short digest."""
        return (self.output, self.slice) in ((output, part), (short_part(output, part), None))


def short_part(output: str | None, part: str | None) -> str | None:
    """Return seven characters in place of the names of an output and a slice; None for neither."""
    if output is None and part is None:
        return None
    return f"#{hashlib.sha256(json.dumps([output, part]).encode()).hexdigest()[:6]}"


# The three parts below are mixed in that order, the last part first: so fields keep their order.


class JudgedVariant(ObservedModel):
    """What a variant is, and how it ended. Closed sets are open here: a reader may be older."""

    name: str = Field(max_length=40, description="The variant's name.")
    runtime: str = Field(max_length=32, description="Runtime that executed it.")
    precision: str = Field(max_length=16, description="Precision it computed in.")
    float_precision: str | None = Field(
        default=None,
        max_length=16,
        description="Precision of what is not INT8, where that is not FP32.",
    )
    state: str = Field(
        max_length=16,
        description="Passed, Rejected (a gate, or a constraint), Failed, Skipped (cannot run "
        "here), or Built (an engine for a GPU that is not present: it has not been run).",
    )
    reason: str | None = Field(default=None, max_length=64, description="Why it is not Passed.")
    message: str | None = Field(default=None, max_length=1024, description="Details of the reason.")
    speedup: Ratio | None = Field(
        default=None, description="Over the baseline, in the objective's metric."
    )
    speedup_interval: Bounds | None = Field(
        default=None, description="Bounds of the speedup, with the verdict's confidence."
    )
    speedup_over_fastest_fp32: Ratio | None = Field(
        default=None,
        alias="speedupOverFastestFP32",
        description="Over the fastest FP32 runtime measured.",
    )


class PointFigures(ObservedModel):
    """Figures of a variant at the objective's point, and of its file."""

    latency_ms: Latency | None = Field(default=None, description="Latency in milliseconds.")
    throughput: PerSecond | None = Field(default=None, description="Samples per second.")
    runs: Count | None = Field(
        default=None,
        description="Calls behind the latency: from fewer than 64 p90 is rather the largest, from "
        "fewer than 662 p99.",
    )
    size_bytes: Count | None = Field(default=None, description="Size of the artifact.")


class VariantFigures(ObservedModel):
    """Figures of a variant that hold at every point, wherever it is reported: in result.json, the
    termination message and status. A new one is a line here and where it is measured."""

    peak_memory_bytes: Count | None = Field(
        default=None,
        description="Largest resident set of its process; on a GPU its part of the GPU's memory.",
    )
    quality: list[QualityResult] = Field(
        default=[], max_length=16, description="Agreement with the target's reference."
    )
    aim_decibels: int | None = Field(
        default=None,
        ge=1,
        le=MOST_AIM_DECIBELS,
        description="Where a gate is missed that was held on calibration data: how many dB above "
        "it a second search for the layers that stay FP32 would aim. Absent where there is none "
        "to be made.",
    )
    aimed_by: str | None = Field(
        default=None,
        max_length=16,
        description="Evaluation where the layers that stay FP32 were searched a second time, by "
        "what data.evaluation had shown: its quality is not that on unseen data.",
    )
    load: LoadFigures | None = Field(
        default=None, description="Speed under load, where benchmark.load asks for it."
    )


Kind = TypeVar("Kind", bound=ObservedModel)


def converted(source: ObservedModel, kind: type[Kind], **changed: object) -> Kind:
    """Return one report of a variant as another kind: the fields that both have, by name.

    Args:
        changed: Fields of the new one that are not copied.

    Raises:
        ValidationError: A value that the other kind does not take, as of a newer version.
    """
    shared = kind.model_fields.keys() & type(source).model_fields.keys()
    return kind.model_validate({name: getattr(source, name) for name in shared} | changed)


class Gpu(ObservedModel):
    """The NVIDIA GPU, or the MIG slice of one, that the Job was given."""

    name: str = Field(max_length=64, description="Name that the driver reports.")
    compute_capability: str = Field(max_length=8, description="Such as 8.9.")
    memory_bytes: Count | None = Field(default=None, description="Its memory in bytes.")
    driver: str | None = Field(default=None, max_length=32, description="Version of the driver.")
    mig: bool | None = Field(default=None, description="True for a MIG slice; absent otherwise.")


class Hardware(ObservedModel):
    """Hardware that was measured on."""

    cpu: str | None = Field(default=None, max_length=128, description="CPU model.")
    architecture: str | None = Field(default=None, max_length=32, description="As uname -m.")
    cpu_features: list[Annotated[str, Field(max_length=64)]] = Field(
        default=[], max_length=64, description="Instruction sets that matter to inference."
    )
    threads: Count | None = Field(default=None, description="Threads each runtime used.")
    cpus: float | None = Field(
        default=None,
        ge=0,
        le=1e6,
        description="CPUs that all threads together could use, where that is not threads.",
    )
    memory_bytes: Count | None = Field(default=None, description="Memory limit or size.")
    node: str | None = Field(default=None, max_length=253, description="Node's name.")
    gpu: Gpu | None = Field(default=None, description="The GPU; absent on a CPU target.")
