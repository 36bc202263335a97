"""Profiles that change while the operator runs."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from operator_world import MakeManifest

from mopt_operator.cluster.cache import Store
from mopt_operator.config.settings import Profile, Settings
from mopt_operator.loop import offers as module
from mopt_operator.loop.offers import Offers
from mopt_operator.loop.queue import WorkQueue

Json = dict[str, Any]


def raw(name: str, version: int = 1, **spec: object) -> Json:
    metadata = {
        "name": name,
        "uid": f"uid-{name}",
        "resourceVersion": str(version),
        "generation": version,
    }
    return {"metadata": metadata, "spec": spec}


@pytest.fixture
def store(resource_manifest: MakeManifest) -> Store:
    """Return a store with one resource."""
    store, resource = Store(offers=True), resource_manifest()
    resource["metadata"] |= {"uid": "uid-1", "generation": 1, "resourceVersion": "1"}
    store.resources.put(resource)
    return store


@pytest.fixture
def queue() -> WorkQueue:
    return WorkQueue()


@pytest.fixture
def used() -> list[Settings]:
    return []


@pytest.fixture
def offers(settings: Settings, store: Store, queue: WorkQueue, used: list[Settings]) -> Offers:
    return Offers(settings, store=store, queue=queue, use=used.append)


def test_change_is_used_and_has_every_resource_looked_at(
    offers: Offers, store: Store, queue: WorkQueue, used: list[Settings]
) -> None:
    store.offers.put(raw("default"))
    store.offers.put(raw("gpu", podLabels={"job-name": "a"}))
    offers.changed()
    (settings,) = used
    assert settings is offers.settings
    assert settings.profiles == {"default": Profile()}
    assert (settings.refusal_of("gpu") or "").startswith("spec.podLabels: job-name")
    assert settings.refusal_of("unknown") is None
    assert offers.news.is_set()
    assert len(queue) == 1


def test_status_alone_has_nothing_looked_at(
    offers: Offers, store: Store, queue: WorkQueue, used: list[Settings]
) -> None:
    store.offers.put(raw("default", maxRunning=2))
    offers.look()
    before = used.copy()
    status = {"observedGeneration": 1, "nodes": 4}
    store.offers.put(raw("default", 2, maxRunning=2) | {"status": status})
    offers.look()
    assert used == before
    assert not offers.news.is_set()


def test_without_objects_nothing_of_the_store_counts(
    settings: Settings, queue: WorkQueue, used: list[Settings]
) -> None:
    offers = Offers(settings, store=Store(), queue=queue, use=used.append)
    offers.changed()
    assert used == []
    assert not offers.news.is_set()


@pytest.fixture
async def follow(monkeypatch: pytest.MonkeyPatch) -> Callable[[Offers, Path, str], Any]:
    """Return what writes a file of profiles and waits until it has been looked at."""
    monkeypatch.setattr(module, "FILE_SECONDS", 0.0)

    async def run(offers: Offers, path: Path, text: str) -> None:
        path.write_text(text)
        task = asyncio.create_task(offers.follow(str(path)))
        for _ in range(5):
            await asyncio.sleep(0)
        task.cancel()

    return run


async def test_file_is_followed(
    follow: Callable[[Offers, Path, str], Any],
    offers: Offers,
    used: list[Settings],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "profiles.json"
    profiles = {"default": {"maxRunning": 3}, "l4": {}}
    await follow(offers, path, json.dumps(profiles))
    assert [sorted(settings.profiles) for settings in used] == [["default", "l4"]]
    with caplog.at_level(logging.WARNING):
        await follow(offers, path, '{"default": {"maxRunning": 0}}')
        assert "The profiles stay as they were" in caplog.text
        assert "default.maxRunning" in caplog.text
        assert len(caplog.records) == 1
        await follow(offers, path, '{"l4": {}}')
        assert "there must be a profile named default" in caplog.text
    assert len(used) == 1
    assert offers.settings.profiles["default"].max_running == 3
