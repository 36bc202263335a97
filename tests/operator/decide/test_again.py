"""What makes work start again, and what does not."""

from __future__ import annotations

from job_messages import Messages
from operator_world import MakeWorld, World

from mopt_api.jobs.plan import Stage
from mopt_operator.decide.decide import Plan
from mopt_operator.decide.track import GRACE_SECONDS
from mopt_operator.decide.work import MAX_ATTEMPTS


def names(world: World) -> set[str]:
    return set(world.jobs)


def test_new_spec_replaces_the_jobs_and_forgets_the_results(world: World) -> None:
    world.run()
    old = names(world)
    world.edit(model=world.raw["spec"]["model"] | {"sha256": "b" * 64})
    plan = world.decide()
    assert {job.name for job in plan.delete} == old
    world.settle()
    assert names(world).isdisjoint(old)
    assert world.said()["Ready"] == ("Unknown", "Preparing")
    assert world.status["observedGeneration"] == 2
    assert world.results == []
    assert "source" not in world.status


def test_result_of_an_old_spec_is_never_used(world: World, messages: Messages) -> None:
    world.settle()
    job = world.the_job(Stage.PREPARE)
    world.edit(inputs=[{"name": "other", "shape": ["batch", 3, "height", "width"]}])
    world.complete(job, messages.prepare())
    plan = world.decide()
    assert [gone.name for gone in plan.delete] == [job["metadata"]["name"]]
    assert [made["metadata"]["labels"]["mopt.dev/stage"] for made in plan.create] == ["prepare"]


def test_metric_never_computed_measures_again_but_does_not_prepare_again(world: World) -> None:
    world.run()
    prepare, measure = sorted(names(world), key=lambda name: "default" in name)
    world.edit(quality=[{"metric": "SSIM", "minimum": 0.9}])
    world.settle()
    assert prepare in names(world)
    assert measure not in names(world)
    assert world.said()["Ready"] == ("Unknown", "Measuring")


def test_request_runs_again_and_is_echoed(world: World) -> None:
    world.run()
    old = names(world)
    world.request("2026-11-02")
    world.settle()
    assert world.status["lastHandledReconcileAt"] == "2026-11-02"
    assert len(names(world)) == 1
    assert names(world).isdisjoint(old)
    assert world.results == []
    world.run()
    assert world.said() == {"Ready": ("True", "Optimized")}
    world.lose_all_jobs()
    assert world.decide() == Plan()


def test_longer_request_than_status_can_hold_is_handled_once(world: World) -> None:
    world.request("x" * 500)
    world.run()
    assert len(world.status["lastHandledReconcileAt"]) == 128
    world.lose_all_jobs()
    assert world.decide() == Plan()


def test_vanished_job_is_made_again_under_its_name(world: World) -> None:
    world.settle()
    old = names(world)
    world.lose_all_jobs()
    world.settle()
    assert names(world) == old


def test_job_whose_pod_vanished_unread_is_waited_for_and_then_repeated(
    world: World, messages: Messages
) -> None:
    world.settle()
    job = world.the_job(Stage.PREPARE)
    world.complete(job, messages.prepare())
    world.lose_pods(job)
    assert world.settle().requeue_after == GRACE_SECONDS
    assert len(world.jobs) == 1
    world.sleep(GRACE_SECONDS)
    world.settle()
    assert len(world.jobs) == 2
    world.complete(world.the_job(Stage.PREPARE), messages.prepare())
    world.settle()
    assert world.said()["Ready"] == ("Unknown", "Measuring")


def test_results_that_keep_vanishing_end_in_a_failure(world: World, messages: Messages) -> None:
    world.settle()
    for _ in range(MAX_ATTEMPTS):
        job = world.the_job(Stage.PREPARE)
        world.complete(job, messages.prepare())
        world.lose_pods(job)
        world.sleep(GRACE_SECONDS)
        world.settle()
    assert len(world.jobs) == MAX_ATTEMPTS
    assert world.said() == {"Ready": ("False", "JobFailed"), "Stalled": ("True", "JobFailed")}


def test_measuring_goes_on_without_the_prepare_job_and_its_pod(
    world: World, messages: Messages
) -> None:
    world.settle()
    prepare = world.the_job(Stage.PREPARE)
    world.complete(prepare, messages.prepare())
    world.settle()
    world.lose_pods(prepare)
    world.sleep(60)
    world.settle()
    assert len(world.jobs) == 2
    del world.jobs[prepare["metadata"]["name"]]
    world.settle()
    world.complete(world.the_job(Stage.MEASURE, "default"), messages.measure())
    world.settle()
    assert world.said() == {"Ready": ("True", "Optimized")}
    assert world.status["source"]["opset"] == 18


def test_pod_of_an_earlier_job_of_the_same_name_is_not_believed(
    world: World, messages: Messages
) -> None:
    world.settle()
    job = world.the_job(Stage.PREPARE)
    pod = world.terminated_pod(job, messages.prepare())
    world.end(job, "Complete")
    pod["metadata"]["ownerReferences"][0]["uid"] = "uid-of-the-earlier-job"
    plan = world.decide()
    assert plan.create == ()
    assert plan.requeue_after == GRACE_SECONDS


def test_job_of_somebody_else_with_our_labels_is_not_touched(world: World) -> None:
    world.settle()
    job = world.the_job(Stage.PREPARE)
    foreign = job | {"metadata": job["metadata"] | {"name": "foreign", "uid": "uid-foreign"}}
    foreign["metadata"]["ownerReferences"] = [{"uid": "uid-other", "controller": True}]
    world.jobs["foreign"] = foreign
    assert world.decide() == Plan(requeue_after=world.decide().requeue_after)


def test_job_that_is_being_deleted_does_not_count(world: World) -> None:
    world.settle()
    job = world.the_job(Stage.PREPARE)
    job["metadata"]["deletionTimestamp"] = "2026-11-01T12:00:01Z"
    plan = world.decide()
    assert [made["metadata"]["name"] for made in plan.create] == [job["metadata"]["name"]]
    assert plan.delete == ()


def test_transition_times_move_with_the_status_only(
    make_world: MakeWorld, messages: Messages
) -> None:
    world = make_world(targets=[{"name": "a"}, {"name": "b"}])
    world.settle()
    world.sleep(10)
    world.complete(world.the_job(Stage.PREPARE), messages.prepare())
    world.settle()
    assert world.condition("Ready")["lastTransitionTime"] == "2026-11-01T12:00:00Z"
    world.sleep(10)
    for target in ("a", "b"):
        world.complete(world.the_job(Stage.MEASURE, target), messages.measure(target))
    world.settle()
    assert world.condition("Ready")["lastTransitionTime"] == "2026-11-01T12:00:20Z"


def test_unreadable_status_of_another_version_starts_over(world: World) -> None:
    world.raw["status"] = {"observedGeneration": "one", "conditions": "none"}
    world.settle()
    assert world.said()["Ready"] == ("Unknown", "Preparing")


def test_job_left_running_by_a_finished_run_is_deleted(world: World) -> None:
    world.settle()
    job = world.the_job(Stage.PREPARE)
    pending = {**world.jobs}
    world.run()
    world.jobs = {n: j | {"status": {}} for n, j in pending.items()}
    assert [gone.name for gone in world.decide().delete] == [job["metadata"]["name"]]
