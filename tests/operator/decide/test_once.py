"""Status is large: a decision parses it once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from operator_world import MakeWorld

from mopt_api.status import ModelOptimizationStatus
from mopt_operator.config.settings import Settings


def test_status_is_parsed_once(
    make_world: MakeWorld, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world()
    parsed: list[object] = []
    validate = ModelOptimizationStatus.model_validate

    def counting(status: object) -> ModelOptimizationStatus:
        parsed.append(status)
        return validate(status)

    world.run()
    upgraded = settings.model_copy(update={"optimizer_image": "mopt/optimizer:2"})
    monkeypatch.setattr(ModelOptimizationStatus, "model_validate", counting)
    changes: tuple[Callable[[], None], ...] = (
        lambda: None,  # settled
        lambda: setattr(world, "settings", upgraded),  # outdated
        lambda: world.edit(quality=[{"metric": "PSNR", "minimum": 30}]),  # judged again
        lambda: world.edit(inputs=[{"name": "y", "shape": [1]}], dimensions={}),  # measured again
        lambda: world.edit(output=None),  # refused
    )
    for change in changes:
        change()
        del parsed[:]
        world.decide()
        assert len(parsed) == 1
