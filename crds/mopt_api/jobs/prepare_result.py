"""The manifest of a prepare Job."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from mopt_api.artifacts import Artifact
from mopt_api.auto.int8 import CpuClass
from mopt_api.base import ObservedModel
from mopt_api.enums import Aggregate, QualityMetric, TargetKind
from mopt_api.figures import SourceInfo, VariantReason, VariantState

from .data_statistics import DataStatistics, DataWarning, FirstLayer


class Verification(ObservedModel):
    """Comparison of the exported model with the source, at one set of sizes."""

    dimensions: dict[str, int] = Field(description="Sizes compared at.")
    max_abs_error: float = Field(description="Largest difference of any output value.")
    passed: bool = Field(description="Within tolerance.")


class PassOutcome(StrEnum):
    """What became of a graph pass's result: RolledBack where it is wrong or no gain."""

    KEPT = "Kept"
    NO_CHANGE = "NoChange"
    ROLLED_BACK = "RolledBack"


class PassReport(ObservedModel):
    """What one graph pass did."""

    name: str = Field(description="Name of the pass.")
    outcome: PassOutcome
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
    noise_share: float = Field(description="Its share of all layers' noise, 0 to 1.")
    excluded: bool = Field(description="It stays FP32.")


class FallbackReport(ObservedModel):
    """What the search for the layers that stay FP32 reached for one gate on calibration samples.

    One search is for all gates of a form.
    """

    metric: QualityMetric
    aggregate: Aggregate
    output: str | None = Field(default=None, description="The gate's.")
    slice: str | None = Field(default=None, description="Its name, of the gate's.")
    minimum: float | None = Field(default=None, description="The gate's.")
    maximum: float | None = Field(default=None, description="The gate's, of MaxAbsError.")
    required: float | None = Field(
        default=None, description="Aim of the search: the gate's bound and a margin."
    )
    quality_all_int8: float = Field(description="With every layer in INT8.")
    quality: float = Field(description="As chosen.")
    held_back: float | None = Field(
        default=None,
        description="As chosen, on calibration samples that the search did not choose by; absent "
        "with fewer than eight.",
    )
    int8_mac_share: float = Field(description="Part of the multiply-accumulates in INT8, 0 to 1.")
    trials: int = Field(description="Models that were written and judged.")
    budget_seconds: float | None = Field(
        default=None, description="Time that the search had; absent where it had no end."
    )
    seconds: float | None = Field(default=None, description="Time that the search took.")
    aim_decibels: int | None = Field(
        default=None,
        description="Of a second search: how far above this gate it aimed, by what an earlier "
        "form missed on evaluation data.",
    )
    from_start: bool = Field(
        default=False,
        description="What stayed FP32 with other weights of the same graph, or a part of that, was "
        "enough: no layers were ranked.",
    )
    ended_by_budget: bool = Field(
        default=False, description="The search was cut short: more might stay INT8."
    )
    exclude: list[str] = Field(description="Nodes that stay FP32.")
    layers: list[LayerReport] = Field(
        default=[],
        description="The noisiest 512, most first; empty where all stay INT8, and of all gates but "
        "the one that is held least with every layer in INT8.",
    )


class QuantizationReport(ObservedModel):
    """How a prepared artifact of reduced precision was made."""

    name: str = Field(description="The artifact's.")
    quantized_nodes: int = Field(description="Nodes in that precision; of PyTorch's, modules.")
    kept: dict[str, str] = Field(
        default={},
        description="What stays out of it, and why where it is known; gates have a list each.",
    )
    fallbacks: list[FallbackReport] = Field(default=[], description="One per gate.")

    @property
    def aimed(self) -> bool:
        """Whether it was searched by what evaluation data had shown."""
        return any(report.aim_decibels for report in self.fallbacks)


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


class KindArtifacts(ObservedModel):
    """What the variants run on the targets of one kind."""

    artifacts: dict[str, str] = Field(
        default={}, description="Variant name to the name of the prepared artifact it runs."
    )
    skipped: list[SkippedVariant] = Field(
        default=[], description="Variants that have none, each with its reason."
    )


class Outrun(ObservedModel):
    """Variants that were not made for a kind of target: with other weights of the same graph they
    lost so clearly that these cannot change it."""

    variants: dict[str, str] = Field(description="Each with what was found.")
    hardware: list[str] = Field(description="Digests of all hardware that it was found on.")


class PrepareResult(ObservedModel):
    """Manifest of a prepare Job."""

    source: SourceInfo
    artifacts: list[PreparedArtifact]
    artifacts_by_kind: dict[TargetKind, KindArtifacts] = Field(
        description="For each kind that the plan's targets are of."
    )
    narrow_sums: KindArtifacts | None = Field(
        default=None,
        description="For targets of kind CPU whose CPUs add products in 16 bits: INT8 of full "
        "range would saturate there.",
    )
    verifications: list[Verification] = []
    passes: list[PassReport] = []
    operators: dict[str, int] | None = Field(
        default=None, description="Operator types of the FP32 model, with their nodes' number."
    )
    graph: str | None = Field(
        default=None,
        description="Digest of the FP32 model without its weights: equal for two trainings of one "
        "architecture.",
    )
    outrun: dict[TargetKind, Outrun] = Field(
        default={}, description="By the kind of target, what was left out for that."
    )
    starts: dict[str, list[str]] = Field(
        default={},
        description="By the artifact's name, nodes that stayed FP32 with other weights of the same "
        "graph: its search tried them first.",
    )
    calibration_digest: str | None = None
    calibration_samples: int | None = None
    calibration: DataStatistics | None = Field(
        default=None, description="Statistics of the calibration samples."
    )
    first_layers: list[FirstLayer] = Field(
        default=[], description="What the model tells of the data that it was trained on."
    )
    warnings: list[DataWarning] = Field(
        default=[], description="What looks wrong with the calibration data."
    )
    quantizations: list[QuantizationReport] = []
    software: dict[str, str] = {}
    steps: list[PrepareStep] = Field(
        default=[], description="Steps that this manifest was assembled from."
    )
    seconds: dict[str, float] = Field(default={}, description="Time of each step.")

    def on_cpu(self, cpu: CpuClass) -> PrepareResult:
        """Return what CPUs of a class run: for kind CPU, what is made for these."""
        if cpu is not CpuClass.NARROW_X86 or self.narrow_sums is None:
            return self
        by_kind = {**self.artifacts_by_kind, TargetKind.CPU: self.narrow_sums}
        return self.model_copy(update={"artifacts_by_kind": by_kind})

    def artifacts_on(self, kind: TargetKind) -> dict[str, str]:
        """Return the name of the artifact that each variant runs on a kind of target."""
        return self._on(kind).artifacts

    def aimed_on(self, kind: TargetKind) -> list[str]:
        """Return the variants that run a form of a second search on a kind of target."""
        return self._aimed(self._on(kind))

    def aimed(self) -> set[str]:
        """Return the variants that run a form of a second search on any target."""
        everywhere = [*self.artifacts_by_kind.values(), *filter(None, [self.narrow_sums])]
        return {name for artifacts in everywhere for name in self._aimed(artifacts)}

    def _aimed(self, found: KindArtifacts) -> list[str]:
        aimed = {report.name for report in self.quantizations if report.aimed}
        return [name for name, artifact in found.artifacts.items() if artifact in aimed]

    def skipped_on(self, kind: TargetKind) -> list[SkippedVariant]:
        """Return what could not be built for a kind of target."""
        return self._on(kind).skipped

    def _on(self, kind: TargetKind) -> KindArtifacts:
        # Nothing was made for a kind that the plan did not name.
        return self.artifacts_by_kind.get(kind, KindArtifacts())
