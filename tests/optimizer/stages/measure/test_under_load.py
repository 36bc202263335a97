"""A small model through the measure stage with benchmark.load: figures, search and their key."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from present import present

from mopt_api.artifacts import Artifact, ArtifactFormat
from mopt_api.benchmark import Benchmark
from mopt_api.enums import ModelFormat, ObjectiveMetric, Precision, Runtime, TargetKind
from mopt_api.figures import Hardware, SourceInfo, VariantState
from mopt_api.inputs import DimensionRange, InputSpec
from mopt_api.jobs.measure_result import MeasureResult
from mopt_api.jobs.plan import DEADLINE_VARIABLE, Credentials, MeasurePlan, PlannedModel
from mopt_api.jobs.prepare_result import KindArtifacts, PreparedArtifact, PrepareResult
from mopt_api.load import Load, LoadScenario
from mopt_api.objective import Constraint, Objective
from mopt_api.variants import Variant
from mopt_optimizer.errors import SpecError
from mopt_optimizer.stages.measure.key import content_key
from mopt_optimizer.stages.measure.stage import measure
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.registry import open_store

pytestmark = pytest.mark.optimizer

# Shortest searches: the cores of a test machine are not ours alone.
OFFLINE = Load(
    scenario=LoadScenario.OFFLINE, duration_seconds=1, budget_seconds=10, maximum_batch=2
)
SERVER = Load(scenario=LoadScenario.SERVER, duration_seconds=1, budget_seconds=600, maximum_batch=1)
A_MINUTE = Objective(constraints=[Constraint(metric=ObjectiveMetric.LATENCY_P50, maximum="60s")])


@dataclass(frozen=True)
class Measured:
    """What the stage told and found."""

    result: MeasureResult
    messages: list[str]


def write_network(path: Path) -> Path:
    """Write a convolution of seeded weights, of any batch and size."""
    weights = np.random.default_rng(5).random((8, 3, 3, 3), np.float32)
    size: list[int | str] = ["batch", 3, "height", "width"]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "weights"], ["sums"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["sums"], ["features"]),
        ],
        "network",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, size)],
        [
            helper.make_tensor_value_info(
                "features", TensorProto.FLOAT, ["batch", 8, "height", "width"]
            )
        ],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_network(tmp_path_factory.mktemp("network") / "network.onnx")


def plan_for(
    load: Load, objective: Objective, source: Path, folder: Path, threads: int = 1
) -> MeasurePlan:
    """Store what a prepare Job would; return the plan of a measurement with one variant."""
    output = f"file://{folder}/output"
    blobs = Blobs(*open_store(output, Credentials.OUTPUT, {}))
    size = source.stat().st_size
    sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
    manifest = PrepareResult(
        source=SourceInfo(sha256=sha256, format=ModelFormat.ONNX, size_bytes=size),
        artifacts=[
            PreparedArtifact(
                name="fp32",
                artifact=Artifact(
                    digest=blobs.put_file(source), size_bytes=size, format=ArtifactFormat.ONNX
                ),
            )
        ],
        artifacts_by_kind={TargetKind.CPU: KindArtifacts(artifacts={"ov": "fp32"})},
    )
    sizes = DimensionRange(min=8, opt=16, max=64)
    return MeasurePlan(
        target="default",
        model=PlannedModel(uri=f"file://{source}", sha256=sha256, format=ModelFormat.ONNX),
        prepared=blobs.put_bytes(json.dumps(manifest.to_api()).encode()),
        inputs=[InputSpec(name="image", shape=["batch", 3, "height", "width"])],
        dimensions={
            "batch": DimensionRange(min=1, opt=1, max=4),
            "height": sizes,
            "width": sizes,
        },
        variants=[Variant(name="ov", runtime=Runtime.OPENVINO, precision=Precision.FP32)],
        quality=[],
        objective=objective,
        benchmark=Benchmark(warmup_seconds=0, min_duration_seconds=0.1, threads=threads, load=load),
        output_uri=output,
    )


def measured(plan: MeasurePlan, folder: Path, environ: Mapping[str, str] = {}) -> Measured:
    messages: list[str] = []

    def log(step: str, message: str, **_: object) -> None:
        messages.append(f"{step}: {message}")

    work = folder / "work"
    work.mkdir()
    result, _ = measure(plan, {**os.environ, **environ}, work, log)
    return Measured(result, messages)


@pytest.mark.parametrize(
    ("load", "objective", "threads"),
    [
        pytest.param(OFFLINE, Objective(), 2, id="offline"),
        pytest.param(SERVER, A_MINUTE, 1, id="server"),
    ],
)
def test_the_baseline_has_its_best_configuration(
    load: Load, objective: Objective, threads: int, network: Path, tmp_path: Path
) -> None:
    found = measured(plan_for(load, objective, network, tmp_path, threads), tmp_path)
    baseline = present(found.result.baseline)
    figures, searched = present(baseline.load), present(baseline.load_search)
    assert figures.scenario == load.scenario
    assert figures.serving.instances * figures.serving.threads <= threads
    assert figures.serving.batch in (1, 2)
    assert figures.throughput > 0
    assert searched.trials[-1].valid
    assert searched.trials[-1].throughput == figures.throughput
    assert searched.trials[0].offered is None
    assert (searched.trials[-1].offered is None) == (load.scenario is LoadScenario.OFFLINE)
    (variant,) = found.result.variants
    # What is not searched further, far behind another form, cannot show that it keeps the bound.
    shown = variant.load is not None or load.scenario is LoadScenario.OFFLINE
    assert variant.state is (VariantState.PASSED if shown else VariantState.REJECTED)
    looked = present(variant.load_search)
    assert looked.trials
    assert (variant.load is None) == (looked.message is not None)
    assert any(
        m.startswith(f"load: baseline: 1 x {threads} threads, batch 1") for m in found.messages
    )


def test_a_server_without_a_latency_to_keep_is_refused_at_once(
    network: Path, tmp_path: Path
) -> None:
    plan = plan_for(SERVER, Objective(), network, tmp_path)
    with pytest.raises(SpecError, match="scenario Server needs a latency to keep: add"):
        measured(plan, tmp_path)


def test_a_load_is_measured_again_for_another_bound_alone(network: Path, tmp_path: Path) -> None:
    def key(load: Load, objective: Objective) -> str:
        plan = plan_for(load, objective, network, tmp_path)
        return content_key(
            plan,
            evaluation_digest=None,
            hardware=Hardware(),
            software={},
            requested_at=None,
        )

    tighter = Objective(
        constraints=[Constraint(metric=ObjectiveMetric.LATENCY_P50, maximum="50ms")]
    )
    assert key(SERVER, A_MINUTE) != key(SERVER, tighter)
    assert key(OFFLINE, A_MINUTE) == key(OFFLINE, tighter)


def test_a_search_for_which_no_time_is_left_is_left_out(network: Path, tmp_path: Path) -> None:
    plan = plan_for(OFFLINE, Objective(), network, tmp_path)
    found = measured(plan, tmp_path, {DEADLINE_VARIABLE: "70"})
    assert found.result.baseline is not None
    for variant in found.result.everyone:
        assert variant.load is None
        assert variant.points
        assert variant.load_search is not None
        assert "no time was left before the Job's deadline" in (variant.load_search.message or "")
