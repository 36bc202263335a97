"""Any one event of a life is lost and its watch goes on: the next comparison finds what it told.

A life with a change of mind in it, so that Jobs are deleted, too: what is lost may be the word that
something is there, that it has changed, or that it is gone.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from api_in_memory import KINDS
from operator_simulation import Simulation
from small_lives import SHORTEST

from mopt_operator.config.settings import Settings

TURNS = 8
CHANGED_IN_TURN = 1


class Life:
    """A life in memory; `events` are those that the watches brought, by kind."""

    def __init__(self, lost: tuple[str, int] | None = None) -> None:
        self.sim = Simulation(SHORTEST, Settings(optimizer_image="mopt/optimizer:test"))
        self.events: Counter[str] = Counter()
        self.types: set[str] = set()
        self._lost = lost
        for turn in range(TURNS):
            self._turn(changes=turn == CHANGED_IN_TURN)

    def _turn(self, *, changes: bool = False) -> None:
        for kind in KINDS:
            while self.sim.waiting[kind]:
                self.types.add(self.sim.waiting[kind][0][0])
                if (kind, self.events[kind]) == self._lost:
                    self.sim.lose(kind)
                else:
                    self.sim.deliver(kind)
                self.events[kind] += 1
        self.sim.reconcile()
        if changes:
            self.sim.edit(model=SHORTEST["model"] | {"sha256": "1" * 64})
        for job in [] if changes else self.sim.unfinished():
            self.sim.finish(job)
        self.sim.now += timedelta(seconds=20)

    def compare(self) -> None:
        """Compare with the cluster once, as the operator does every five minutes."""
        self._lost = None
        self.sim.resync()
        for _ in range(TURNS):
            self._turn()


@pytest.fixture(scope="module")
def calm() -> Life:
    life = Life()
    life.compare()
    return life


def test_a_life_has_every_type_of_event(calm: Life) -> None:
    assert calm.types == {"ADDED", "MODIFIED", "DELETED"}
    assert all(calm.events[kind] > 2 for kind in KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_any_lost_event_is_made_up_for_by_a_comparison(calm: Life, kind: str) -> None:
    for number in range(calm.events[kind]):
        life = Life((kind, number))
        life.compare()
        assert life.sim.verdict() == calm.sim.verdict(), f"event {number}"
        assert set(life.sim.made.values()) == {1}, f"event {number}"
