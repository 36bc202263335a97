"""Prepare after other weights of the graph were measured: real files, a made-up measurement."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from measured_graph import measured
from onnx import TensorProto, helper, numpy_helper

from mopt_api.auto.int8 import CpuClass
from mopt_api.auto.search import SearchFacts, contenders
from mopt_api.enums import ModelFormat, QualityMetric, TargetKind
from mopt_api.inputs import ImageTransform, InputSpec
from mopt_api.jobs.aim import GateAim
from mopt_api.jobs.plan import Credentials, MeasurePlan, PlannedData, PlannedModel, PreparePlan
from mopt_api.jobs.prepare_result import PrepareResult, StepOutcome
from mopt_api.jobs.question import question_of
from mopt_api.spec import QualityGate
from mopt_optimizer.stages.history import remember
from mopt_optimizer.stages.prepare.stage import prepare
from mopt_optimizer.stages.step_keys import REQUESTED_AT_VARIABLE
from mopt_optimizer.stages.verdict import result_bytes
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.registry import open_store

pytestmark = pytest.mark.optimizer

SIDE, LAYERS, NOISY = 16, 8, 4
GATE = QualityGate(metric=QualityMetric.SQNR, minimum=20)
FACTS = SearchFacts(model_format=ModelFormat.ONNX, calibrated=True)
FP32, OTHER, INT8 = "openvino-fp32", "onnxruntime-fp32", "onnxruntime-int8"
VARIANTS = [v for v in contenders(FACTS) if v.name in (FP32, OTHER, INT8)]


def network(path: Path, *, change: float) -> None:
    """Write a chain of convolutions, one of which computes with a thousandfold outlier.

    Args:
        change: Of the weights, by chance: those of the same are the same.
    """
    random, changes = np.random.default_rng(1), np.random.default_rng(2)
    nodes, weights, last, channels = [], {}, "image", 3
    for index in range(LAYERS):
        values = random.standard_normal((8, channels, 3, 3)) / np.sqrt(channels * 9)
        if index == NOISY:
            swell = np.ones((1, channels, 1, 1), np.float32)
            swell[0, 0] = 1000
            values[:, 0] *= 0.001
            weights["swell"] = swell
            nodes.append(helper.make_node("Mul", [last, "swell"], ["swollen"], "swell"))
            last = "swollen"
        changed = values * (1 + change * changes.standard_normal(values.shape))
        weights[f"w{index}"] = changed.astype(np.float32)
        operands = [last, f"w{index}"]
        last, channels = f"t{index}", 8
        nodes.append(helper.make_node("Conv", operands, [last], f"conv{index}", pads=[1] * 4))
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, [1, 8, SIDE, SIDE])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)


class Weeks:
    """Preparations of the network with the weights of some week, into one store."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.output = f"file://{folder}/out"
        self.blobs = Blobs(*open_store(self.output, Credentials.OUTPUT, {}))
        (folder / "data").mkdir()
        random = np.random.default_rng(3)
        for number in range(6):
            np.save(folder / f"data/{number}.npy", random.random((1, 3, SIDE, SIDE), np.float32))

    def plan(self, week: int, **changes: Any) -> PreparePlan:
        model = self._folder / f"{week}.onnx"
        if not model.exists():
            network(model, change=0.02 * week)
        asked = measured({FP32: 1.0}, gates=[GATE]).plan
        plan = PreparePlan(
            model=PlannedModel(
                uri=f"file://{model}",
                sha256=hashlib.sha256(model.read_bytes()).hexdigest(),
                format=ModelFormat.ONNX,
            ),
            inputs=[InputSpec(name="image", shape=[1, 3, SIDE, SIDE])],
            dimensions={},
            calibration=PlannedData(
                uri=f"file://{self._folder}/data", samples=6, images=ImageTransform()
            ),
            variants=VARIANTS,
            output_uri=self.output,
            quality=[GATE],
            search=FACTS,
            question=question(asked),
            cpu_classes=[CpuClass.OTHER],
        )
        return plan.model_copy(update=changes)

    def run(self, plan: PreparePlan, **environ: str) -> tuple[PrepareResult, str]:
        return prepare(plan, os.environ | environ, self._folder, unlogged)

    def measured(self, told: tuple[PrepareResult, str], speeds: dict[str, float]) -> None:
        """Remember a measurement of what was prepared: of an hour ago."""
        one = measured(speeds, gates=[GATE], weights=told[0].source.sha256)
        at = datetime.now(UTC) - timedelta(hours=1)
        changes = {"prepared": told[1], "measured_at": at.strftime("%Y-%m-%dT%H:%M:%SZ")}
        result = one.result.model_copy(update=changes)
        remember(self.blobs, told[0], self.blobs.put_bytes(result_bytes(result)), result)


def unlogged(step: str, message: str, **fields: object) -> None: ...


def question(plan: MeasurePlan) -> str | None:
    asked = (plan.benchmark, plan.objective, plan.quality, plan.dimensions)
    return question_of(*asked, references=False)


def made(result: PrepareResult) -> set[str]:
    return {step.name for step in result.steps if step.outcome is StepOutcome.BUILT}


@pytest.fixture
def weeks(tmp_path: Path) -> Weeks:
    return Weeks(tmp_path)


def test_the_search_begins_where_the_last_one_ended(weeks: Weeks) -> None:
    first = weeks.run(weeks.plan(1))
    (report,) = [q for q in first[0].quantizations if q.fallbacks]
    (search,) = report.fallbacks
    assert search.exclude
    assert (first[0].starts, search.from_start) == ({}, False)
    weeks.measured(first, {INT8: 2.0, FP32: 1.0})

    second = weeks.run(weeks.plan(2))
    assert second[0].graph == first[0].graph
    assert second[0].outrun == {}
    assert second[0].starts == {report.name: sorted(search.exclude)}
    (other,) = [q.fallbacks[0] for q in second[0].quantizations if q.fallbacks]
    assert other.from_start
    assert {*other.exclude} <= {*search.exclude}
    assert other.trials < search.trials
    assert other.required is not None
    assert other.quality >= other.required

    # The same again is served, whatever was measured since; its own measurement tells it nothing.
    weeks.measured(second, {INT8: 1.0, FP32: 2.0, OTHER: 1.0})
    assert weeks.run(weeks.plan(2)) == second
    # A second search has its own form, and finds the first as it was.
    aims = {INT8: [GateAim.of(GATE, 1)]}
    again, _ = weeks.run(weeks.plan(2, aims=aims))
    assert len(made(again)) == 1
    assert report.name not in made(again)


def test_what_lost_is_not_made(weeks: Weeks) -> None:
    first = weeks.run(weeks.plan(1))
    weeks.measured(first, {INT8: 1.0, FP32: 2.0, OTHER: 1.0})
    plan = weeks.plan(2)
    second = weeks.run(plan)
    assert second[0].outrun[TargetKind.CPU].variants.keys() == {INT8, OTHER}
    assert made(second[0]) == {"fp32"}
    assert second[0].artifacts_on(TargetKind.CPU) == {FP32: "fp32"}
    assert weeks.run(plan) == second

    whole = {FP32, OTHER, INT8}
    for result, _ in (
        weeks.run(plan, **{REQUESTED_AT_VARIABLE: "now"}),
        weeks.run(weeks.plan(2, question="0" * 64)),
        weeks.run(weeks.plan(2, search=None, question=None)),
        weeks.run(weeks.plan(1)),
    ):
        assert result.outrun == {}
        assert {*result.artifacts_on(TargetKind.CPU)} == whole
    # What was made for another question answers this one no worse, but this one has its own.
    assert weeks.run(plan) == second
