"""A measured resource under the policy Verify."""

from __future__ import annotations

import pytest
from operator_world import MakeWorld, World
from verified_life import CPU, DATA, READY, with_settings


@pytest.fixture
def measured(make_world: MakeWorld) -> World:
    """Return a measured resource under the policy Verify."""
    world = make_world()
    world.run(data=DATA, hardware=CPU)
    with_settings(world)
    world.settle()
    assert world.said() == READY
    return world
