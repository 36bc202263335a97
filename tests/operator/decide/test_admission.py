"""Which Jobs may be created: bounds that hold, fairness between namespaces, and what counts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from job_messages import Messages
from operator_world import MakeWorld, World

from mopt_api.jobs.plan import Stage
from mopt_operator.config.settings import Profile, Settings
from mopt_operator.decide.admission import (
    ENDING_SECONDS,
    UNSTARTED_SECONDS,
    Claim,
    Holding,
    Lane,
    Place,
    Usage,
    admitted,
    claims_of,
    held_by,
    lane_of,
    waiting_text,
)

BUILD = Profile(build_only=True, compute_capabilities=["8.9"])


def settings(per_namespace: int | None = None, **profiles: Profile) -> Settings:
    return Settings(
        optimizer_image="i",
        max_running_per_namespace=per_namespace,
        profiles={"default": Profile()} | profiles,
    )


def claim(namespace: str, created: int, lane: Lane, name: str = "r") -> Claim:
    return Claim(f"{created:04}", namespace, name, f"{name}-{created}", lane)


def lines(claims: Sequence[Claim]) -> dict[Lane, dict[str, list[Claim]]]:
    found: defaultdict[Lane, defaultdict[str, list[Claim]]] = defaultdict(lambda: defaultdict(list))
    for one in sorted(claims):
        found[one.lane][one.namespace].append(one)
    return {lane: dict(by_namespace) for lane, by_namespace in found.items()}


MEASURE = Lane("default", measures=True)
PREPARE = Lane("default", measures=False)


@pytest.mark.parametrize(
    ("stage", "profile", "lane"),
    [
        ("prepare", "default", PREPARE),
        ("report", "default", PREPARE),
        ("measure", "default", MEASURE),
        ("measure", "", MEASURE),
        ("measure", "engines", Lane("engines", measures=False)),
        ("measure", "that is no more", Lane("that is no more", measures=True)),
    ],
)
def test_lane_of_a_job(stage: str, profile: str, lane: Lane) -> None:
    assert lane_of(stage, profile, settings(engines=BUILD)) == lane


def test_oldest_resource_comes_first() -> None:
    waiting = lines([claim("a", 2, MEASURE), claim("a", 1, MEASURE), claim("a", 3, MEASURE)])
    assert [c.created for c in admitted(waiting, Usage(settings()))] == ["0001"]


def test_namespace_with_the_fewest_jobs_comes_first() -> None:
    bounded = settings(default=Profile(measurement_slots=3))
    usage = Usage(bounded)
    usage.add(Place(MEASURE, "busy"))
    waiting = lines(
        [claim("busy", number, MEASURE) for number in range(5)] + [claim("late", 9, MEASURE)]
    )
    assert [(c.namespace, c.created) for c in admitted(waiting, usage)] == [
        ("late", "0009"),
        ("busy", "0000"),
    ]


def test_full_profile_holds_nobody_up_who_asks_for_another() -> None:
    bounded = settings(per_namespace=9, l4=Profile(max_running=1))
    usage = Usage(bounded)
    usage.add(Place(MEASURE, "a"))
    first, second = claim("a", 2, Lane("l4", measures=False)), claim("a", 3, PREPARE)
    assert admitted(lines([claim("a", 1, MEASURE), first, second]), usage) == [first, second]


def test_full_namespace_holds_nobody_up_in_another() -> None:
    bounded = settings(per_namespace=1)
    usage = Usage(bounded)
    usage.add(Place(PREPARE, "full"))
    other = claim("other", 9, PREPARE)
    assert admitted(lines([claim("full", 1, PREPARE), other]), usage) == [other]


_BOUND = st.none() | st.integers(1, 4)
_NAMESPACE = st.sampled_from("abc")
_LANE = st.builds(Lane, st.sampled_from(["default", "l4"]), st.booleans())
_PLACE = st.builds(Place, _LANE, _NAMESPACE)
_CLAIMS = st.lists(st.tuples(_NAMESPACE, _LANE), max_size=12).map(
    lambda found: [claim(namespace, number, lane) for number, (namespace, lane) in enumerate(found)]
)


@given(
    jobs=_BOUND,
    slots=st.integers(1, 3),
    per_namespace=_BOUND,
    running=st.lists(_PLACE, max_size=6),
    claims=_CLAIMS,
)
def test_bounds_hold_and_no_slot_stays_free(
    jobs: int | None,
    slots: int,
    per_namespace: int | None,
    running: list[Place],
    claims: list[Claim],
) -> None:
    profile = Profile(max_running=jobs, measurement_slots=slots)
    bounded = settings(per_namespace, default=profile, l4=profile)
    usage = Usage(bounded)
    for place in running:
        usage.add(place)
    granted = admitted(lines(claims), usage)
    assert granted == admitted(lines(claims[::-1]), usage)  # Whoever asks first.
    full = usage.copy()
    for one in granted:
        assert not full.full(one.place)
        full.add(one.place)
    # Whoever is left out has no room after the others.
    rest = [one for one in claims if one not in granted]
    assert all(full.full(one.place) for one in rest)
    for one in rest:
        older = [other for other in granted if other.place == one.place]
        assert all(other < one for other in older)
    for place in running:
        usage.add(place, -1)
    nothing = Usage(bounded)
    assert len(admitted(lines(claims), usage)) == len(admitted(lines(claims), nothing))


_ONE = Profile(measurement_slots=1)
_BOTH = Profile(max_running=7, measurement_slots=2)


@pytest.mark.parametrize(
    ("profile", "per_namespace", "lane", "bounds"),
    [
        (_ONE, None, MEASURE, "profile default runs 1 measurement"),
        (_BOTH, None, MEASURE, "profile default runs 2 measurements, profile default runs 7 Jobs"),
        (_BOTH, None, PREPARE, "profile default runs 7 Jobs"),
        (_ONE, 1, PREPARE, "a namespace runs 1 Job"),
        (_ONE, 3, MEASURE, "profile default runs 1 measurement, a namespace runs 3 Jobs"),
    ],
    ids=["slots", "slots and Jobs", "Jobs", "namespace", "slots and namespace"],
)
def test_bounds_of_what_waits_are_told(
    profile: Profile, per_namespace: int | None, lane: Lane, bounds: str
) -> None:
    text = waiting_text(claim("a", 1, lane), settings(per_namespace, default=profile))
    assert text == f"Waiting for a slot: {bounds} at once; the oldest of a namespace is next"


def held(world: World) -> Holding:
    snapshot = world.snapshot()
    return held_by(snapshot.resource.uid, snapshot.jobs, snapshot.pods, world.now, world.settings)


def places(world: World) -> Counter[Place]:
    return Counter(held(world).places)


def measuring(world: World, messages: Messages) -> dict[str, Any]:
    world.settle()
    world.complete(world.the_job(Stage.PREPARE), messages.prepare())
    world.settle()
    return world.the_job(Stage.MEASURE, "default")


def test_jobs_count_until_they_are_finished(world: World, messages: Messages) -> None:
    assert places(world) == Counter()
    world.settle()
    assert places(world) == Counter([Place(PREPARE, "team")])
    job = measuring(world, messages)
    assert places(world) == Counter([Place(MEASURE, "team")])
    world.complete(job, messages.measure("default"))
    assert places(world) == Counter()


def test_claims_are_those_of_the_jobs_that_would_be_made(
    make_world: MakeWorld, messages: Messages
) -> None:
    world = make_world(
        targets=[{"name": "a"}, {"name": "b", "queueName": "q"}, {"name": "c"}],
        settings=settings(),
    )
    world.settle()
    world.complete(world.the_job(Stage.PREPARE), messages.prepare())
    made = world.decide().create
    resource = world.snapshot().resource
    found = list(claims_of(resource, made, world.settings))
    assert [one.job for one in found] == [made[0]["metadata"]["name"], made[2]["metadata"]["name"]]
    assert {one.place for one in found} == {Place(MEASURE, "team")}


def test_job_that_its_queue_suspends_does_not_count(world: World) -> None:
    world.settle()
    world.the_job(Stage.PREPARE)["spec"]["suspend"] = True
    assert places(world) == Counter()


def test_job_of_somebody_else_does_not_count(world: World) -> None:
    world.settle()
    world.the_job(Stage.PREPARE)["metadata"]["ownerReferences"][0]["uid"] = "another"
    assert places(world) == Counter()


@pytest.mark.parametrize("stage", [Stage.PREPARE, Stage.MEASURE])
@pytest.mark.parametrize("pending", [True, False], ids=["Pod pending", "no Pod"])
def test_job_that_cannot_start_gives_its_place_to_other_namespaces_after_a_while(
    world: World, messages: Messages, stage: Stage, pending: bool
) -> None:
    world.settle()
    job = world.the_job(Stage.PREPARE)
    if stage is Stage.MEASURE:
        job = measuring(world, messages)
    if pending:
        world.pod(job, {"phase": "Pending"})
    lane = Lane("default", measures=stage is Stage.MEASURE)
    now = held(world)
    assert now.places == (Place(lane, "team"),)
    assert now.until == world.now + timedelta(seconds=UNSTARTED_SECONDS)
    world.sleep(UNSTARTED_SECONDS)
    now = held(world)
    assert (now.places, now.until) == ((Place(lane, "team", stuck=True),), None)
    world.pod(job, {"phase": "Running"})
    assert places(world) == Counter([Place(lane, "team")])


def test_stuck_job_counts_against_its_namespace_alone() -> None:
    bounded = settings(per_namespace=2, default=Profile(max_running=1))
    usage = Usage(bounded)
    usage.add(Place(MEASURE, "a", stuck=True))
    assert usage.full(Place(MEASURE, "b")) is False
    # Others come first, whatever the age.
    waiting = lines([claim("a", 1, MEASURE), claim("b", 2, MEASURE)])
    assert [one.namespace for one in admitted(waiting, usage)] == ["b"]
    usage.add(Place(PREPARE, "a", stuck=True))
    assert usage.full(Place(MEASURE, "a")) is not None


def test_pod_that_still_ends_counts_though_its_job_is_gone(
    world: World, messages: Messages
) -> None:
    job = measuring(world, messages)
    pod = world.pod(job, {"phase": "Running"})
    pod["spec"] = {"nodeName": "node-1"}
    del world.jobs[job["metadata"]["name"]]
    assert places(world) == Counter()  # The collector has not marked it yet.
    pod["metadata"]["deletionTimestamp"] = (world.now + timedelta(seconds=30)).isoformat()
    assert places(world) == Counter([Place(MEASURE, "team")])
    # On a lost node it would never end.
    world.sleep(30 + ENDING_SECONDS)
    assert places(world) == Counter()
