"""The name under which an equal measurement is found again."""

from __future__ import annotations

from mopt_api.benchmark import Benchmark
from mopt_api.enums import ModelFormat
from mopt_api.figures import Gpu
from mopt_api.jobs.plan import MeasurePlan, PlannedModel
from mopt_api.objective import Objective
from mopt_optimizer.machine.system import System
from mopt_optimizer.stages.measure.key import content_key, runtime_versions

PLAN = MeasurePlan(
    target="default",
    model=PlannedModel(uri="s3://m/a.onnx", sha256="0" * 64, format=ModelFormat.ONNX),
    prepared=f"sha256:{'1' * 64}",
    inputs=[],
    dimensions={},
    variants=[],
    quality=[],
    objective=Objective(),
    benchmark=Benchmark(),
    output_uri="s3://optimized",
)
L4 = Gpu(name="NVIDIA L4", compute_capability="8.9", memory_bytes=24 * 2**30, driver="580.65")


def test_the_key_holds_what_bears_on_the_result() -> None:
    hardware = System().hardware({"MOPT_NODE_NAME": "a"})

    def key(**changes: object) -> str:
        arguments = {
            "evaluation_digest": None,
            "hardware": hardware,
            "software": runtime_versions(),
            "requested_at": None,
        } | changes
        return content_key(PLAN, **arguments)  # type: ignore[arg-type]

    assert key() == key(hardware=hardware.model_copy(update={"node": "b"}))
    different = [
        key(),
        key(evaluation_digest=f"sha256:{'2' * 64}"),
        key(hardware=hardware.model_copy(update={"threads": 99})),
        key(hardware=hardware.model_copy(update={"gpu": L4})),
        key(hardware=hardware.model_copy(update={"gpu": L4.model_copy(update={"name": "T4"})})),
        key(hardware=hardware.model_copy(update={"gpu": L4.model_copy(update={"mig": True})})),
        key(software={}),
        key(requested_at="2026-01-01T00:00:00Z"),
        content_key(
            PLAN.model_copy(update={"target": "other"}),
            evaluation_digest=None,
            hardware=hardware,
            software=runtime_versions(),
            requested_at=None,
        ),
    ]
    assert len(set(different)) == len(different)
