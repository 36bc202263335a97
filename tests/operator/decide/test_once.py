"""Status is large: a decision parses it once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mopt_api.status import ModelOptimizationStatus
from mopt_operator.config.settings import Settings


def test_status_is_parsed_once(
    make_world: Callable[..., Any], settings: Settings, monkeypatch: pytest.MonkeyPatch
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
    for change in (
        lambda: None,  # settled
        lambda: setattr(world, "settings", upgraded),  # outdated
        lambda: world.edit(quality=[{"metric": "PSNR", "minimum": 30}]),  # judged anew
        lambda: world.edit(inputs=[{"name": "y", "shape": [1]}], dimensions={}),  # measured anew
        lambda: world.edit(output=None),  # refused
    ):
        change()
        del parsed[:]
        world.decide()
        assert len(parsed) == 1
