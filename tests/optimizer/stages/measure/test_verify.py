"""A stored measurement is verified: briefly, on the files that were there, by what is here now."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from present import present

from mopt_api.artifacts import Artifact, ArtifactFormat
from mopt_api.benchmark import Benchmark, BenchmarkPoint
from mopt_api.enums import (
    ModelFormat,
    ObjectiveMetric,
    Precision,
    QualityMetric,
    Runtime,
    TargetKind,
)
from mopt_api.figures import SourceInfo, VariantReason, VariantState
from mopt_api.inputs import DimensionRange, ImageTransform, InputSpec
from mopt_api.jobs.gates import judged_result
from mopt_api.jobs.measure_result import MeasureResult
from mopt_api.jobs.plan import Credentials, MeasurePlan, PlannedData, PlannedModel, VerifyPlan
from mopt_api.jobs.prepare_result import KindArtifacts, PreparedArtifact, PrepareResult
from mopt_api.jobs.stored_plans import SHARE
from mopt_api.objective import Constraint, Objective
from mopt_api.spec import QualityGate
from mopt_api.variants import Variant
from mopt_optimizer.errors import DataError, ObjectNotFound
from mopt_optimizer.stages.measure.stage import measure
from mopt_optimizer.stages.measure.verify import verify
from mopt_optimizer.stages.prepare.manifest import manifest_bytes
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.registry import open_store

if TYPE_CHECKING:
    from model_files import ModelFiles

pytestmark = pytest.mark.optimizer

SUPPORT = Path(__file__).resolve().parents[3] / "support"
FORMS = {
    "ort": Runtime.ONNX_RUNTIME,
    "ov": Runtime.OPENVINO,
    "torch": Runtime.PYTORCH,
    "int8": Runtime.ONNX_RUNTIME,
}
PSNR = QualityGate(metric=QualityMetric.PSNR, minimum=60)
UNREACHED = QualityGate(metric=QualityMetric.PSNR, minimum=199)


@dataclass
class Measured:
    """A store with a measurement.

    Attributes:
        opened: How often each form was opened by the last run.
    """

    folder: Path
    blobs: Blobs
    plan: MeasurePlan
    result: MeasureResult
    digest: str
    opened: Counter[str]
    runs: int = 0

    def verify(
        self, *forms: str, environ: dict[str, str] | None = None, **changes: Any
    ) -> tuple[MeasureResult, str]:
        """Verify forms of the measurement."""
        self.runs += 1
        self.opened = Counter()
        (work := self.folder / f"verify-{self.runs}").mkdir()
        plan = VerifyPlan(
            target=self.plan.target,
            result=self.digest,
            forms=list(forms),
            quality=self.plan.quality,
            objective=self.plan.objective,
            benchmark=self.plan.benchmark,
            output_uri=self.plan.output_uri,
        )
        return verify(plan.model_copy(update=changes), os.environ | (environ or {}), work, self.log)

    def log(self, step: str, message: str, **fields: object) -> None:  # noqa: ARG002 - a Log
        if step == "open" and fields.get("state") == "done":
            self.opened[str(fields["variant"])] += 1

    def stored(self) -> set[str]:
        """Return what the store has beside blobs, and beside what a machine reaches at most: on a
        busy one that may be known later."""
        root = self.folder / "out"
        return {
            str(path.relative_to(root))
            for name in ("index", "reports")
            for path in root.glob(f"{name}/**/*")
            if not path.name.startswith("peaks-")
        }


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def seconds(result: MeasureResult) -> float:
    """Return the time for which the plan of a result has its forms make calls."""
    plan = MeasurePlan.model_validate(result.plan)
    each = plan.benchmark.warmup_seconds + plan.benchmark.min_duration_seconds
    return each * sum(len(form.points) for form in result.everyone)


@pytest.fixture(scope="module")
def measured(
    model_files: ModelFiles, photographs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Measured:
    folder = tmp_path_factory.mktemp("measured")
    output = f"file://{folder}/out"
    blobs = Blobs(*open_store(output, Credentials.OUTPUT, {}))
    source = model_files.program

    def artifact(path: Path) -> Artifact:
        size = path.stat().st_size
        return Artifact(digest=blobs.put_file(path), size_bytes=size, format=ArtifactFormat.ONNX)

    info = SourceInfo(
        sha256=sha256(source),
        format=ModelFormat.EXPORTED_PROGRAM,
        size_bytes=source.stat().st_size,
    )
    files = {"fp32": model_files.onnx, "int8": model_files.int8}
    made = {"ort": "fp32", "ov": "fp32", "torch": "source", "int8": "int8"}
    manifest = PrepareResult(
        source=info,
        artifacts=[PreparedArtifact(name=n, artifact=artifact(p)) for n, p in files.items()],
        artifacts_by_kind={TargetKind.CPU: KindArtifacts(artifacts=made)},
    )
    sizes = DimensionRange(min=8, opt=16, max=64)
    plan = MeasurePlan(
        target="default",
        model=PlannedModel(
            uri=f"file://{source}", sha256=info.sha256, format=ModelFormat.EXPORTED_PROGRAM
        ),
        prepared=blobs.put_bytes(manifest_bytes(manifest)),
        inputs=[InputSpec(name="image", shape=["batch", 3, "height", "width"])],
        dimensions={
            "batch": DimensionRange(min=1, opt=1, max=4),
            "height": sizes,
            "width": sizes,
        },
        evaluation=PlannedData(uri=f"file://{photographs}", samples=2, images=ImageTransform()),
        variants=[
            Variant(
                name=name,
                runtime=runtime,
                precision=Precision.INT8 if name == "int8" else Precision.FP32,
            )
            for name, runtime in FORMS.items()
        ],
        quality=[PSNR],
        objective=Objective(),
        benchmark=Benchmark(
            warmup_seconds=0.1,
            min_duration_seconds=0.6,
            threads=1,
            points=[
                BenchmarkPoint(name="one"),
                BenchmarkPoint(name="four", dimensions={"batch": 4}),
            ],
        ),
        output_uri=output,
    )
    (work := folder / "measure").mkdir()
    found = Measured(folder, blobs, plan, None, "", Counter())  # type: ignore[arg-type]
    found.result, found.digest = measure(plan, os.environ, work, found.log)
    assert found.opened == {"baseline": 1, **dict.fromkeys(FORMS, 1)}
    return found


def test_result_holds_where_nothing_changed(measured: Measured) -> None:
    """The same files, judged by the same gates: the same quality, and figures to compare."""
    before = measured.stored()
    again, digest = measured.verify("ov", "ort")
    assert digest != measured.digest
    assert MeasureResult.model_validate_json(measured.blobs.read(digest)) == again
    assert measured.opened == {"baseline": 1, "ov": 1, "ort": 1}
    known = {form.name: form for form in measured.result.variants}
    assert [form.name for form in again.variants] == ["ov", "ort"]
    for form in again.variants:
        assert form.state is VariantState.PASSED
        assert form.artifact == known[form.name].artifact
        assert form.quality == known[form.name].quality
        (point,) = form.points
        assert point.point == "one"
        assert point.runs >= 2
    assert again.evaluation_digest == measured.result.evaluation_digest
    assert again.selected in {"baseline", "ov", "ort"}
    # Nothing is served from it, and nobody looks at it.
    assert again.crops is None
    assert measured.stored() == before


@pytest.mark.parametrize("forms", [("ov",), ("ov", "ort"), ("ov", "ort", "torch")], ids=len)
def test_forms_make_calls_for_a_fifth_of_the_time(
    measured: Measured, forms: tuple[str, ...]
) -> None:
    again, _ = measured.verify(*forms)
    assert sum(measured.opened.values()) == 1 + len(forms)
    assert seconds(again) <= SHARE * seconds(measured.result) * (1 + 1e-9)


def test_raised_gate_breaks_it(measured: Measured) -> None:
    again, _ = measured.verify("ov", "ort", quality=[UNREACHED])
    assert {form.state for form in again.variants} == {VariantState.REJECTED}
    assert again.selected == "baseline"


def test_runtime_that_computes_something_else_breaks_it(measured: Measured) -> None:
    """The file is the same; what is here now runs it otherwise."""
    paths = os.pathsep.join(filter(None, [str(SUPPORT), os.environ.get("PYTHONPATH")]))
    other = {"MOPT_EXTENSIONS": "coarse_runtime", "PYTHONPATH": paths}
    again, _ = measured.verify("ov", "ort", environ=other)
    states = {form.name: form.state for form in again.variants}
    assert states == {"ov": VariantState.REJECTED, "ort": VariantState.PASSED}
    (broken,) = (form for form in again.variants if form.name == "ov")
    # In FP32 nothing may differ by so much, whatever the gates.
    assert broken.reason is VariantReason.OTHER_FUNCTION
    worst = present(judged_result(PSNR, broken.quality)).worst
    assert worst < present(PSNR.minimum)


def test_constraints_on_time_are_not_judged_by_a_few_calls(measured: Measured) -> None:
    constraints = [
        Constraint(metric=ObjectiveMetric.LATENCY_P99, maximum="0.000001ms"),
        Constraint(metric=ObjectiveMetric.SIZE_BYTES, maximum="1Gi"),
    ]
    again, _ = measured.verify("ort", objective=Objective(constraints=constraints))
    assert [form.state for form in again.variants] == [VariantState.PASSED]


@pytest.mark.parametrize(
    ("forms", "changes", "error", "said"),
    [
        (["other"], {}, DataError, "has no variant other"),
        (["ort"], {"target": "other"}, DataError, "is of target default"),
        (["ort"], {"objective": Objective(point="five")}, DataError, "has no point five"),
        (["ort"], {"result": f"sha256:{'0' * 64}"}, ObjectNotFound, None),
    ],
)
def test_what_is_not_there_cannot_be_verified(
    measured: Measured,
    forms: list[str],
    changes: dict[str, Any],
    error: type[Exception],
    said: str | None,
) -> None:
    with pytest.raises(error, match=said):
        measured.verify(*forms, **changes)
