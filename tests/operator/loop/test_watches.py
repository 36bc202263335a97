"""What the watches bring, and what kopf does not keep of it."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import AsyncIterator
from typing import Any

import kopf
import pytest
from kopf._cogs.clients.errors import APIClientError

from mopt_operator.cluster.cache import Store
from mopt_operator.loop import watches
from mopt_operator.loop.queue import WorkQueue
from mopt_operator.loop.watches import Forgetful, kopf_settings, restarting, take


async def test_no_notes_are_kept_of_an_object() -> None:
    memories = Forgetful()
    raw: Any = {"metadata": {"uid": "1"}}
    first = await memories.recall(raw, noticed_by_listing=True, memobase=kopf.Memo())
    kept = weakref.ref(first)
    assert not list(memories.iter_all_memories())
    await memories.forget(raw)
    del first
    gc.collect()
    assert kept() is None


def test_no_copy_of_an_object_is_made() -> None:
    persistence = kopf_settings().persistence
    body = kopf.Body({"metadata": {"uid": "1"}, "spec": {"large": [1]}})
    essence = persistence.diffbase_storage.build(body=body, extra_fields=None)
    assert persistence.progress_storage.clear(essence=essence) == {}
    assert persistence.diffbase_storage.fetch(body=body) is None


def test_deletion_of_a_job_is_told_of_its_namespace() -> None:
    store, queue, deleted = Store(), WorkQueue(), list[str]()
    metadata = {
        "namespace": "team",
        "name": "sr-1",
        "uid": "uid-1",
        "resourceVersion": "1",
        "creationTimestamp": "2026-11-01T12:00:00Z",
        "labels": {"mopt.dev/name": "sr", "mopt.dev/uid": "uid"},
    }
    for event in ("ADDED", "MODIFIED", "DELETED"):
        assert deleted == []
        take({"type": event, "object": {"metadata": metadata}}, store.jobs, queue, deleted.append)
    assert deleted == ["team"]
    assert len(store.jobs) == 0
    assert len(queue) == 1


EVENT: Any = {"type": "ADDED", "object": {"metadata": {"uid": "1"}}}
GONE: Any = {"type": "ERROR", "object": {"code": 410}}


async def _said(*, raises: Exception | None = None, event: Any = None) -> AsyncIterator[Any]:
    yield EVENT
    if event is not None:
        yield event
    if raises is not None:
        raise raises


@pytest.mark.parametrize(
    "stream",
    [
        _said(event={"type": "ERROR", "object": {"code": 500, "message": "no leader"}}),
        _said(raises=APIClientError("410: Gone", status=410, headers={})),
        _said(raises=json.JSONDecodeError("half an event", "{", 1)),
        _said(event=GONE),
    ],
    ids=["error", "410", "cut", "gone"],
)
async def test_watch_that_fails_is_started_anew_from_a_list(
    stream: AsyncIterator[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watches, "RESTART_SECONDS", 0.0)
    assert [raw async for raw in restarting(stream, "jobs")] == [EVENT, GONE]


async def test_watch_that_ends_goes_on_where_it_was() -> None:
    assert [raw async for raw in restarting(_said(), "jobs")] == [EVENT]
