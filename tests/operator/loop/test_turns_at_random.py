"""Whatever users and nodes do: no bound is passed, nobody is forgotten, and all come to an end."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from operator_crowd import Crowd, Json

from mopt_operator.config.settings import Settings

NODES = ("node-1", "node-2")
PER_NAMESPACE = 3
SETTINGS = {
    "optimizerImage": "i:1",
    "maxRunningPerNamespace": PER_NAMESPACE,
    "profiles": {"default": {"maxRunning": 5, "measurementSlots": 2}, "other": {"maxRunning": 3}},
}


def label(job: Json, name: str) -> str:
    return str(job["metadata"]["labels"][f"mopt.dev/{name}"])


def check_bounds(cluster: Crowd) -> None:
    jobs = cluster.unfinished()
    profiles = Counter(label(job, "profile") for job in jobs)
    measured = Counter(label(job, "profile") for job in cluster.unfinished("measure"))
    assert profiles["default"] <= 5
    assert profiles["other"] <= 3
    assert measured["default"] <= 2
    assert measured["other"] <= 1
    assert max(Counter(job["metadata"]["namespace"] for job in jobs).values(), default=0) <= 3
    measuring = {job["metadata"]["uid"] for job in cluster.unfinished("measure")}
    nodes = [
        pod["spec"]["nodeName"]
        for pod in cluster.pods.values()
        if pod["metadata"]["ownerReferences"][0]["uid"] in measuring
    ]
    assert len(nodes) == len(set(nodes))


def check_nobody_is_forgotten(cluster: Crowd) -> None:
    """Check that something runs wherever somebody waits."""
    waiting = [key for key in cluster.resources if cluster.said(key)[1] == "WaitingForSlot"]
    assert not waiting or cluster.unfinished()


class Users:
    """What happens to a cluster, by chance."""

    def __init__(self, cluster: Crowd, chance: random.Random) -> None:
        self._cluster = cluster
        self._chance = chance
        self._made = 0

    def apply(self) -> None:
        self._made += 1
        targets = [{"name": "default", "profile": self._chance.choice(["default", "other"])}]
        self._cluster.apply(self._chance.choice("abc"), f"r{self._made}", targets=targets)

    def finish(self) -> None:
        if jobs := self._cluster.unfinished():
            self._cluster.finish(self._chance.choice(jobs))

    def suspend(self) -> None:
        """Suspend a resource, or resume it."""
        if self._cluster.resources:
            raw = self._cluster.resources[self._chance.choice(list(self._cluster.resources))]
            suspended = raw["spec"].get("execution", {}).get("suspend", False)
            self._cluster.edit(raw, execution={"suspend": not suspended})

    def delete(self) -> None:
        if self._cluster.resources:
            self._cluster.delete(self._chance.choice(list(self._cluster.resources)))

    def restart(self) -> None:
        self._cluster.restart()

    async def step(self) -> None:
        acts = [self.apply] * 5 + [self.finish] * 4 + [self.suspend, self.delete, self.restart]
        self._chance.choice(acts)()
        await self._cluster.settle()
        self._cluster.start_pods()
        await self._cluster.settle()


@pytest.mark.parametrize("seed", range(6))
async def test_bounds_hold_and_all_come_to_an_end(seed: int) -> None:
    cluster = Crowd(Settings.model_validate(SETTINGS), nodes=NODES)
    users = Users(cluster, random.Random(seed))
    for _ in range(30):
        await users.step()
        check_bounds(cluster)
        check_nobody_is_forgotten(cluster)
    for raw in list(cluster.resources.values()):
        if raw["spec"].get("execution", {}).get("suspend"):
            cluster.edit(raw, execution={"suspend": False})
    await cluster.settle()
    while jobs := cluster.unfinished():
        cluster.finish(jobs[-1])
        await cluster.settle()
        check_bounds(cluster)
    assert {cluster.said(key)[:2] for key in cluster.resources} == {("True", "Optimized")}
    assert cluster.turns.slots.waiting() == Counter()
