"""Times in objects are compared with the API server's clock, not with the operator's node's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from job_messages import prepare_message
from operator_world import START, World, manifest

from mopt_api.jobs.plan import Stage
from mopt_operator.cluster.server_time import ServerTime
from mopt_operator.config.settings import Settings
from mopt_operator.decide.decide import Plan, decide
from mopt_operator.decide.track import GIVEN_UP_SECONDS, GRACE_SECONDS

SETTINGS = Settings(optimizer_image="mopt/optimizer:1")
HOUR = 3600
# Of the longest wait that a decision asks for.
LONGEST = 300.0


class Clocks:
    """A world, and an operator whose node's clock is off."""

    def __init__(self, world: World, off: float, *, learns: bool = True) -> None:
        self.world = world
        self._off = timedelta(seconds=off)
        self._time = ServerTime(lambda: world.now + self._off)
        if learns:
            asked = world.now + self._off
            self._time.see(format_datetime(world.now, usegmt=True), asked)

    def decide(self) -> Plan:
        return decide(self.world.snapshot(), self._time.now(), self.world.settings)

    def seconds_until(self, done: str) -> float:
        """Return the seconds, all requeues kept, until a plan creates or deletes something."""
        began = self.world.now
        for _ in range(10_000):
            plan = self.decide()
            if getattr(plan, done):
                return (self.world.now - began).total_seconds()
            assert plan.requeue_after is not None
            self.world.sleep(max(plan.requeue_after, 0.001))
        raise AssertionError(f"waits for ever until it has something to {done}")


def with_lost_result() -> World:
    """Return a world whose Job has completed and whose Pod is gone."""
    world = World(SETTINGS, manifest())
    world.settle()
    job = world.the_job(Stage.PREPARE)
    world.complete(job, prepare_message())
    world.lose_pods(job)
    return world


def with_lost_node() -> World:
    world = World(SETTINGS, manifest())
    world.settle()
    pod = world.pod(world.the_job(Stage.PREPARE), {"phase": "Running"})
    pod["metadata"]["deletionTimestamp"] = world.now.isoformat()
    return world


LOST = {"a result": with_lost_result, "a node": with_lost_node}


@settings(deadline=None, max_examples=30)
@given(off=st.integers(-HOUR, HOUR))
def test_lost_result_is_made_again_as_soon_as_with_a_right_clock(off: int) -> None:
    waited = Clocks(with_lost_result(), off).seconds_until("create")
    assert GRACE_SECONDS - 3 <= waited <= GRACE_SECONDS + 3


@settings(deadline=None, max_examples=30)
@given(off=st.integers(-HOUR, HOUR))
def test_lost_node_is_given_up_as_soon_as_with_a_right_clock(off: int) -> None:
    waited = Clocks(with_lost_node(), off).seconds_until("delete")
    assert GIVEN_UP_SECONDS - 3 <= waited <= GIVEN_UP_SECONDS + 3


@settings(deadline=None, max_examples=30)
@given(off=st.integers(-24 * HOUR, 24 * HOUR), lost=st.sampled_from(sorted(LOST)))
def test_no_decision_asks_for_a_long_wait_by_whatever_clock(off: int, lost: str) -> None:
    plan = Clocks(LOST[lost](), off, learns=False).decide()
    if plan.requeue_after is not None:
        assert plan.requeue_after <= max(LONGEST, GIVEN_UP_SECONDS)


@pytest.mark.parametrize(
    ("off", "date", "took", "found"),
    [
        (HOUR, "right", 0.1, 0),
        (-HOUR, "right", 0.1, 0),
        (HOUR, "right", 20, HOUR),  # An answer that took long says little.
        (HOUR, "right", -5, HOUR),  # Our clock was set meanwhile.
        (HOUR, None, 0.1, HOUR),
        (HOUR, "soon", 0.1, HOUR),
        (HOUR, "", 0.1, HOUR),
        (1.5, "right", 0.1, 1.5),  # A good clock is left alone.
    ],
)
def test_what_an_answer_says_of_our_clock(
    off: float, date: str | None, took: float, found: float
) -> None:
    ours = START + timedelta(seconds=off)
    time = ServerTime(lambda: ours)
    text = format_datetime(START, usegmt=True) if date == "right" else date
    time.see(text, ours - timedelta(seconds=took))
    assert abs((time.now() - START).total_seconds() - found) <= 1


def test_clock_that_is_set_right_counts_again(caplog: pytest.LogCaptureFixture) -> None:
    server = datetime(2026, 11, 1, tzinfo=UTC)
    off = timedelta(hours=-1)
    time = ServerTime(lambda: server + off)
    for _ in range(3):
        time.see(format_datetime(server, usegmt=True), server + off)
    assert time.now() == server
    off = timedelta()
    time.see(format_datetime(server, usegmt=True), server)
    assert time.now() == server
    messages = [record.getMessage() for record in caplog.records]
    assert [message.rsplit(" ", 2)[1] for message in messages] == ["-3600", "+0"]
