"""Many resources, few slots: who runs, who waits, and what waiting costs."""

from __future__ import annotations

import pytest
from operator_crowd import Crowd

from mopt_operator.cluster.cache import Key
from mopt_operator.config.settings import OnUpgrade, Profile, Settings, UpgradePolicy
from mopt_operator.decide.admission import Holding
from mopt_operator.loop.slots import Slots
from mopt_operator.objects import Resource


def crowd(*, nodes: tuple[str, ...] = ("node-1",), **fields: object) -> Crowd:
    return Crowd(Settings.model_validate({"optimizerImage": "i:1"} | fields), nodes=nodes)


def profiles(**fields: object) -> dict[str, object]:
    return {"default": fields}


def owner(job: dict[str, object]) -> Key:
    metadata = job["metadata"]
    assert isinstance(metadata, dict)
    return metadata["namespace"], metadata["labels"]["mopt.dev/name"]


async def test_measurements_run_one_after_the_other_oldest_first() -> None:
    cluster = crowd()
    keys = [cluster.apply("team", name) for name in ("c", "a", "b")]
    await cluster.prepare_all()
    order = []
    for _ in keys:
        (job,) = cluster.unfinished()
        order.append(owner(job))
        cluster.finish(job)
        await cluster.settle()
    assert order == keys
    assert {cluster.said(key)[1] for key in keys} == {"Optimized"}


async def test_those_that_wait_say_so_and_cost_nothing() -> None:
    cluster = crowd()
    keys = [cluster.apply("team", f"r{number:02}") for number in range(30)]
    await cluster.prepare_all()
    assert cluster.said(keys[0])[:2] == ("Unknown", "Measuring")
    assert cluster.said(keys[1]) == (
        "Unknown",
        "WaitingForSlot",
        "Waiting for a slot: profile default runs 1 measurement at once; the oldest of a namespace "
        "is next",
    )
    before = cluster.calls.copy()
    for key in keys:
        cluster.queue.add(key)
    await cluster.settle()
    assert cluster.calls == before
    # One place further, the others write nothing: done; Measuring.
    cluster.finish(cluster.unfinished()[0])
    await cluster.settle()
    assert cluster.calls["write_status"] - before["write_status"] == 2


async def test_a_life_writes_status_four_times_however_long_the_line_is() -> None:
    cluster = crowd()
    keys = [cluster.apply("team", f"r{number:02}") for number in range(40)]
    await cluster.prepare_all()
    while jobs := cluster.unfinished():
        cluster.finish(jobs[0])
        await cluster.settle()
    assert {cluster.said(key)[1] for key in keys} == {"Optimized"}
    # Preparing; WaitingForSlot, which the first one never does; Measuring; Optimized.
    assert cluster.calls["write_status"] == 4 * len(keys) - 1


async def test_no_namespace_waits_for_all_of_another() -> None:
    cluster = crowd(profiles=profiles(measurementSlots=2))
    for number in range(10):
        cluster.apply("first", f"r{number}")
    late = cluster.apply("late", "r")
    await cluster.prepare_all()
    assert {owner(job) for job in cluster.unfinished()} == {("first", "r0"), ("first", "r1")}
    cluster.finish(cluster.unfinished()[0])
    await cluster.settle()
    assert late in {owner(job) for job in cluster.unfinished()}


async def test_resource_on_another_profile_is_served_while_others_wait() -> None:
    cluster = crowd(profiles={"default": {"maxRunning": 1}, "other": {}})
    for number in range(100):
        cluster.apply(f"team-{number % 7}", f"r{number}")
    await cluster.settle()
    (running,) = cluster.unfinished()
    assert cluster.calls["create_job"] == 1
    cluster.finish(running)
    before = cluster.calls["write_status"]
    await cluster.settle()
    assert len(cluster.unfinished()) == 1
    # A slot that is freed does not have all the others looked at.
    assert cluster.calls["write_status"] - before <= 2


def test_other_bounds_serve_those_who_wait_by_the_old_ones() -> None:
    def bounded(slots: int) -> Settings:
        profiles = {"default": Profile(measurement_slots=slots)}
        return Settings(optimizer_image="i", profiles=profiles)

    woken: list[Key] = []
    slots = Slots(bounded(1), woken.append)
    labels = {"mopt.dev/stage": "measure", "mopt.dev/profile": "default"}
    waits = [
        slots.ask(
            Resource("n", f"r{number}", "uid", 1, "1", {}, {}, created=f"{number}"),
            [{"metadata": {"name": f"job-{number}", "labels": labels}}],
        )
        for number in range(3)
    ]
    assert [len(found) for found in waits] == [0, 1, 1]
    slots.use(bounded(2))
    assert woken == [("n", "r1")]


@pytest.mark.parametrize("namespaces", [1, 40, 5000])
def test_five_thousand_that_wait_hold_nobody_else_up(namespaces: int) -> None:
    profiles = {"default": Profile(), "other": Profile()}
    woken: list[Key] = []
    slots = Slots(Settings(optimizer_image="i", profiles=profiles), woken.append)

    def ask(number: int, profile: str = "default") -> dict[str, str]:
        key = (f"n{number % namespaces}", f"r{number}")
        labels = {"mopt.dev/stage": "measure", "mopt.dev/profile": profile}
        job = {"metadata": {"name": f"job-{number}", "labels": labels}}
        created = f"{number:05}"
        return slots.ask(Resource(*key, "uid", 1, "1", {}, {}, created=created), [job])

    waits = [ask(number) for number in range(5000)]
    assert [len(found) for found in waits] == [0] + [1] * 4999
    assert ask(5000, "other") == {}
    assert woken == []
    # Each slot that is freed wakes the next one alone.
    running = 0
    for _ in range(20):
        woken.clear()
        slots.observe((f"n{running % namespaces}", f"r{running}"), Holding())
        ((_, name),) = woken
        running = int(name[1:])
        assert ask(running) == {}
        assert len(woken) == 1


async def test_measurement_elsewhere_is_served_while_others_wait() -> None:
    cluster = crowd(profiles={"default": {}, "other": {}})
    for number in range(40):
        cluster.apply("team", f"r{number}")
    await cluster.prepare_all()
    key = cluster.apply("team", "r", targets=[{"name": "default", "profile": "other"}])
    await cluster.prepare_all()
    assert {owner(job) for job in cluster.unfinished()} == {("team", "r0"), key}


async def test_restart_counts_what_runs_from_jobs_alone() -> None:
    cluster = crowd(profiles=profiles(maxRunning=3), maxRunningPerNamespace=2)
    keys = [cluster.apply(f"team-{number % 2}", f"r{number}") for number in range(8)]
    await cluster.settle()
    running = {owner(job) for job in cluster.unfinished()}
    assert running == set(keys[:3])
    cluster.restart()
    await cluster.settle()
    assert {owner(job) for job in cluster.unfinished()} == running
    cluster.finish(cluster.unfinished()[0])
    cluster.restart()
    await cluster.settle()
    # The next stage of the oldest comes before the first one of others.
    assert {owner(job) for job in cluster.unfinished()} == running


async def test_deleted_and_suspended_resources_give_their_place_to_others() -> None:
    cluster = crowd(profiles=profiles(maxRunning=1))
    first, second, third, fourth = (cluster.apply("team", name) for name in "abcd")
    await cluster.settle()
    cluster.delete(second)
    cluster.delete(first)
    await cluster.settle()
    assert [owner(job) for job in cluster.unfinished()] == [third]
    cluster.edit(cluster.resources[third], execution={"suspend": True})
    await cluster.settle()
    assert [owner(job) for job in cluster.unfinished()] == [fourth]


async def test_two_measurements_of_different_profiles_do_not_stay_on_one_node() -> None:
    cluster = crowd(profiles={"default": {}, "other": {}})
    first = cluster.apply("a", "r")
    second = cluster.apply("b", "r", targets=[{"name": "default", "profile": "other"}])
    await cluster.prepare_all()
    assert len(cluster.unfinished("measure")) == 2
    cluster.start_pods()
    await cluster.settle()
    assert [owner(job) for job in cluster.unfinished("measure")] == [first]
    assert cluster.said(second) == (
        "Unknown",
        "WaitingForSlot",
        "Waiting for another measurement to leave node node-1",
    )
    deleted = cluster.calls["delete_job"]
    cluster.queue.add(second)
    await cluster.settle()
    assert (deleted, cluster.calls["delete_job"]) == (1, 1)
    cluster.finish(cluster.unfinished("measure")[0])
    await cluster.settle()
    (job,) = cluster.unfinished("measure")
    assert owner(job) == second
    cluster.finish(job)
    await cluster.settle()
    assert {cluster.said(key)[1] for key in (first, second)} == {"Optimized"}


async def test_measurements_on_two_nodes_run_at_once_and_avoid_each_other() -> None:
    cluster = crowd(nodes=("node-1", "node-2"), profiles=profiles(measurementSlots=2))
    cluster.apply("a", "r")
    await cluster.prepare_all()
    cluster.start_pods()
    await cluster.settle()
    cluster.apply("b", "r")
    await cluster.prepare_all()
    cluster.start_pods()
    await cluster.settle()
    first, second = cluster.unfinished("measure")
    assert "affinity" not in first["spec"]["template"]["spec"]
    (wish,) = second["spec"]["template"]["spec"]["affinity"]["nodeAffinity"].values()
    (busy,) = wish[0]["preference"]["matchFields"]
    (pod,) = cluster.pods_of_job(first)
    assert busy["values"] == [pod["spec"]["nodeName"]]
    assert cluster.calls["delete_job"] == 0


async def test_builds_share_a_node_but_not_with_a_measurement() -> None:
    engines = {"buildOnly": True, "computeCapabilities": ["8.9"]}
    cluster = crowd(profiles={"default": {}, "engines": engines})
    targets = [{"name": "default", "profile": "engines"}]
    for name in "ab":
        cluster.apply("team", name, targets=targets)
    await cluster.prepare_all()
    cluster.start_pods()
    await cluster.settle()
    assert len(cluster.unfinished("measure")) == 2
    last = cluster.apply("team", "c")
    await cluster.prepare_all()
    cluster.start_pods()
    await cluster.settle()
    assert len(cluster.unfinished("measure")) == 2
    assert cluster.said(last)[1] == "WaitingForSlot"


async def test_quota_of_a_namespace_costs_one_post_per_pause() -> None:
    cluster = crowd()
    cluster.quota = 5
    keys = [cluster.apply("team", f"r{number}") for number in range(60)]
    free = cluster.apply("other", "r")
    await cluster.settle()
    assert cluster.calls["create_job"] == 7
    assert {cluster.said(key)[1] for key in keys[:5]} == {"Preparing"}
    waits = {cluster.said(key) for key in keys[5:]}
    assert {reason for _, reason, _ in waits} == {"PodForbidden"}
    assert all("exceeded quota: few" in message for _, _, message in waits)
    assert all("tried again within two minutes" in message for _, _, message in waits)
    assert cluster.said(free)[1] == "Preparing"
    for key in keys:
        cluster.queue.add(key)
    await cluster.settle()
    assert cluster.calls["create_job"] == 7


async def test_refused_namespace_holds_no_slot() -> None:
    cluster = crowd(profiles=profiles(maxRunning=1))
    cluster.quota = 0
    refused = cluster.apply("team", "r")
    await cluster.settle()
    assert cluster.said(refused)[1] == "PodForbidden"
    cluster.quota = None
    served = cluster.apply("other", "r")
    await cluster.settle()
    assert [owner(job) for job in cluster.unfinished()] == [served]


async def upgraded(
    number: int, most: int, policy: UpgradePolicy = UpgradePolicy.RERUN
) -> tuple[Crowd, list[Key]]:
    """Return a cluster in which another optimizer has measured resources."""
    many = profiles(measurementSlots=99)
    cluster = crowd(profiles=many)
    keys = [cluster.apply("team", f"r{99 - index}") for index in range(number)]
    await cluster.prepare_all()
    for job in cluster.unfinished():
        cluster.finish(job)
    await cluster.settle()
    cluster.jobs.clear()
    cluster.pods.clear()
    upgrade = OnUpgrade(policy=policy, max_concurrent=most)
    cluster.settings = cluster.settings.model_copy(
        update={"optimizer_image": "i:2", "on_upgrade": upgrade}
    )
    cluster.restart()
    await cluster.settle()
    return cluster, keys


def rerunning(cluster: Crowd) -> list[Key]:
    return [owner(job) for job in cluster.unfinished()]


async def test_upgrade_makes_a_few_again_at_once_oldest_first() -> None:
    cluster, keys = await upgraded(7, 2)
    assert rerunning(cluster) == keys[:2]
    for key in keys[2:]:
        assert cluster.said(key)[:2] == ("True", "Optimized")
        kinds = {c["type"]: c for c in cluster.resources[key]["status"]["conditions"]}
        assert kinds["Outdated"]["reason"] == "OlderOptimizer"
    cluster.finish(cluster.unfinished()[0])
    await cluster.settle()
    assert sorted(rerunning(cluster)) == sorted(keys[:2])  # Now it is measured.
    (job,) = cluster.unfinished("measure")
    cluster.finish(job)
    await cluster.settle()
    assert sorted(rerunning(cluster)) == sorted(keys[1:3])
    while jobs := cluster.unfinished():
        assert len(jobs) <= 2
        cluster.finish(jobs[0])
        await cluster.settle()
    for key in keys:
        (target,) = cluster.resources[key]["status"]["targets"]
        assert target["optimizer"] == "i:2"


async def test_upgrade_verifies_a_few_at_once_oldest_first() -> None:
    cluster, keys = await upgraded(5, 2, UpgradePolicy.VERIFY)
    assert rerunning(cluster) == keys[:2]
    assert cluster.unfinished("verify") == cluster.unfinished()
    cluster.restart()
    await cluster.settle()
    assert sorted(rerunning(cluster)) == sorted(keys[:2])
    while jobs := cluster.unfinished():
        assert len(jobs) <= 2
        cluster.finish(jobs[0])
        await cluster.settle()
    for key in keys:
        assert cluster.said(key)[:2] == ("True", "Optimized")
        (target,) = cluster.resources[key]["status"]["targets"]
        assert target["verification"]["optimizer"] == "i:2"


async def test_restart_amid_an_upgrade_goes_on_with_the_same_ones() -> None:
    cluster, keys = await upgraded(6, 2)
    for job in cluster.unfinished():
        cluster.finish(job)
    await cluster.settle()
    cluster.restart()
    await cluster.settle()
    assert sorted(rerunning(cluster)) == sorted(keys[:2])


async def test_deleted_resource_leaves_its_turn_to_the_next_one() -> None:
    cluster, keys = await upgraded(5, 2)
    cluster.delete(keys[2])
    cluster.delete(keys[0])
    await cluster.settle()
    assert sorted(rerunning(cluster)) == sorted([keys[1], keys[3]])
