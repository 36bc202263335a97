"""What the Jobs return: manifests in the store and their bounded summaries."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import ConfigDict, Field

from mopt_api.base import Digest, ObservedModel
from mopt_api.enums import (
    Aggregate,
    ModelFormat,
    Precision,
    QualityMetric,
    Runtime,
    TargetKind,
    TorchMode,
)

BASELINE = "baseline"

# Quantiles of a point's calls in result.json: 0, 5, ... 100 %.
LATENCY_QUANTILES = 21

QUALITY_OF_ENGINE = "quality by ONNX Runtime, from the ONNX file that the engine is built from"
"""Message of an engine in state Built whose quality is known."""

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


class ArtifactFormat(StrEnum):
    """File format of an artifact."""

    ONNX = "ONNX"
    EXPORTED_PROGRAM = "ExportedProgram"
    TORCH_SCRIPT = "TorchScript"
    TENSORRT_ENGINE = "TensorRTEngine"


class ExternalData(ObservedModel):
    """A file that belongs beside an artifact, at blobs/sha256/HEX under output.uri too."""

    path: str = Field(
        max_length=64,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="Name that the artifact knows it by: keep it beside that file.",
    )
    digest: Digest = Field(description="Digest of the object's bytes.")
    size_bytes: int = Field(ge=0, description="Size of the object.")


class Artifact(ObservedModel):
    """A file in the output store, at blobs/sha256/HEX under output.uri."""

    digest: Digest = Field(description="Digest of the object's bytes.")
    size_bytes: int = Field(ge=0, description="Size of the object, and of externalData's.")
    format: ArtifactFormat = Field(description="File format.")
    uri: str | None = Field(
        default=None, max_length=1200, description="Where it lies, s3://BUCKET/KEY."
    )
    external_data: list[ExternalData] | None = Field(
        default=None,
        max_length=4,
        description="Weights that do not fit into an ONNX file, which ends at 2 GB; the manifest "
        "of a TensorRT engine.",
    )

    @property
    def object_bytes(self) -> int:
        """Size of the object alone."""
        return self.size_bytes - sum(data.size_bytes for data in self.external_data or ())


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


class PointResult(ObservedModel):
    """Speed at one benchmark point."""

    point: str = Field(description="Name of the point.")
    dimensions: dict[str, int] = Field(default={}, description="Sizes measured at.")
    latency_ms: Latency = Field(description="Latency.")
    throughput: float = Field(description="Samples per second, at the point's batch size.")
    runs: int = Field(ge=1, description="Calls measured.")
    coefficient_of_variation: float = Field(description="Standard deviation over mean latency.")
    quantiles_ms: list[float] = Field(
        default=[],
        max_length=LATENCY_QUANTILES,
        description="Latency at 0, 5, ... 100 % of the calls; 0 is the fastest.",
    )
    unstable: bool = Field(
        default=False,
        description="Others had the CPU for part of the time, in every repetition.",
    )
    message: str | None = Field(
        default=None, max_length=256, description="What disturbed it, with figures."
    )


class VariantResult(ObservedModel):
    """One form of the model, built, compared and measured."""

    name: str = Field(max_length=40, description="The variant's name.")
    runtime: Runtime = Field(description="What executed it.")
    precision: Precision = Field(description="Arithmetic it computed in.")
    torch_mode: TorchMode | None = Field(default=None, description="How PyTorch ran it.")
    state: VariantState = Field(description="How it ended.")
    reason: VariantReason | None = Field(default=None, description="Why it is not Passed.")
    message: str | None = Field(default=None, max_length=1024, description="The reason in words.")
    artifact: Artifact | None = Field(default=None, description="The file to serve.")
    peak_memory_bytes: int | None = Field(
        default=None,
        description="Largest resident set of its process; on a GPU its part of the GPU's memory.",
    )
    quality: list[QualityResult] = Field(
        default=[], description="Agreement with the target's reference; what gates judge."
    )
    agreement: list[QualityResult] | None = Field(
        default=None,
        description="Agreement with the baseline's FP32 output, where quality is by ground truth.",
    )
    points: list[PointResult] = Field(default=[], description="Speed at each point.")
    layer_datatypes: dict[str, int] | None = Field(
        default=None,
        description="Of a TensorRT engine: how many of its layers read each type, after fusion.",
    )
    speedup: float | None = Field(
        default=None, description="Over the baseline, in the objective's metric and point."
    )
    speedup_over_fastest_fp32: float | None = Field(
        default=None,
        alias="speedupOverFastestFP32",
        description="Over the fastest FP32 runtime measured, in the same terms.",
    )
    seconds: float | None = Field(default=None, description="Time spent on this variant.")
    compile_seconds: float | None = Field(
        default=None, description="Of these, PyTorch's for compiling; part of no latency."
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


class Disturbance(ObservedModel):
    """Signs that something else ran during a measurement."""

    throttled_periods: int | None = Field(
        default=None, description="CPU quota periods in which the container was held back."
    )
    steal_seconds: float | None = Field(
        default=None, description="CPU time the hypervisor gave to others."
    )
    waited_seconds: float | None = Field(
        default=None,
        description="Time that the variants' threads were ready and others had their CPUs.",
    )


class Verification(ObservedModel):
    """Comparison of the exported model with the source, at one set of sizes."""

    dimensions: dict[str, int] = Field(description="Sizes compared at.")
    max_abs_error: float = Field(description="Largest difference of any output value.")
    passed: bool = Field(description="Within tolerance.")


class PassReport(ObservedModel):
    """What one graph pass did."""

    name: str = Field(description="Name of the pass.")
    outcome: str = Field(description="Kept, NoChange or RolledBack.")
    nodes_before: int = Field(description="Nodes of the graph before.")
    nodes_after: int = Field(description="Nodes of the graph after.")
    seconds: float = Field(description="Time, verification included.")
    message: str | None = Field(default=None, description="Why it was rolled back.")


class PreparedArtifact(ObservedModel):
    """An intermediate form that measure Jobs start from."""

    name: str = Field(description="fp32, or the precision with its options: int8-minmax-...")
    artifact: Artifact


class LayerReport(ObservedModel):
    """What one layer in INT8 costs."""

    name: str = Field(description="Node that leads it, in the FP32 model.")
    op: str = Field(description="Its operator.")
    macs: int = Field(description="Multiply-accumulates at the first calibration sample's size.")
    quality_alone: float = Field(description="With only this layer in INT8, in the gate's metric.")
    noise_share: float = Field(description="Its part of all layers' noise, 0 to 1.")
    excluded: bool = Field(description="It stays FP32.")


class FallbackReport(ObservedModel):
    """The search for the layers that stay FP32 so that one gate holds on calibration samples."""

    metric: QualityMetric
    aggregate: Aggregate
    minimum: float | None = Field(default=None, description="The gate's.")
    maximum: float | None = Field(default=None, description="The gate's, of MaxAbsError.")
    required: float | None = Field(
        default=None, description="What the search aimed at: the gate's bound and a margin."
    )
    quality_all_int8: float = Field(description="With every layer in INT8.")
    quality: float = Field(description="As chosen.")
    int8_mac_share: float = Field(description="Part of the multiply-accumulates in INT8, 0 to 1.")
    trials: int = Field(description="Models that were written and judged.")
    exclude: list[str] = Field(description="Nodes that stay FP32.")
    layers: list[LayerReport] = Field(
        default=[], description="The noisiest 512, most first; empty where all stay INT8."
    )


class QuantizationReport(ObservedModel):
    """How a prepared artifact of reduced precision came about."""

    name: str = Field(description="The artifact's.")
    quantized_nodes: int = Field(description="Nodes in that precision; of PyTorch's, modules.")
    kept: dict[str, str] = Field(
        default={}, description="Of FP16 and PyTorch: what stays FP32, and why where it is known."
    )
    fallbacks: list[FallbackReport] = Field(default=[], description="One per gate.")


class SkippedVariant(ObservedModel):
    """A variant that could not be built at all."""

    name: str
    state: VariantState
    reason: VariantReason
    message: str = Field(max_length=1024)


class StepOutcome(StrEnum):
    """Whether a step of prepare was carried out, or its result found in the store."""

    BUILT = "Built"
    SERVED = "Served"


class PrepareStep(ObservedModel):
    """One step of prepare: the FP32 file, or a form of reduced precision."""

    name: str = Field(description="Of what it makes: the artifact's.")
    outcome: StepOutcome
    seconds: float = Field(description="Time of making it, whenever that was.")


class SearchEntry(ObservedModel):
    """What Auto made of one variant that it knows of."""

    variant: str = Field(max_length=40, description="The variant's name.")
    taken: bool = Field(description="Whether it was tried.")
    reason: str = Field(max_length=256, description="Why, or why not.")


class PrepareResult(ObservedModel):
    """Manifest of a prepare Job."""

    source: SourceInfo
    artifacts: list[PreparedArtifact]
    variant_artifacts: dict[str, str] = Field(
        description="Variant name to the name of the prepared artifact it runs."
    )
    skipped: list[SkippedVariant] = []
    gpu_artifacts: dict[str, str] = Field(
        default={}, description="Likewise on a GPU, of variants that run another one there."
    )
    gpu_skipped: list[SkippedVariant] = Field(
        default=[], description="Likewise on a GPU, of variants that are made elsewhere."
    )
    verifications: list[Verification] = []
    passes: list[PassReport] = []
    operators: dict[str, int] | None = Field(
        default=None, description="Operator types of the FP32 model, with their nodes' number."
    )
    calibration_digest: str | None = None
    calibration_samples: int | None = None
    quantizations: list[QuantizationReport] = []
    software: dict[str, str] = {}
    steps: list[PrepareStep] = Field(
        default=[], description="What this manifest was put together from."
    )
    seconds: dict[str, float] = Field(default={}, description="Time of each step.")

    def artifacts_on(self, kind: TargetKind) -> dict[str, str]:
        """Return variantArtifacts as they are on a kind of target."""
        if kind is not TargetKind.GPU:
            return self.variant_artifacts
        without = {entry.name for entry in self.gpu_skipped}
        found = {name: of for name, of in self.variant_artifacts.items() if name not in without}
        return found | self.gpu_artifacts

    def skipped_on(self, kind: TargetKind) -> list[SkippedVariant]:
        """Return what could not be built for a kind of target."""
        if kind is not TargetKind.GPU:
            return self.skipped
        return [*self.gpu_skipped, *(e for e in self.skipped if e.name not in self.gpu_artifacts)]


class PictureModel(ObservedModel):
    """Base of what holds image files; in JSON they are base64."""

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")


class VariantCrop(PictureModel):
    """A part of what a variant computed for one sample."""

    variant: str
    output: bytes = Field(description="The part, as an image file.")
    difference: bytes = Field(
        description="Largest difference of any channel to FP32's, amplified; an image file."
    )
    psnr: float = Field(description="Of this part, dB.")
    ssim: float | None = Field(default=None, description="Of this part; None where it is tiny.")


class SampleCrops(PictureModel):
    """The part of one sample's output where the variants differ most from FP32."""

    sample: int = Field(ge=0, description="Position in the evaluation data.")
    left: int = Field(description="Pixels, in the output.")
    top: int
    width: int
    height: int
    amplification: float = Field(description="Factor on all the sample's difference images.")
    input: bytes = Field(description="What the model was given there, as an image file.")
    reference: bytes = Field(description="FP32's output there, as an image file.")
    variants: list[VariantCrop]


class Crops(PictureModel):
    """Pictures of a measurement, for its page: an object of its own, so that result.json stays
    small."""

    samples: list[SampleCrops]


class MeasureResult(ObservedModel):
    """result.json of a measure Job: everything known about one target."""

    target: str
    source: SourceInfo
    prepared: Digest
    hardware: Hardware
    software: dict[str, str]
    baseline: VariantResult | None = Field(
        default=None, description="null where nothing was measured: a target of kind BuildOnly."
    )
    variants: list[VariantResult]
    selected: str | None = None
    objective_point: str | None = Field(default=None, description="null without a baseline.")
    evaluation_digest: str | None = None
    evaluation_samples: int | None = None
    reference: QualityReference | None = Field(
        default=None, description="What quality compares with; null where nothing was compared."
    )
    references_digest: str | None = Field(
        default=None, description="Over names and contents of the ground truth."
    )
    search: list[SearchEntry] = Field(
        default=[], description="Where Auto chose the variants: all that it knows of."
    )
    disturbance: Disturbance = Disturbance()
    seconds: dict[str, float] = Field(default={}, description="Time of each step.")
    evaluation_names: list[str] = Field(
        default=[], description="Name of each evaluation sample, in the data's order."
    )
    crops: Digest | None = Field(
        default=None, description="Digest of the Crops; None where outputs are no images."
    )
    measured_at: str | None = Field(default=None, description="When it ended, RFC 3339, UTC.")
    plan: dict[str, Any] | None = Field(
        default=None, description="What the Job was told, as JSON; gates as last judged."
    )

    @property
    def everyone(self) -> list[VariantResult]:
        """The baseline, where there is one, and the variants."""
        return [*([self.baseline] if self.baseline else []), *self.variants]


def blob_key(digest: str) -> str:
    """Return where an object of the output store lies, relative to output.uri."""
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def left_out(result: MeasureResult) -> list[SearchEntry]:
    """Return what Auto knows of and made no row of the result: it is no contender."""
    rows = {variant.name for variant in result.variants}
    return [entry for entry in result.search if entry.variant not in rows]


def page_key(result_digest: str) -> str:
    """Return where a result's page for people lies, relative to output.uri.

    It follows from the digest of result.json, so nothing else needs to name it.
    """
    return f"reports/{result_digest.removeprefix('sha256:')}.html"
