"""A finding is what was seen, whatever it was."""

from __future__ import annotations

from functools import cache

from hypothesis import given
from hypothesis import strategies as st
from job_messages import digest, measure_message
from operator_world import World, manifest
from verified_life import AT, BEST, BUILD, CPU, DATA, NEW, SECOND, slower, the_target, upgraded

from mopt_api.figures import Latency
from mopt_api.jobs.termination import MeasureSummary, VariantSummary, decode
from mopt_api.spec import ModelOptimizationSpec
from mopt_api.status import TargetStatus
from mopt_operator.config.settings import Settings
from mopt_operator.decide.verify import SHARE, concluded

STATES = ["Passed", "Rejected", "Failed", "Skipped"]


@cache
def being_verified() -> tuple[TargetStatus, ModelOptimizationSpec]:
    """Return a target while it is verified, and its spec."""
    world = World(Settings(optimizer_image="mopt/optimizer:test"), manifest())
    world.run(data=DATA, hardware=CPU)
    upgraded(world)
    spec = ModelOptimizationSpec.model_validate(world.raw["spec"])
    return TargetStatus.model_validate(the_target(world)), spec


@given(
    states=st.tuples(st.sampled_from(STATES), st.sampled_from(STATES)),
    latencies=st.lists(st.floats(0.01, 1000), min_size=3, max_size=3),
    same_file=st.booleans(),
    same_data=st.booleans(),
    selected=st.sampled_from([BEST, SECOND, "baseline", None]),
)
def test_finding_is_what_was_seen(
    states: tuple[str, str],
    latencies: list[float],
    same_file: bool,
    same_data: bool,
    selected: str | None,
) -> None:
    target, spec = being_verified()
    summary = decode(measure_message(data=DATA, hardware=CPU, at=AT, build=BUILD))
    assert isinstance(summary, MeasureSummary)
    assert summary.baseline is not None

    def seen(form: VariantSummary, state: str, latency: float) -> VariantSummary:
        timed = Latency(p50=latency, p90=latency, p99=latency)
        file = form.artifact_digest if same_file or form.name != BEST else digest("else")
        changed = {"state": state, "latency_ms": timed, "artifact_digest": file}
        return form.model_copy(update=changed)

    by_name = {form.name: form for form in summary.variants}
    forms = [
        seen(by_name[name], state, latency)
        for name, state, latency in zip((BEST, SECOND), states, latencies, strict=False)
    ]
    data = DATA if same_data else DATA.model_copy(update={"evaluation": digest("other")})
    summary = summary.model_copy(
        update={
            "variants": forms,
            "baseline": seen(summary.baseline, "Passed", latencies[2]),
            "data": data,
            "selected": selected,
        }
    )
    after = concluded(target, summary, spec, optimizer=NEW, limits={})
    assert after.verification is not None
    best, second, baseline = latencies
    held = after.verification.state == "Held"
    assert held == (
        states[0] == "Passed"
        and states[1] != "Rejected"
        and same_file
        and same_data
        and baseline / best * (1 + SHARE) >= 1
        and (states[1] != "Passed" or best / second <= 1 + SHARE)
    )
    assert (after.from_earlier_run is None) == held
    if held:
        changed = {"verification", "from_earlier_run", "source"}
        assert after.model_dump(exclude=changed) == target.model_dump(exclude=changed)
    rejected = {n for n, s in zip((BEST, SECOND), states, strict=True) if s == "Rejected"}
    if not same_file:
        rejected -= {BEST}
    assert after.selected not in rejected
    assert {form.name for form in after.everyone if form.state == "Rejected"} >= rejected


def test_winner_under_load_may_be_behind_in_single_calls_as_it_was() -> None:
    target, spec = being_verified()
    summary = decode(measure_message(data=DATA, hardware=CPU, at=AT, build=BUILD))
    assert isinstance(summary, MeasureSummary)
    behind = slower(BEST, 3)
    summary = summary.model_copy(
        update={"variants": [f.model_copy(update=behind(f)) for f in summary.variants]}
    )
    known = {form.name: form.latency_ms for form in summary.variants}
    was = [form.model_copy(update={"latency_ms": known[form.name]}) for form in target.variants]
    same = concluded(
        target.model_copy(update={"variants": was}), summary, spec, optimizer=NEW, limits={}
    )
    assert same.verification is not None
    assert same.verification.state == "Held"
    new = concluded(target, summary, spec, optimizer=NEW, limits={})
    assert new.verification is not None
    assert new.verification.message == "onnxruntime-fp32 is 1.53 times as good as openvino-bf16"
