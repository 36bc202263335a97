"""Whatever happens on the way, the end is the same: a state machine against the real reconciler.

Crashes between writes, missed events, stale reads (the three fault kinds of Sieve, OSDI '22),
repeated events, clock jumps, lost Pods, and users who change their minds.
"""

from __future__ import annotations

import os
from collections import Counter
from datetime import timedelta
from typing import Any, ClassVar

from api_in_memory import KINDS
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from operator_simulation import Simulation

from mopt_operator.config.settings import Settings

SETTINGS = Settings(optimizer_image="mopt/optimizer:test")
MODEL = {"uri": "s3://models/m.onnx", "format": "ONNX"}


def spec(**fields: object) -> dict[str, Any]:
    return {
        "model": MODEL | {"sha256": "0" * 64},
        "inputs": [{"name": "x", "shape": [1, 3, 8, 8]}],
        "data": {"evaluation": {"uri": "s3://data/e/"}},
        "quality": [{"metric": "PSNR", "minimum": 40}],
        "benchmark": {"points": [{"name": "one"}, {"name": "four"}]},
        "targets": [{"name": "a"}, {"name": "b"}],
        "output": {"uri": "s3://out/m"},
    } | fields


def reference(final: dict[str, Any], requested: str | None, *, searched: bool) -> dict[str, Any]:
    """Return the end of a run in which nothing goes wrong."""
    calm = Simulation(final, SETTINGS, searched=searched)
    if requested is not None:
        calm.request(requested)
    calm.run_to_the_end()
    return calm.verdict()


# No administrator offers that profile.
WRONG = {"targets": [{"name": "a", "profile": "none"}]}
CHANGES: list[dict[str, Any]] = [
    *({"quality": [{"metric": "PSNR", "minimum": minimum}]} for minimum in (30, 40, 70)),
    *({"objective": {"point": point}} for point in ("one", "four")),
    *({"model": MODEL | {"sha256": sha * 64}} for sha in "01"),
    *({"execution": {"suspend": suspend}} for suspend in (True, False)),
    *({"targets": [{"name": name} for name in names]} for names in ("a", "ab", "b")),
    WRONG,
]


LASTING = [change for change in CHANGES if change.keys().isdisjoint({"objective", "model"})]
"""Those whose results do not depend on what was asked for in between."""


class Interleavings(RuleBasedStateMachine):
    """Users, controllers, watches and an operator that is killed at any write."""

    sim: Simulation
    searched = False
    data: ClassVar[dict[str, Any]] = {}

    @initialize()
    def begin(self) -> None:
        self.sim = Simulation(spec(**self.data), SETTINGS, searched=self.searched)
        self.requested: str | None = None
        self.lost_results = 0

    @rule(fresh=st.booleans(), writes=st.none() | st.integers(0, 5))
    def reconcile(self, fresh: bool, writes: int | None) -> None:
        if fresh:
            self.sim.resync()
        self.sim.kill_after = writes
        self.sim.reconcile()
        self.sim.kill_after = None

    @rule(step=st.sampled_from(["restart", "resync", "collect", "run_to_the_end"]))
    def operate(self, step: str) -> None:
        getattr(self.sim, step)()

    @rule(kind=st.sampled_from(KINDS), fate=st.sampled_from(["deliver", "repeat", "lose"]))
    def watch(self, kind: str, fate: str) -> None:
        getattr(self.sim, fate)(kind)

    @rule(skew=st.integers(-100_000, 100_000), seconds=st.integers(0, 60))
    def time(self, skew: int, seconds: int) -> None:
        self.sim.skew = timedelta(seconds=skew)
        self.sim.now += timedelta(seconds=seconds)

    @precondition(lambda self: self.sim.unfinished())
    @rule(data=st.data(), code=st.sampled_from([None, 0, 0, 80]))
    def kubelet(self, data: st.DataObject, code: int | None) -> None:
        job = data.draw(st.sampled_from(self.sim.unfinished()))
        if code is None:
            self.sim.start_pod(job)
        else:
            self.sim.finish(job, code=code)

    @precondition(lambda self: self.lost_results < 2 and self.sim.objects["jobs"])
    @rule(data=st.data())
    def lose_pods(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.sim.objects["jobs"])))
        self.lost_results += 1
        self.sim.evict_finished_pods(self.sim.objects["jobs"][name])

    @rule(change=st.sampled_from(CHANGES))
    def user(self, change: dict[str, Any]) -> None:
        self.sim.edit(**change)

    @rule(value=st.sampled_from(["1", "2"]))
    def request(self, value: str) -> None:
        self.requested = value
        self.sim.request(value)

    @invariant()
    def no_user_object_is_touched(self) -> None:
        if hasattr(self, "sim"):
            metadata = self.sim.resource["metadata"]
            assert "finalizers" not in metadata
            assert set(metadata.get("annotations", {})) <= {"mopt.dev/requestedAt"}

    def teardown(self) -> None:
        if not hasattr(self, "sim"):
            return
        self.sim.skew = timedelta(0)
        self.sim.edit(execution={"suspend": False})
        if self.sim.resource["spec"]["targets"] == WRONG["targets"]:
            self.sim.edit(targets=[{"name": "a"}])
        self.sim.run_to_the_end()
        final = self.sim.resource["spec"]
        calm = reference(final, self.requested, searched=self.searched)
        assert self.sim.verdict() == calm
        # One Job for each stage and target, one more of a second search; one more for each whose
        # result was lost unread.
        jobs = Counter(
            (
                job["metadata"]["labels"]["mopt.dev/stage"],
                job["metadata"]["labels"].get("mopt.dev/target"),
            )
            for job in self.sim.objects["jobs"].values()
        )
        most = 1 + self.searched + self.lost_results
        assert all(count <= most for count in jobs.values()), jobs
        assert self.sim.unfinished() == []


class SecondSearches(Interleavings):
    """The same where a variant that misses a gate is searched a second time.

    What was aimed stays where only the objective changes, so the way there matters: it does not
    change here.
    """

    searched = True
    data: ClassVar[dict[str, Any]] = {
        "data": {"evaluation": {"uri": "s3://data/e/"}, "calibration": {"uri": "s3://data/c/"}}
    }

    @rule(change=st.sampled_from(LASTING))
    def user(self, change: dict[str, Any]) -> None:
        self.sim.edit(**change)

    def teardown(self) -> None:
        super().teardown()
        if not hasattr(self, "sim"):
            return
        (gate,) = self.sim.resource["spec"]["quality"]
        for target in self.sim.resource["status"]["targets"]:
            quick = next(v for v in target["variants"] if v["name"] == "quick")
            assert ("aimedBy" in quick) == (gate["minimum"] > 30)


class Publications(Interleavings):
    """The same where what is selected is published, to a registry that may fail."""

    data: ClassVar[dict[str, Any]] = {"publish": {"oci": {"repository": "registry.test/m"}}}

    @rule(tags=st.sampled_from([["a"], ["b"], None]))
    def publish(self, tags: list[str] | None) -> None:
        """Ask for other tags, or for no publishing."""
        asked = {"publish": {"oci": {"repository": "registry.test/m", "tags": tags}}}
        self.sim.edit(**(asked if tags else {"publish": None}))

    def teardown(self) -> None:
        if not hasattr(self, "sim"):
            return
        if self.sim.resource["spec"]["publish"] is None:
            self.sim.edit(**self.data)
        super().teardown()
        status = self.sim.resource["status"]
        (said,) = (c for c in status["conditions"] if c["type"] == "Published")
        assert (said["status"], said["reason"]) == ("True", "Published")
        for target in status["targets"]:
            assert target["published"]["artifact"] == target["artifact"]["digest"]


Interleavings.TestCase.settings = settings(
    max_examples=int(os.environ.get("MOPT_EXAMPLES", "100")),
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
# The same rules: what they can break is broken above.
SecondSearches.TestCase.settings = settings(
    Interleavings.TestCase.settings,
    max_examples=max(1, Interleavings.TestCase.settings.max_examples // 4),
)
Publications.TestCase.settings = SecondSearches.TestCase.settings
test_interleavings = Interleavings.TestCase
test_second_searches = SecondSearches.TestCase
test_publications = Publications.TestCase
