"""What tests of verification do to a world."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from job_messages import HARDWARE, digest, measure_message, prepare_message
from operator_world import World
from pod_environment import environment

from mopt_api.figures import DataDigests, Latency, QualityResult
from mopt_api.jobs.plan import PLAN_ADAPTER, Stage, VerifyPlan
from mopt_api.jobs.termination import MeasureSummary, VariantSummary, decode, encode
from mopt_operator.config.settings import OnUpgrade, UpgradePolicy

NEW = "mopt/optimizer:newer"
BUILD = "0.2.0+ffffffffffff"
DATA = DataDigests(calibration=digest("calibration"), evaluation=digest("evaluation"))
CPU = HARDWARE.model_copy(update={"cpu_features": ["avx2", "avx512f"]})
READY = {"Ready": ("True", "Optimized")}
AT = "2026-11-03T00:00:00Z"
BEST, SECOND = "openvino-bf16", "onnxruntime-fp32"


def with_settings(world: World, **changes: object) -> None:
    policy = {"on_upgrade": OnUpgrade(policy=UpgradePolicy.VERIFY)}
    world.settings = world.settings.model_copy(update=policy | changes)


def plan_of(job: dict[str, Any]) -> VerifyPlan:
    (container,) = job["spec"]["template"]["spec"]["containers"]
    plan = PLAN_ADAPTER.validate_json(environment(container["env"])["MOPT_PLAN"])
    assert isinstance(plan, VerifyPlan)
    return plan


def found(
    job: dict[str, Any],
    change: Callable[[VariantSummary], dict[str, object]] = lambda _: {},
    *,
    kept: str | None = "baseline",
    **fields: object,
) -> str:
    """Return what a verification returns: the forms asked for as they were, but for changes.

    Args:
        kept: What is selected where no form passes.
    """
    told: dict[str, Any] = {"data": DATA, "hardware": CPU, "at": AT, "build": BUILD} | fields
    summary = decode(measure_message(result="verification", **told))
    assert isinstance(summary, MeasureSummary)
    assert summary.baseline is not None
    forms = [form for form in summary.variants if form.name in plan_of(job).forms]
    forms = [form.model_copy(update=change(form)) for form in forms]
    passed = [form.name for form in forms if form.state == "Passed"]
    baseline = summary.baseline.model_copy(update=change(summary.baseline))
    chosen = max(passed, key=lambda name: {BEST: 2, SECOND: 1}[name], default=kept)
    changed = {"variants": forms, "baseline": baseline, "selected": chosen}
    return encode(summary.model_copy(update=changed))


def slower(name: str, times: float) -> Callable[[VariantSummary], dict[str, object]]:
    def changed(form: VariantSummary) -> dict[str, object]:
        if form.name != name or form.latency_ms is None:
            return {}
        latency = form.latency_ms
        return {
            "latency_ms": Latency(
                p50=latency.p50 * times, p90=latency.p90 * times, p99=latency.p99 * times
            )
        }

    return changed


def missing(*names: str) -> Callable[[VariantSummary], dict[str, object]]:
    """Let forms miss their gate."""

    def changed(form: VariantSummary) -> dict[str, object]:
        if form.name not in names:
            return {}
        return {
            "state": "Rejected",
            "reason": "QualityGate",
            "message": "worst PSNR 31.00 is below 40",
            "quality": [QualityResult(metric="PSNR", worst=31.0, mean=33.0)],
        }

    return changed


def the_target(world: World) -> dict[str, Any]:
    (target,) = world.status["targets"]
    return dict(target)


def upgraded(world: World) -> dict[str, Any]:
    """Give the operator another image; return the Job that verifies."""
    with_settings(world, optimizer_image=NEW)
    world.settle()
    return world.the_job(Stage.VERIFY, "default")


def verified(world: World, **changes: Any) -> None:
    world.complete(world.the_job(Stage.VERIFY, "default"), found(**changes))
    world.settle()


def full_run(world: World, selected: str = BEST) -> None:
    world.complete(world.the_job(Stage.PREPARE), prepare_message())
    world.settle()
    world.measure(data=DATA, hardware=CPU, build=BUILD, at=AT, selected=selected)
