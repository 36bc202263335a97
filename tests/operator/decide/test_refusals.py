"""Resources that cannot be carried out, and what heals them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from operator_world import MakeWorld, World

from mopt_api.jobs.plan import Stage
from mopt_api.spec import Output
from mopt_operator.config.settings import Profile, Settings
from mopt_operator.decide.decide import Plan

STALLED = {"Ready": ("False", "InvalidSpec"), "Stalled": ("True", "InvalidSpec")}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"output": None}, "spec.output is missing"),
        (
            {"targets": [{"name": "a", "profile": "gpu"}]},
            "gpu; available profiles: default",
        ),
        ({"dimensions": {}}, "must be declared under dimensions"),
        ({"inputs": []}, "spec.inputs: "),
        ({"execution": {"backoffLimit": 99}}, "spec.execution.backoffLimit: "),
    ],
)
def test_wrong_field_is_named_and_no_job_is_made(
    make_world: MakeWorld, spec: dict[str, Any], words: str
) -> None:
    world = make_world(**spec)
    assert world.decide().create == ()
    world.settle()
    assert world.said() == STALLED
    assert words in world.condition("Ready")["message"]
    assert world.status["observedGeneration"] == 1


def test_change_to_a_wrong_spec_ends_the_jobs(world: World) -> None:
    world.settle()
    world.edit(targets=[{"name": "a", "profile": "gpu"}])
    world.settle()
    assert world.jobs == {}
    assert world.said() == STALLED


def test_administrator_s_change_heals(make_world: MakeWorld, settings: Settings) -> None:
    world = make_world(targets=[{"name": "a", "profile": "gpu"}], output=None)
    world.settle()
    world.settings = settings.model_copy(
        update={
            "profiles": settings.profiles | {"gpu": Profile()},
            "default_output": Output(uri="s3://shared/results"),
        }
    )
    world.settle()
    assert world.said()["Ready"] == ("Unknown", "Preparing")


def test_profile_that_cannot_be_used_is_named_with_why(
    make_world: MakeWorld, settings: Settings
) -> None:
    world = make_world(targets=[{"name": "a", "profile": "gpu"}])
    world.settings = settings.offering(settings.profiles, {"gpu": "spec.tolerations.0: wrong"})
    world.settle()
    assert world.said() == STALLED
    words = "spec.targets: a names profile gpu, which is not valid: spec.tolerations.0: wrong"
    assert words in world.condition("Ready")["message"]


def test_nothing_runs_without_the_profile_that_prepares(
    make_world: MakeWorld, settings: Settings
) -> None:
    world = make_world(targets=[{"name": "a", "profile": "gpu"}])
    world.settings = settings.offering({"gpu": Profile()})
    world.settle()
    assert world.said() == STALLED
    words = "Models are prepared on profile default; available profiles: gpu"
    assert words in world.condition("Ready")["message"]


def test_jobs_go_on_while_their_profile_is_missing(world: World, settings: Settings) -> None:
    world.settle()
    (job,) = world.jobs
    world.settings = settings.offering({})
    world.settle()
    assert world.said() == STALLED
    assert list(world.jobs) == [job]
    world.settings = settings
    world.run()
    assert job in world.jobs
    assert world.said() == {"Ready": ("True", "Optimized")}


def test_another_spec_ends_them_also_where_it_names_no_profile_that_there_is(
    world: World, settings: Settings
) -> None:
    world.settle()
    world.settings = settings.offering({})
    world.settle()
    world.edit(targets=[{"name": "b"}])
    world.settle()
    assert world.jobs == {}


@pytest.mark.parametrize("profile", [None, "gpu"])
def test_profile_is_for_the_namespaces_that_it_selects(
    make_world: MakeWorld, settings: Settings, profile: str | None
) -> None:
    only = Profile.model_validate({"namespaceSelector": {"matchLabels": {"team": "a"}}})
    world = make_world(targets=[{"name": "a"} | ({"profile": profile} if profile else {})])
    world.settings = settings.offering(settings.profiles | {profile or "default": only})
    plan = world.decide()
    assert plan.create == ()
    assert plan.requeue_after == 60.0  # Nothing tells of a namespace's labels.
    world.namespace_labels = {"team": "b"}
    world.settle()
    assert world.said() == STALLED
    assert "not for this namespace" in world.condition("Ready")["message"]
    world.namespace_labels = {"team": "a"}
    world.settle()
    assert world.said()["Ready"] == ("Unknown", "Preparing")


def test_results_stay_when_their_profile_is_withdrawn(world: World, settings: Settings) -> None:
    world.run()
    before = copy.deepcopy(world.status)
    for left in (
        settings.offering({}, {"default": "no longer valid"}),
        settings.offering({"default": Profile.model_validate({"namespaceSelector": {}})}),
    ):
        world.settings = left
        world.settle()
        assert world.said()["Ready"] == ("True", "Optimized")
        assert world.status["targets"] == before["targets"]


def test_wrong_spec_keeps_the_last_results_and_its_correction_costs_nothing(world: World) -> None:
    world.run()
    before = copy.deepcopy(world.status)
    world.edit(targets=[{"name": "default", "profile": "gpu"}])
    world.settle()
    assert world.said() == STALLED
    for field in ("targets", "source", "summary", "history"):
        assert world.status[field] == before[field]
    made = set(world.jobs)
    world.edit(targets=[{"name": "default"}])
    world.settle()
    assert world.said() == {"Ready": ("True", "Optimized")}
    assert world.status["targets"] == before["targets"]
    assert set(world.jobs) <= made


def test_target_that_asks_for_a_gpu_its_profile_does_not_offer_is_refused(
    make_world: MakeWorld,
) -> None:
    gpu = {"limits": {"nvidia.com/gpu": 1}}
    world = make_world(targets=[{"name": "t", "resources": gpu}])
    world.settle()
    assert world.said() == STALLED
    message = world.condition("Ready")["message"]
    assert "spec.targets: t: resources.limits.nvidia.com/gpu" in message
    assert "the profile offers no such device" in message


def test_target_does_not_replace_the_administrator_s_node_labels(
    make_world: MakeWorld, settings: Settings
) -> None:
    profile = Profile(node_selector={"pool": "shared", "zone": "a"})
    offered = settings.model_copy(update={"profiles": {"default": profile}})
    asked = {"pool": "other-team", "disk": "nvme"}
    world = make_world(settings=offered, targets=[{"name": "t", "nodeSelector": asked}])
    world.settle()
    assert world.said() == STALLED
    message = world.condition("Ready")["message"]
    assert (
        "spec.targets: t: nodeSelector.pool: the administrator's profile says 'shared'" in message
    )
    assert world.jobs == {}


def test_target_adds_node_labels_and_may_repeat_the_administrator_s(
    make_world: MakeWorld, settings: Settings
) -> None:
    profile = Profile(node_selector={"pool": "shared", "zone": "a"})
    offered = settings.model_copy(update={"profiles": {"default": profile}})
    asked = {"pool": "shared", "disk": "nvme"}
    world = make_world(settings=offered, targets=[{"name": "t", "nodeSelector": asked}])
    world.run(("t",))
    assert world.said() == {"Ready": ("True", "Optimized")}
    chosen = [job["spec"]["template"]["spec"]["nodeSelector"] for job in world.jobs.values()]
    assert chosen == [
        {"pool": "shared", "zone": "a"},
        {"pool": "shared", "zone": "a", "disk": "nvme"},
    ]


def test_refusal_that_quotes_much_is_cut(world: World) -> None:
    world.edit(dimensions={"x" * 5000: {"min": 1}})
    world.settle()
    assert world.said() == STALLED
    assert len(world.condition("Ready")["message"]) <= 2048


def test_kept_results_are_not_those_of_a_spec_that_the_administrator_heals(
    world: World, settings: Settings
) -> None:
    world.run()
    world.edit(
        model=world.raw["spec"]["model"] | {"sha256": "b" * 64},
        targets=[{"name": "default", "profile": "gpu"}],
    )
    world.settle()
    profiles = settings.profiles | {"gpu": Profile()}
    world.settings = settings.model_copy(update={"profiles": profiles})
    world.settle()
    assert world.said()["Ready"] == ("Unknown", "Preparing")
    assert world.results == []


def test_wrong_spec_shows_no_progress_of_the_run_that_it_ended(world: World) -> None:
    world.settle()
    assert "progress" in world.status
    world.edit(inputs=[])
    world.settle()
    assert "progress" not in world.status
    assert world.said() == STALLED


def test_default_output_of_the_administrator_is_used(
    make_world: MakeWorld, settings: Settings
) -> None:
    output = Output.model_validate({"uri": "s3://shared", "credentialsSecretRef": {"name": "s"}})
    with_default = settings.model_copy(update={"default_output": output})
    world = make_world(settings=with_default, output=None)
    world.run()
    assert world.status["targets"][0]["report"]["uri"].startswith("s3://shared/blobs/sha256/")


def test_default_output_may_name_the_namespace(make_world: MakeWorld, settings: Settings) -> None:
    output = Output(uri="s3://shared/{namespace}/models/{namespace}")
    with_default = settings.model_copy(update={"default_output": output})
    world = make_world(settings=with_default, output=None)
    world.run()
    uri = world.status["targets"][0]["report"]["uri"]
    assert uri.startswith("s3://shared/team/models/team/blobs/sha256/")


def test_output_of_a_resource_is_taken_as_it_is(make_world: MakeWorld) -> None:
    world = make_world(output={"uri": "s3://own/{namespace}"})
    world.run()
    assert world.status["targets"][0]["report"]["uri"].startswith("s3://own/{namespace}/blobs/")


def test_job_that_the_api_server_calls_invalid_stalls_and_is_tried_again_on_change(
    world: World,
) -> None:
    name = world.decide().create[0]["metadata"]["name"]
    world.refusals = {name: (422, "requests: must be less than or equal to cpu limit")}
    plan = world.decide()
    assert plan.create == ()
    world.carry_out(plan)
    assert world.said() == STALLED
    assert "must be less than or equal" in world.condition("Ready")["message"]
    assert "progress" not in world.status
    world.refusals = {}
    assert len(world.decide().create) == 1


def test_forbidden_job_is_waited_for(world: World) -> None:
    name = world.decide().create[0]["metadata"]["name"]
    world.refusals = {name: (403, "exceeded quota: jobs")}
    plan = world.decide()
    assert plan.requeue_after == 300
    world.carry_out(plan)
    assert world.said() == {
        "Ready": ("False", "PodForbidden"),
        "Reconciling": ("True", "Preparing"),
    }
    world.refusals = {}
    world.settle()
    world.the_job(Stage.PREPARE)
    assert world.said()["Ready"] == ("Unknown", "Preparing")
    assert world.decide() == Plan(requeue_after=3.0)
