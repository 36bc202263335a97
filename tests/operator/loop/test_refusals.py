"""Refusals of Jobs: what N resources of one namespace cost, and when they are tried again."""

from __future__ import annotations

from itertools import pairwise

import pytest
from operator_clock import Clock, Timers

from mopt_operator.cluster.cache import Key
from mopt_operator.loop.refusals import LONGEST_SECONDS, Refusals

QUOTA = 'jobs.batch "{}" is forbidden: exceeded quota: few'


class Namespace:
    """A namespace with a quota on Jobs, and resources that want one Job each."""

    def __init__(self, resources: int, quota: int, *, chance: float = 1.0) -> None:
        self.clock = Clock()
        self.timers = Timers(self.clock)
        self.refusals = Refusals(self.timers.add_after, clock=self.clock, chance=lambda: chance)
        self.quota = quota
        self.posts = 0
        self.jobs: set[Key] = set()
        self.barred: set[Key] = set()
        self.keys = [("team", f"r{number}") for number in range(resources)]
        for key in self.keys:
            self.look(key)

    def look(self, key: Key) -> None:
        """Reconcile a resource."""
        job = f"{key[1]}-prepare"
        if key in self.jobs or key not in self.keys:
            self.refusals.leave(key)
            return
        if not self.refusals.hold(key, [job]):
            self.posts += 1
            if len(self.jobs) >= self.quota or key in self.barred:
                self.refusals.refused(key, job, 403, QUOTA.format(job))
            else:
                self.jobs.add(key)
        self.refusals.tried(key, created=key in self.jobs)

    def run(self, seconds: float) -> int:
        """Let time pass; return the POSTs meanwhile."""
        before = self.posts
        self.timers.run(seconds, self.look)
        return self.posts - before


@pytest.mark.parametrize("chance", [0.0, 1.0])
def test_posts_do_not_grow_with_the_number_that_waits(chance: float) -> None:
    few, many = Namespace(10, 5, chance=chance), Namespace(2000, 5, chance=chance)
    assert few.posts == many.posts == 6
    first = [namespace.run(600) for namespace in (few, many)]
    later = [namespace.run(3600) for namespace in (few, many)]
    assert first[0] == first[1] <= 15
    assert later[0] == later[1] <= 3600 / (0.75 * LONGEST_SECONDS) + 1


def test_pauses_differ_and_grow_to_two_minutes() -> None:
    ends = {Namespace(2, 0, chance=chance).run(600) for chance in (0.0, 1.0)}
    assert len(ends) == 2
    namespace = Namespace(2, 0, chance=0.0)
    times = []
    for _ in range(900):
        times += [namespace.clock()] * namespace.run(1)
    pauses = [later - sooner for sooner, later in pairwise(times)]
    assert pauses[:6] == [2, 4, 8, 16, 32, 64]
    assert set(pauses[6:]) == {LONGEST_SECONDS}


def test_each_deletion_lets_one_try_at_once() -> None:
    namespace = Namespace(2000, 5, chance=0.0)
    namespace.run(1000)
    namespace.jobs.remove(namespace.keys[0])
    namespace.keys = namespace.keys[1:]
    namespace.refusals.freed("team")
    # One is created, the next one is refused.
    assert namespace.run(0.5) == 2
    assert len(namespace.jobs) == 5


def test_deletions_without_room_cost_about_one_post_a_second() -> None:
    namespace = Namespace(50, 5)
    namespace.run(1000)
    posts = 0
    for _ in range(100):
        namespace.refusals.freed("team")
        posts += namespace.run(0.1)
    assert posts <= 10 / 0.75 + 1


def test_raised_quota_serves_all_without_another_refusal() -> None:
    namespace = Namespace(300, 5)
    namespace.run(1000)
    namespace.quota = 1000
    assert namespace.run(LONGEST_SECONDS) == 295
    assert len(namespace.jobs) == 300
    assert len(namespace.refusals) == 0


def test_one_that_a_policy_bars_does_not_bar_the_others() -> None:
    namespace = Namespace(0, 100)
    namespace.keys = [("team", f"r{number}") for number in range(20)]
    namespace.barred = {namespace.keys[0]}
    for key in namespace.keys:
        namespace.look(key)
    assert namespace.posts == 1
    namespace.run(10)
    assert len(namespace.jobs) == 19


def test_other_namespaces_are_not_held() -> None:
    namespace = Namespace(3, 0)
    assert namespace.refusals.hold(("other", "r"), ["job"]) == {}
    assert len(namespace.refusals) == 1


def test_each_is_told_the_refusal_of_its_own_job() -> None:
    namespace = Namespace(3, 0)
    held = namespace.refusals.hold(("team", "r2"), ["r2-prepare", "r2-x"])
    assert held == {job: (403, QUOTA.format(job)) for job in ("r2-prepare", "r2-x")}


def test_name_that_is_taken_holds_only_its_own_job() -> None:
    namespace = Namespace(0, 9)
    key = ("team", "r")
    namespace.refusals.refused(key, "r-a", 403, "a Job named r-a exists", alone=True)
    assert set(namespace.refusals.hold(key, ["r-a", "r-b"])) == {"r-a"}
    assert namespace.refusals.hold(("team", "s"), ["s-a"]) == {}
    namespace.run(10)
    assert namespace.refusals.hold(key, ["r-a"]) == {}


def test_resource_that_leaves_lets_the_next_one_try() -> None:
    namespace = Namespace(3, 0)
    namespace.quota = 1
    for key in namespace.keys[:2]:
        namespace.refusals.leave(key)
    namespace.keys = namespace.keys[2:]
    assert namespace.run(10) == 1
    assert namespace.jobs == {("team", "r2")}
    assert len(namespace.refusals) == 0


def test_several_under_way_at_once_are_one_refusal() -> None:
    namespace = Namespace(0, 0, chance=0.0)
    keys = [("team", f"r{number}") for number in range(16)]
    for key in keys:
        assert namespace.refusals.hold(key, [key[1]]) == {}
    for key in keys:
        namespace.refusals.refused(key, key[1], 403, QUOTA)
    # The first pause, not the sixteenth.
    namespace.keys = keys
    assert namespace.run(1.5) == 1
