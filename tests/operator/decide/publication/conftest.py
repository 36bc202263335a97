"""A resource that asks for publishing."""

from __future__ import annotations

import pytest
from operator_world import MakeWorld, World
from publishing_life import publish


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    """Return a resource that asks for publishing."""
    return make_world(publish=publish())
