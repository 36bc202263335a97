"""The plan of a Job: JSON in its environment variable MOPT_PLAN."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from mopt_api.auto.int8 import CpuClass
from mopt_api.auto.search import SearchAim, SearchFacts, contenders_on
from mopt_api.base import ApiModel, Digest, Name
from mopt_api.benchmark import Benchmark, BenchmarkPoint
from mopt_api.data import DataSource, EvaluationSource
from mopt_api.enums import ModelFormat, Precision, TargetKind, TorchMode
from mopt_api.formats import FORMATS
from mopt_api.inputs import AnyDimension, DimensionRange, ImageTransform, InputSpec, with_derived
from mopt_api.load import LoadScenario
from mopt_api.metrics import METRICS
from mopt_api.objective import LATENCIES, Constraint, Objective
from mopt_api.publishing import OciRepository
from mopt_api.runtimes import RUNTIMES
from mopt_api.spec import ModelOptimizationSpec, QualityGate
from mopt_api.stores import credential_keys
from mopt_api.targets import KINDS
from mopt_api.variants import Quantization, Variant

from .aim import GateAim
from .publishing import PublishedForm, PublishedResource
from .question import question_of
from .traceparent import TracedPlan

PLAN_VARIABLE = "MOPT_PLAN"
DEADLINE_VARIABLE = "MOPT_DEADLINE_SECONDS"
"""Seconds from its start in which a Job's container must end. No part of the plan: what a result
depends on is not how long it may take."""
RESOURCE_VARIABLE = "MOPT_RESOURCE"
"""NAMESPACE/NAME of the resource that a Job was made for, as its log says; no part of the plan."""
GENERATION_VARIABLE = "MOPT_GENERATION"
"""Its generation at that time: later ones may go on with the same Job."""
DEFAULT_TARGET = "default"
DEFAULT_POINT = "opt"


class Stage(StrEnum):
    """Kinds of Jobs."""

    PREPARE = "Prepare"
    MEASURE = "Measure"
    VERIFY = "Verify"
    REPORT = "Report"
    PUBLISH = "Publish"


class Credentials(StrEnum):
    """Roles of store credentials; each has an environment prefix in the Job."""

    MODEL = "MODEL"
    CALIBRATION = "CALIBRATION"
    EVALUATION = "EVALUATION"
    OUTPUT = "OUTPUT"

    def variable(self, key: str) -> str:
        """Return the environment variable that holds a key of these credentials."""
        return f"MOPT_{self.value}_{key.replace('.', '_').upper()}"


CREDENTIAL_KEYS = credential_keys()
"""Keys of a store Secret, and whether each is required."""


class PlannedModel(ApiModel):
    """The model file; uri may also be file:// in local runs."""

    uri: str
    sha256: str
    format: ModelFormat


class PlannedData(ApiModel):
    """A folder of samples, with sha256 in an archive; uri may also be file:// in local runs."""

    uri: str
    sha256: str | None = None
    samples: int
    images: ImageTransform


class PlannedReferences(ApiModel):
    """A folder of ground truth, as PlannedData has samples."""

    uri: str
    sha256: str | None = None
    images: ImageTransform


class PreparePlan(TracedPlan):
    """Fetch, load safely, export, verify, optimize the graph, calibrate, quantize."""

    stage: Literal[Stage.PREPARE] = Stage.PREPARE
    model: PlannedModel
    inputs: list[InputSpec]
    dimensions: dict[str, AnyDimension]
    calibration: PlannedData | None = None
    evaluation: PlannedData | None = Field(
        default=None,
        description="Where there is no calibration data: what takes the place of noise.",
    )
    variants: list[Variant]
    output_uri: str
    quality: list[QualityGate] = Field(
        default=[], description="Gates that INT8 variants must hold; see Fallback."
    )
    search: SearchFacts | None = Field(
        default=None,
        description="Where Auto chose the variants: the facts it knew. It chooses again among them "
        "once more is known.",
    )
    kinds: list[TargetKind] = Field(
        default=[TargetKind.CPU],
        description="Kinds of the targets: forms are made for all of them, and Auto's variants are "
        "the contenders on any.",
    )
    aims: dict[str, list[GateAim]] | None = Field(
        default=None,
        description="Of a second search: variants that missed gates on evaluation data, and how "
        "far above these to aim. They get forms of their own.",
    )
    cpu_classes: list[CpuClass] | None = Field(
        default=None,
        description="Of the CPUs that measure. Absent, they are of the class that prepares.",
    )
    question: str | None = Field(
        default=None,
        description="Where Auto chose the variants, see question: what other weights of the same "
        "graph answered to it may leave out some.",
    )

    @property
    def data(self) -> PlannedData | None:
        """Samples that take the place of noise."""
        return self.calibration or self.evaluation


class MeasurePlan(TracedPlan):
    """Build, evaluate, benchmark and select on the hardware of the Job."""

    stage: Literal[Stage.MEASURE] = Stage.MEASURE
    target: Name
    kind: TargetKind = TargetKind.CPU
    compute_capabilities: list[str] = Field(
        default=[], description='Of BuildOnly: GPUs to build engines for, such as "8.9".'
    )
    model: PlannedModel
    prepared: Digest = Field(description="Digest of the prepare Job's manifest.")
    inputs: list[InputSpec]
    dimensions: dict[str, AnyDimension]
    evaluation: PlannedData | None = None
    references: PlannedReferences | None = Field(
        default=None, description="Ground truth for evaluation; read with its credentials."
    )
    variants: list[Variant]
    quality: list[QualityGate]
    objective: Objective
    benchmark: Benchmark
    output_uri: str
    search: SearchFacts | None = Field(default=None, description="As PreparePlan has it.")


class _StoredPlan(TracedPlan):
    """What starts from a stored measurement."""

    target: Name
    result: Digest = Field(description="Digest of the measurement's result.json.")
    quality: list[QualityGate]
    objective: Objective
    benchmark: Benchmark
    output_uri: str


class ReportPlan(_StoredPlan):
    """Judge a stored measurement again: with other gates, or another objective."""

    stage: Literal[Stage.REPORT] = Stage.REPORT


class VerifyPlan(_StoredPlan):
    """Measure a few forms of a stored measurement again, briefly: does its verdict still hold?"""

    stage: Literal[Stage.VERIFY] = Stage.VERIFY
    forms: list[Name] = Field(min_length=1, max_length=3, description="Variants, the best first.")


class PublishPlan(TracedPlan):
    """Push what to serve to a registry, with the statements that prove it."""

    stage: Literal[Stage.PUBLISH] = Stage.PUBLISH
    oci: OciRepository
    forms: list[PublishedForm] = Field(
        min_length=1,
        max_length=8,
        description="One for each target.",
        json_schema_extra={"x-kubernetes-list-map-keys": ["target"]},
    )
    resource: PublishedResource
    base_image: str | None = Field(
        default=None,
        description="Image, by digest, whose layers come first: a KServe modelcar needs a shell.",
    )
    output_uri: str
    signed: bool = Field(
        default=False, description="Whether the administrator gives a key to sign with."
    )


JobPlan = PreparePlan | MeasurePlan | VerifyPlan | ReportPlan | PublishPlan
Plan = Annotated[JobPlan, Field(discriminator="stage")]
PLAN_ADAPTER: TypeAdapter[JobPlan] = TypeAdapter(Plan)


def baseline_variant(model_format: ModelFormat) -> Variant:
    """Return the baseline: ONNX in ONNX Runtime, what torch wrote in PyTorch eager."""
    # The name is refused in spec.variants, hence no validation here.
    return Variant.model_construct(
        name="baseline",
        runtime=FORMATS[model_format].baseline,
        precision=Precision.FP32,
        quantization=None,
        torch_mode=None,
    )


def effective_torch_mode(variant: Variant) -> TorchMode | None:
    """Return how PyTorch runs a variant; None for another runtime."""
    if not RUNTIMES[variant.runtime].torch_modes:
        return None
    return TorchMode.COMPILED if variant.compiled else TorchMode.EAGER


def benchmark_points(
    benchmark: Benchmark, dimensions: Mapping[str, DimensionRange]
) -> list[BenchmarkPoint]:
    """Return the points with a size for every dimension; one point at opt where none is named."""
    opt = {name: size.opt for name, size in dimensions.items()}
    points = benchmark.points or [BenchmarkPoint(name=DEFAULT_POINT)]
    return [
        BenchmarkPoint(name=p.name, dimensions=with_derived(opt | p.dimensions, dimensions))
        for p in points
    ]


def objective_point(objective: Objective, benchmark: Benchmark) -> str:
    """Return the name of the point that the objective compares at."""
    if objective.point is not None:
        return objective.point
    return benchmark.points[0].name if benchmark.points else DEFAULT_POINT


def load_bounds(objective: Objective, benchmark: Benchmark) -> list[Constraint]:
    """Return the latencies that requests keep under load; none where none is asked for, and of
    Offline, where nobody waits. Other bounds than these judge what was measured."""
    if benchmark.load is None or benchmark.load.scenario is not LoadScenario.SERVER:
        return []
    return [entry for entry in objective.constraints if entry.metric in LATENCIES]


def _planned(data: DataSource | None) -> PlannedData | None:
    if data is None:
        return None
    return PlannedData(uri=data.uri, sha256=data.sha256, samples=data.samples, images=data.images)


def _planned_references(data: EvaluationSource | None) -> PlannedReferences | None:
    truth = data and data.references
    if truth is None:
        return None
    return PlannedReferences(uri=truth.uri, sha256=truth.sha256, images=truth.images)


def fallback_gates(quantization: Quantization, gates: list[QualityGate]) -> list[QualityGate]:
    """Return the gates for which these options, not PyTorch's, keep layers in FP32."""
    return searched_gates(gates) if quantization.searches else []


def searched_gates(gates: Sequence[QualityGate]) -> list[QualityGate]:
    """Return the gates that a search for layers that stay FP32 can hold.

    None that counts detections, tokens or neighbors: layers' noise does not add up in these.
    """
    rows = [(gate, METRICS[gate.metric]) for gate in gates]
    return [gate for gate, row in rows if not (row.counts_vary or row.over_set)]


def _shaping_gates(spec: ModelOptimizationSpec, variants: list[Variant]) -> list[QualityGate]:
    """Return the gates that the prepared files depend on.

    Gates on ground truth say nothing about how closely INT8 must follow FP32 on calibration data.
    """
    if spec.data.calibration is None or _planned_references(spec.data.evaluation) is not None:
        return []
    eight_bits = (
        v.quantization or Quantization()
        for v in variants
        if v.precision in (Precision.INT8, Precision.FP8) and RUNTIMES[v.runtime].calibrators
    )
    return spec.quality if any(fallback_gates(q, spec.quality) for q in eight_bits) else []


def prepare_plan(
    spec: ModelOptimizationSpec,
    output_uri: str,
    *,
    kinds: Collection[TargetKind] = (TargetKind.CPU,),
    aims: Mapping[str, Sequence[GateAim]] | None = None,
    cpu_classes: Collection[CpuClass] | None = None,
) -> PreparePlan:
    """Return the plan of a spec's prepare Job; only what affects its result.

    Args:
        kinds: Of the targets.
        aims: Of a second search, by variant; see second_search.
        cpu_classes: Of the CPUs that measure; None where they are like the one that prepares.
    """
    facts = search_facts(spec)
    variants = spec.variants or contenders_on(facts, kinds)
    return PreparePlan(
        model=PlannedModel(uri=spec.model.uri, sha256=spec.model.sha256, format=spec.model.format),
        inputs=spec.inputs,
        dimensions=spec.every_dimension,
        calibration=_planned(spec.data.calibration),
        evaluation=None if spec.data.calibration else _planned(spec.data.evaluation),
        variants=variants,
        output_uri=output_uri,
        quality=_shaping_gates(spec, variants),
        search=None if spec.variants else facts,
        kinds=[kind for kind in KINDS if kind in kinds],
        aims={name: list(each) for name, each in aims.items()} if aims else None,
        cpu_classes=None if cpu_classes is None else sorted({*cpu_classes}),
        question=None if spec.variants else _question(spec),
    )


def _question(spec: ModelOptimizationSpec) -> str | None:
    truth = _planned_references(spec.data.evaluation) is not None
    asked = (spec.benchmark, spec.objective, spec.quality)
    return question_of(*asked, spec.every_dimension, references=truth)


def search_facts(spec: ModelOptimizationSpec) -> SearchFacts:
    """Return what Auto knows from a spec alone."""
    return SearchFacts(
        model_format=spec.model.format,
        calibrated=spec.data.calibration is not None,
        aim=SearchAim.of(spec.objective.metric),
    )


def measure_plan(
    spec: ModelOptimizationSpec,
    *,
    target: str,
    prepared: str,
    output_uri: str,
    kind: TargetKind = TargetKind.CPU,
    compute_capabilities: Collection[str] = (),
) -> MeasurePlan:
    """Return the plan of a target's measure Job.

    Args:
        prepared: Digest of the prepare Job's manifest.
        kind: Of the target.
        compute_capabilities: Of BuildOnly: GPUs to build engines for.
    """
    prepare = prepare_plan(spec, output_uri, kinds=(kind,))
    built = kind is TargetKind.BUILD_ONLY
    return MeasurePlan(
        target=target,
        kind=kind,
        compute_capabilities=list(compute_capabilities),
        model=prepare.model,
        prepared=prepared,
        inputs=spec.inputs,
        dimensions=spec.every_dimension,
        evaluation=_planned(spec.data.evaluation),
        references=_planned_references(spec.data.evaluation),
        variants=prepare.variants,
        quality=spec.quality,
        # Nothing is timed where engines are only built.
        objective=Objective() if built else spec.objective,
        benchmark=Benchmark() if built else spec.benchmark,
        output_uri=output_uri,
        search=prepare.search and prepare.search.model_copy(update={"kind": kind}),
    )
