"""Where no server loads what was selected, the form that computes the same is published."""

from __future__ import annotations

from typing import Any

import pytest
from job_messages import digest
from operator_world import MakeWorld, World
from publishing_life import finish, publish, published, publishing

from mopt_api.jobs.plan import PublishPlan, Stage
from mopt_api.publishing import PublishLayout
from mopt_api.status import TargetStatus
from mopt_operator.decide.asked import read_asked
from mopt_operator.decide.publish_work import in_place, order_of

FP32 = digest("onnxruntime-fp32")
LAYOUT = PublishLayout.MODEL_REPOSITORY


def kept(make_world: MakeWorld, **fields: Any) -> World:
    """Return a resource that keeps its source, a program of torch.export."""
    world = make_world(publish=publish(**fields))
    world.run(selected="baseline")
    return world


def forms(world: World) -> list[Any]:
    job = world.the_job(Stage.PUBLISH)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    (plan,) = [e["value"] for e in container["env"] if e["name"] == "MOPT_PLAN"]
    return PublishPlan.model_validate_json(plan).forms


def test_the_baselines_export_takes_its_place(make_world: MakeWorld) -> None:
    world = kept(make_world)
    (form,) = forms(world)
    target = world.status["targets"][0]
    assert target["artifact"]["variant"] == "baseline"
    assert (form.variant, form.artifact) == ("onnxruntime-fp32", FP32)
    assert form.uri == target["variants"][0]["artifact"]["uri"]
    assert form.result == target["report"]["digest"]
    finish(world)
    done = published(world)
    assert (done["variant"], done["artifact"]) == ("onnxruntime-fp32", FP32)
    assert done["insteadOf"] == target["artifact"]["digest"]
    assert world.published() == ("True", "Published")
    assert world.condition("Published")["message"].endswith(
        "default: onnxruntime-fp32 in place of baseline, which no server loads from a "
        "ModelRepository"
    )
    # The record of the selection names it.
    assert world.status["history"][0]["published"] == done["reference"]
    assert publishing(world)
    before = done["reference"]
    world.settle()
    assert published(world)["reference"] == before


@pytest.mark.parametrize("layout", ["Files", "ModelPack"])
def test_a_layout_of_files_takes_any(make_world: MakeWorld, layout: str) -> None:
    world = kept(make_world, layout=layout)
    (form,) = forms(world)
    assert form.variant == "baseline"
    finish(world)
    assert "insteadOf" not in published(world)
    assert published(world)["variant"] == "baseline"


def test_approval_names_what_is_pushed(make_world: MakeWorld) -> None:
    world = make_world(publish=publish() | {"policy": "Manual"})
    world.run(selected="baseline")
    assert world.published() == ("False", "AwaitingApproval")
    assert world.condition("Published")["message"].endswith(f"mopt.dev/approve={FP32}")


def changed(world: World, **fields: object) -> TargetStatus:
    """Return the target as status has it, but for fields of its FP32 form."""
    target = TargetStatus.model_validate(world.status["targets"][0])
    variants = [target.variants[0].model_copy(update=fields), *target.variants[1:]]
    return target.model_copy(update={"variants": variants})


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"state": "Rejected"}, id="misses a gate"),
        pytest.param({"precision": "BF16"}, id="other precision"),
        pytest.param({"artifact": None}, id="no file"),
    ],
)
def test_it_is_within_the_gates_and_of_the_same_precision(
    make_world: MakeWorld, fields: dict[str, object]
) -> None:
    world = kept(make_world)
    target = changed(world, **fields)
    assert in_place(changed(world), LAYOUT) is not None
    assert in_place(target, LAYOUT) is None
    # What cannot be replaced is tried as it is: the Job says what is wrong.
    request = read_asked(world.snapshot().resource, world.settings).request
    assert request.spec.publish is not None
    order = order_of(request.spec.publish, request, [target], world.settings)
    assert order is not None
    assert [form.variant for form in order.forms] == ["baseline"]


def test_figures_of_another_file_say_nothing(make_world: MakeWorld) -> None:
    world = kept(make_world)
    target = changed(world)
    assert target.artifact is not None
    other = target.artifact.model_copy(update={"digest": digest("an older source")})
    assert in_place(target.model_copy(update={"artifact": other}), LAYOUT) is None


def test_what_was_published_stays_where_another_is_faster_now(make_world: MakeWorld) -> None:
    world = kept(make_world)
    finish(world)
    target = changed(world)
    quicker = target.variants[0].model_copy(update={"name": "openvino-fp32", "speedup": 9.0})
    both = target.model_copy(update={"variants": [*target.variants, quicker]})
    found = in_place(both, LAYOUT)
    assert found is not None
    assert found.name == "onnxruntime-fp32"
    found = in_place(both.model_copy(update={"published": None}), LAYOUT)
    assert found is not None
    assert found.name == "openvino-fp32"
