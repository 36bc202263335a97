"""`status` of a ModelOptimization: results, and the conditions of kstatus."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from .artifacts import Artifact, blob_key, page_key
from .base import ObservedModel
from .figures import (
    DataDigests,
    Hardware,
    JudgedVariant,
    PointFigures,
    SourceInfo,
    VariantFigures,
    WarningTags,
    converted,
)
from .publishing import Published
from .recommendation import Recommendation
from .verdict import Verdict
from .verification import Basis, Verification

_CONDITION_TYPE = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$"


class ConditionType(StrEnum):
    """Ready is always present, Published wherever spec.publish is; the others only while True
    (kstatus), but ArtifactAvailable is False where what was served misses a gate."""

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    OUTDATED = "Outdated"
    ARTIFACT_AVAILABLE = "ArtifactAvailable"
    PUBLISHED = "Published"


class Condition(ObservedModel):
    """As metav1.Condition. Types are open: a newer version or another controller has its own.

    The API server holds the patterns; whoever reads takes what is there.
    """

    type: str = Field(
        max_length=316,
        description="Ready, Reconciling, Stalled, Outdated, ArtifactAvailable, Published, or one "
        "of another controller.",
        json_schema_extra={"pattern": _CONDITION_TYPE},
    )
    status: str = Field(
        max_length=7,
        description="True, False or Unknown.",
        json_schema_extra={"enum": ["True", "False", "Unknown"]},
    )
    reason: str = Field(
        max_length=1024,
        description="Stable, CamelCase; see docs/api.md.",
        json_schema_extra={
            "minLength": 1,
            "pattern": r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
        },
    )
    message: str = Field(max_length=32768, description="For people: what happened and what to do.")
    observed_generation: int | None = Field(
        default=None, description="Generation of spec that this describes."
    )
    last_transition_time: str = Field(
        description="When status last changed.", json_schema_extra={"format": "date-time"}
    )


class Progress(ObservedModel):
    """Progress of the Jobs."""

    stage: str = Field(max_length=16, description="Prepare, Measure or Report.")
    targets_done: int = Field(description="Number of targets with a result.")
    targets_total: int = Field(description="Number of targets.")
    start_time: str | None = Field(
        default=None,
        description="When the stage's first Job was created.",
        json_schema_extra={"format": "date-time"},
    )
    waiting_since: str | None = Field(
        default=None,
        description="Since when nothing proceeds; absent while something does, and while the run "
        "waits for its turn.",
        json_schema_extra={"format": "date-time"},
    )


class _StatusPointFigures(PointFigures):
    """At the objective's point, and beside the baseline's file."""

    size_reduction_percent: float | None = Field(
        default=None, description="How much smaller than the baseline's file."
    )


class VariantStatus(VariantFigures, _StatusPointFigures, JudgedVariant):
    """A variant at the objective's point."""

    artifact: Artifact | None = Field(default=None, description="The file to serve.")


class Report(ObservedModel):
    """result.json in the output store."""

    digest: str = Field(max_length=71, description="Digest of the object's bytes.")
    uri: str = Field(max_length=1200, description="Location, s3://BUCKET/KEY.")
    page: str | None = Field(
        default=None,
        max_length=1200,
        description="The same for people: an HTML page, s3://BUCKET/KEY.",
    )

    @classmethod
    def under(cls, output_uri: str, digest: str) -> Report:
        """Return where a result.json and its page lie in an output store."""
        root = output_uri.rstrip("/")
        return cls(
            digest=digest,
            uri=f"{root}/{blob_key(digest)}",
            page=f"{root}/{page_key(digest)}",
        )


class Measurement(ObservedModel):
    """What the figures were measured for: while it is unchanged, a new selection can be made
    from the same figures."""

    key: str = Field(
        max_length=16, description="Key of model, inputs, data, variants, benchmark and hardware."
    )
    data_ranges: dict[str, float] = Field(
        default={}, description="Quality metrics computed, each with its dataRange."
    )
    judged: str | None = Field(
        default=None, max_length=16, description="Key of the gates and objective that judged them."
    )
    limits: dict[str, str] | None = Field(
        default=None,
        description="CPU and memory limit of its Job; absent in the status of an older version.",
    )
    parts: dict[str, Annotated[str, Field(max_length=16)]] | None = Field(
        default=None,
        description="Key of the gates, and of each source of data with what is done to it: "
        "calibration, evaluation, references; absent in the status of an older version.",
    )


class SelectedArtifact(Artifact):
    """What to serve: the form that was selected last."""

    variant: str = Field(max_length=40, description="Its name; baseline for the source model.")
    runtime: str = Field(max_length=32, description="Runtime to serve it with.")
    precision: str = Field(max_length=16, description="Precision it computes in.")
    float_precision: str | None = Field(
        default=None,
        max_length=16,
        description="Precision of what is not INT8, where that is not FP32.",
    )
    report: str = Field(max_length=71, description="Digest of the result.json that proves it.")
    generation: int = Field(description="Generation of spec that it was selected for.")
    time: str = Field(
        description="When it was selected.", json_schema_extra={"format": "date-time"}
    )

    @classmethod
    def of(
        cls, form: VariantStatus, file: Artifact, *, report: str, generation: int, time: str
    ) -> SelectedArtifact:
        """Return a form as what to serve.

        Args:
            file: The form's.
        """
        return converted(
            file,
            cls,
            variant=form.name,
            runtime=form.runtime,
            precision=form.precision,
            float_precision=form.float_precision,
            report=report,
            generation=generation,
            time=time,
        )


class TargetStatus(ObservedModel):
    """The result for one target."""

    name: str = Field(max_length=40, description="The target's name.")
    artifact: SelectedArtifact | None = Field(
        default=None,
        description="What to serve. Stays until another form is selected: while it is measured "
        "again, where that fails, and while suspended; never where its figures miss a gate.",
    )
    published: Published | None = Field(
        default=None,
        description="What was published last; as artifact, it stays until another one is.",
    )
    from_earlier_run: bool | None = Field(
        default=None,
        description="True while the figures are of an earlier run, and this one has none yet; "
        "absent otherwise.",
    )
    source: SourceInfo | None = Field(
        default=None,
        description="The model file behind the figures of an earlier run; that of a present result "
        "is status.source.",
    )
    hardware: Hardware = Field(description="Hardware that was measured or built on.")
    compute_capabilities: list[str] = Field(
        default=[],
        max_length=8,
        description="GPUs that engines were built for; only with a buildOnly profile.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    software: dict[str, str] = Field(default={}, description="Versions of the runtimes.")
    point: str | None = Field(
        default=None,
        max_length=40,
        description="Benchmark point of the figures; absent where nothing was measured.",
    )
    reference: str | None = Field(
        default=None,
        max_length=16,
        description="What quality is compared with: Baseline, its FP32 output, or GroundTruth, "
        "data.evaluation.references. Absent where nothing was compared.",
    )
    baseline: VariantStatus | None = Field(
        default=None,
        description="The source model; absent where nothing was measured (buildOnly).",
    )
    variants: list[VariantStatus] = Field(
        default=[],
        max_length=12,
        description="The variants tried.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
        },
    )
    selected: str | None = Field(
        default=None, max_length=40, description="Name of the winner; baseline if none won."
    )
    verdict: Verdict | None = Field(
        default=None,
        description="How sure the selection is; absent where nothing was measured, and in the "
        "status of an older version.",
    )
    unstable: bool | None = Field(
        default=None,
        description="True where throttling, steal or other processes took CPU time in every "
        "repetition of the measurement; absent otherwise.",
    )
    warnings: WarningTags = []
    data: DataDigests | None = Field(
        default=None, description="What it was calibrated on and compared with."
    )
    served_from_store: bool | None = Field(
        default=None,
        description="True where this target's Job measured nothing: an earlier Job's figures for "
        "the same work lay in the store; absent otherwise.",
    )
    report: Report = Field(description="The full result.")
    optimizer: str | None = Field(
        default=None, max_length=512, description="Optimizer image that measured it."
    )
    measured_at: str | None = Field(
        default=None,
        max_length=32,
        description="When it was measured, by its node's clock.",
        json_schema_extra={"format": "date-time"},
    )
    measurement: Measurement | None = Field(
        default=None, description="What the figures were measured for."
    )
    verification: Verification | None = Field(
        default=None,
        description="Whether the result still holds with another optimizer, CPU or limit; only "
        "with the administrator's onUpgrade: Verify.",
    )

    @property
    def basis(self) -> Basis:
        """What the result holds for: that of its verification, or else of its figures."""
        if self.verification is not None and (verified := self.verification.basis) is not None:
            return verified
        limits = self.measurement.limits if self.measurement else None
        return Basis(self.optimizer, self.software, self.hardware, limits, self.measured_at)

    @property
    def everyone(self) -> list[VariantStatus]:
        """The baseline, where there is one, and the variants."""
        return [*([self.baseline] if self.baseline else []), *self.variants]

    @property
    def winner(self) -> VariantStatus | None:
        """The selected form; the baseline where it is kept."""
        return next((form for form in self.everyone if form.name == self.selected), None)


class Summary(ObservedModel):
    """The first measured target as text, for `kubectl get`; programs read targets."""

    selected: str | None = Field(default=None, max_length=40, description="Winner.")
    speedup: str | None = Field(default=None, max_length=16, description="Over the baseline.")
    quality: str | None = Field(default=None, max_length=32, description="First gate's metric.")
    size: str | None = Field(default=None, max_length=16, description="Size of the artifact.")
    targets: str | None = Field(default=None, max_length=8, description="Targets done, of all.")


class SelectionRecord(ObservedModel):
    """One selection: what to serve to roll back to it."""

    target: str = Field(max_length=40, description="The target's name.")
    selected: str = Field(max_length=40, description="Name of the winner.")
    artifact: str | None = Field(
        default=None, max_length=71, description="Digest of the file to serve."
    )
    uri: str | None = Field(
        default=None, max_length=1200, description="Location of that file, s3://BUCKET/KEY."
    )
    published: str | None = Field(
        default=None,
        max_length=330,
        description="Reference by digest under which it was published, REPOSITORY@DIGEST.",
    )
    report: str = Field(max_length=71, description="Digest of result.json.")
    generation: int = Field(description="Generation of spec that it was selected for.")
    time: str = Field(
        description="When it was selected.", json_schema_extra={"format": "date-time"}
    )


class ModelOptimizationStatus(ObservedModel):
    """The results, and the state of the work. Fields of a newer version are kept as they are."""

    model_config = ConfigDict(extra="allow")

    observed_generation: int = Field(
        default=-1, description="Generation of spec that status describes; -1 before the first."
    )
    last_handled_reconcile_at: str | None = Field(
        default=None,
        max_length=128,
        description="Value of the mopt.dev/requestedAt annotation that was last acted on.",
    )
    conditions: list[Condition] = Field(
        default=[],
        max_length=32,
        description="Ready; Published where spec.publish is; Reconciling, Stalled, Outdated or "
        "ArtifactAvailable while True, and that False where what was served misses a gate; other "
        "controllers' conditions are left alone.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        },
    )
    progress: Progress | None = Field(default=None, description="Present while Jobs run.")
    source: SourceInfo | None = Field(default=None, description="The model file, verified.")
    summary: Summary | None = Field(
        default=None, description="The first measured target, for people."
    )
    targets: list[TargetStatus] = Field(
        default=[],
        max_length=8,
        description="The result for each target.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
        },
    )
    recommendation: Recommendation | None = Field(
        default=None,
        description="Which target to serve on, and how; where benchmark.load asks for figures "
        "under load, or a profile has a price.",
    )
    history: list[SelectionRecord] = Field(
        default=[],
        max_length=24,
        description="The last three selections of each target that differ, newest first.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
