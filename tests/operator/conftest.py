"""A resource with its Jobs and Pods in memory, and what its Jobs return."""

from __future__ import annotations

import pytest
from job_messages import Messages
from operator_world import AUTO, MakeManifest, MakeWorld, World, manifest

from mopt_operator.config.settings import Settings


@pytest.fixture
def settings() -> Settings:
    return Settings(optimizer_image="mopt/optimizer:test")


@pytest.fixture
def make_world(settings: Settings) -> MakeWorld:
    """Return a maker of worlds; its arguments are fields of spec."""

    def make(*, settings: Settings = settings, name: str = "sr", **spec: object) -> World:
        return World(settings, manifest(name, **spec))

    return make


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    return make_world()


@pytest.fixture
def messages() -> Messages:
    return Messages()


@pytest.fixture
def resource_manifest() -> MakeManifest:
    return manifest


@pytest.fixture
def variant_names() -> list[str]:
    return [variant.name for variant in AUTO]
