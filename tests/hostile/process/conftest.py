"""Grounds for a hostile program."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import attacker_all
import pytest

from .ground import Ground

assert attacker_all.BY_MODULE


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The walls are Linux's."""
    if sys.platform != "linux":
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="Landlock and seccomp are Linux's"))


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    """A ground of the test's own; nothing that was started on it is left afterwards."""
    found = Ground(tmp_path / "ground")
    yield found
    found.remove()


@pytest.fixture(scope="module")
def grounds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Ground]]:
    """What makes a ground that the tests of a module share."""
    made: list[Ground] = []

    def make(name: str) -> Ground:
        made.append(Ground(tmp_path_factory.mktemp(name) / "ground"))
        return made[-1]

    yield make
    for one in made:
        one.remove()
