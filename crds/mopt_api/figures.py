"""What is reported of a variant wherever it is reported: states, quality, speed, hardware."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from .base import ObservedModel
from .enums import ModelFormat, QualityMetric

# JSON has no Infinity; identical outputs report this many dB and exact: true.
EXACT_PSNR_DB = 200.0


class VariantState(StrEnum):
    """How a variant ended."""

    PASSED = "Passed"
    REJECTED = "Rejected"
    FAILED = "Failed"
    SKIPPED = "Skipped"
    BUILT = "Built"
    """An engine for a GPU that is not here: never run, so never a winner."""


class VariantReason(StrEnum):
    """Why a variant is not Passed."""

    QUALITY_GATE = "QualityGate"
    NO_CALIBRATION_DATA = "NoCalibrationData"
    NO_NATIVE_BF16 = "NoNativeBF16"
    NO_COMPILER = "NoCompiler"
    NO_ACCELERATOR = "NoAccelerator"
    NO_NATIVE_FP8 = "NoNativeFP8"
    TOO_SLOW = "TooSlow"
    BUILD_FAILED = "BuildFailed"
    CRASHED = "Crashed"
    TIMED_OUT = "TimedOut"
    OUT_OF_MEMORY = "OutOfMemory"
    NON_FINITE_OUTPUT = "NonFiniteOutput"


class QualityReference(StrEnum):
    """What quality figures compare outputs with."""

    BASELINE = "Baseline"
    GROUND_TRUTH = "GroundTruth"


class SourceInfo(ObservedModel):
    """What the model file was found to be."""

    sha256: str = Field(max_length=64, description="SHA-256 of the file, verified.")
    format: ModelFormat = Field(description="Format it was read as.")
    size_bytes: int = Field(ge=0, description="Size of the file.")
    opset: int | None = Field(default=None, description="ONNX opset of the exported model.")
    parameters: int | None = Field(default=None, description="Number of trained values.")


class Latency(ObservedModel):
    """Time of one call, in milliseconds, host to host."""

    p50: float = Field(description="Median.")
    p90: float = Field(description="90th percentile.")
    p99: float = Field(description="99th percentile.")


class QualityResult(ObservedModel):
    """Agreement with the reference's outputs over the evaluation samples."""

    metric: QualityMetric = Field(description="What was computed.")
    worst: float = Field(
        description="Value of the worst sample: the smallest, of MaxAbsError the largest."
    )
    mean: float = Field(description="Mean over the samples.")
    exact: bool = Field(default=False, description="Every output is identical to the reference's.")
    per_sample: list[float] | None = Field(
        default=None, description="Value of each sample, in the data's order."
    )


class Gpu(ObservedModel):
    """The NVIDIA GPU, or the MIG slice of one, that the Job was given."""

    name: str = Field(max_length=64, description="As the driver calls it.")
    compute_capability: str = Field(max_length=8, description="Such as 8.9.")
    memory_bytes: int | None = Field(default=None, description="Its memory.")
    driver: str | None = Field(default=None, max_length=32, description="Version of the driver.")
    mig: bool | None = Field(default=None, description="True for a MIG slice; absent otherwise.")


class Hardware(ObservedModel):
    """What was measured on."""

    cpu: str | None = Field(default=None, max_length=128, description="CPU model.")
    architecture: str | None = Field(default=None, max_length=32, description="As uname -m.")
    cpu_features: list[str] = Field(
        default=[], description="Instruction sets that matter to inference."
    )
    threads: int | None = Field(default=None, description="Threads each runtime used.")
    memory_bytes: int | None = Field(default=None, description="Memory limit or size.")
    node: str | None = Field(default=None, max_length=253, description="Node's name.")
    gpu: Gpu | None = Field(default=None, description="The GPU; absent where it is a CPU target.")
