"""Every order in which the watches may bring what happens in a small life, one by one.

Each state that can be reached is visited once (explicit-state model checking): after each event,
and after each Pod that ends, the operator looks; everything else may wait for as long as it likes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from operator_simulation import Simulation
from small_lives import PUBLISH, SHORTEST

from mopt_operator.config.settings import Settings

pytestmark = pytest.mark.faults

# Longer than anything that the operator waits for before it asks the API server itself.
PAUSE = timedelta(minutes=1)
_TIME = re.compile(r"20\d\d-\d\d-\d\dT[^\"',)]*")


def begun(**fields: object) -> Simulation:
    sim = Simulation(SHORTEST | fields, Settings(optimizer_image="mopt/optimizer:test"))
    sim.reconcile()
    return sim


def prepared() -> Simulation:
    """Return a life that has yet to measure, and to publish what it selects."""
    sim = begun(publish=PUBLISH)
    (job,) = sim.unfinished()
    sim.finish(job)
    sim.resync()
    sim.reconcile()
    sim.resync()
    return sim


def state(sim: Simulation) -> bytes:
    """Return a digest of all that decides what can happen next; times do not."""
    store = {
        kind: [repr(item.unpack() if kind == "modeloptimizations" else item) for item in known]
        for kind, known in sim.store.kinds().items()
    }
    text = json.dumps([sim.objects, sim.waiting, store], sort_keys=True)
    return hashlib.sha256(_TIME.sub("", text).encode()).digest()


def after(sim: Simulation) -> Iterator[Simulation]:
    """Yield what may come of a state: a watch brings its next event, or a Pod ends."""
    for kind in (kind for kind, waiting in sim.waiting.items() if waiting):
        following = sim.clone()
        following.deliver(kind)
        yield following
    for job in sim.unfinished():
        following = sim.clone()
        following.finish(following.objects["jobs"][job["metadata"]["name"]])
        yield following


@pytest.mark.parametrize(("begin", "states"), [(begun, 1000), (prepared, 100)])
def test_every_order_of_events_ends_the_same_way(
    begin: Callable[[], Simulation], states: int
) -> None:
    calm = begin()
    calm.run_to_the_end()
    seen: set[bytes] = set()
    ends = 0
    todo = [begin()]
    while todo:
        sim = todo.pop()
        digest = state(sim)
        if digest in seen:
            continue
        seen.add(digest)
        following = list(after(sim))
        for other in following:
            other.now += PAUSE
            other.reconcile()
        todo += following
        if not following:
            ends += 1
            sim.run_to_the_end()
            assert sim.verdict() == calm.verdict()
            assert sim.made == calm.made
    # A search that finds no orders would prove nothing.
    assert len(seen) > states
    assert ends > 1
    print(f"{len(seen)} states, {ends} of them at rest")
