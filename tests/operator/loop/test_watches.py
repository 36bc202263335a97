"""What the watches bring, and what kopf does not keep of it."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from collections.abc import AsyncIterator
from typing import Any

import kopf
import pytest
from kopf._cogs.clients import watching
from kopf._cogs.clients.errors import APIClientError

from mopt_operator.cluster.cache import Store
from mopt_operator.loop import watches
from mopt_operator.loop.queue import WorkQueue
from mopt_operator.loop.watches import (
    Events,
    Forgetful,
    kopf_settings,
    restarting,
    watches_start_from,
)


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


def _job(version: int, *, uid: str = "job", **status: object) -> Any:
    metadata = {
        "namespace": "team",
        "name": "sr-1",
        "uid": uid,
        "resourceVersion": str(version),
        "creationTimestamp": "2026-11-01T12:00:00Z",
        "labels": {"mopt.dev/name": "sr", "mopt.dev/uid": "uid"},
    }
    return {"metadata": metadata, "status": status}


def _pod(version: int, phase: str) -> Any:
    pod = _job(version, uid="pod", phase=phase)
    pod["metadata"]["ownerReferences"] = [{"uid": "job", "controller": True}]
    return pod


def _resource(version: int) -> Any:
    metadata = {"namespace": "team", "name": "sr", "uid": "uid", "generation": 1}
    return {"metadata": metadata | {"resourceVersion": str(version)}, "spec": {"a": version}}


COMPLETE: Any = {
    "completionTime": "2026-11-01T12:00:09Z",
    "conditions": [{"type": "Complete", "status": "True"}],
}


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
async def queue() -> AsyncIterator[WorkQueue]:
    queue = WorkQueue()
    yield queue
    queue.close()


@pytest.fixture
def deleted() -> list[str]:
    return []


@pytest.fixture
def events(store: Store, queue: WorkQueue, deleted: list[str]) -> Events:
    return Events(store, queue, deleted.append)


async def test_deletion_of_a_job_is_told_of_its_namespace(
    events: Events, store: Store, queue: WorkQueue, deleted: list[str]
) -> None:
    for version, event in enumerate(("ADDED", "MODIFIED", "DELETED"), start=1):
        assert deleted == []
        events.take("jobs", {"type": event, "object": _job(version)})
    assert deleted == ["team"]
    assert len(store.jobs) == 0
    assert len(queue) == 1


@pytest.mark.parametrize(
    ("known", "plural", "kind", "raw", "handled"),
    [
        (None, "modeloptimizations", "ADDED", _resource(1), True),
        (_resource(1), "modeloptimizations", "MODIFIED", _resource(2), True),
        (_resource(2), "modeloptimizations", "MODIFIED", _resource(2), False),
        (_resource(2), "modeloptimizations", "MODIFIED", _resource(1), False),
        (_resource(2), "modeloptimizations", "DELETED", _resource(2), True),
        (None, "jobs", "ADDED", _job(1), False),
        (None, "pods", "DELETED", _pod(1, "Running"), False),
    ],
    ids=[
        "new resource",
        "changed resource",
        "echo",
        "echo of what has been replaced since",
        "deleted resource",
        "Job",
        "Pod",
    ],
)
async def test_kopf_handles_what_is_new_of_resources_alone(
    known: Any, plural: str, kind: str, raw: Any, handled: bool, events: Events, store: Store
) -> None:
    if known is not None:
        store.resources.put_answer(known)
    assert events.before_kopf(plural, {"type": kind, "object": raw}) is not handled


@pytest.mark.parametrize(
    ("told", "at_once"),
    [
        ([("jobs", "ADDED", _job(1))], False),
        ([("jobs", "ADDED", _job(1)), ("jobs", "MODIFIED", _job(2, active=1))], False),
        ([("jobs", "ADDED", _job(1, **COMPLETE))], True),
        ([("jobs", "DELETED", _job(1))], True),
        ([("jobs", "ADDED", _job(1)), ("pods", "ADDED", _pod(2, "Succeeded"))], False),
        ([("pods", "ADDED", _pod(1, "Running"))], False),
        ([("pods", "DELETED", _pod(1, "Running"))], True),
    ],
    ids=[
        "Job",
        "Job that starts",
        "Job that is complete",
        "Job that is gone",
        "Pod before its Job is complete",
        "Pod that runs",
        "Pod that is gone",
    ],
)
async def test_resource_is_looked_at_at_once_where_more_can_be_done(
    told: list[tuple[str, str, Any]], at_once: bool, events: Events, queue: WorkQueue
) -> None:
    for plural, kind, raw in told:
        events.take(plural, {"type": kind, "object": raw})
    assert bool(len(queue)) is at_once
    assert await asyncio.wait_for(queue.get(), 5) == ("team", "sr")


async def test_pod_that_is_shown_after_its_job_is_complete_is_looked_at_at_once(
    events: Events, queue: WorkQueue
) -> None:
    events.take("jobs", {"type": "ADDED", "object": _job(1, **COMPLETE)})
    queue.done(await queue.get())
    events.take("pods", {"type": "ADDED", "object": _pod(2, "Succeeded")})
    assert len(queue) == 1


async def test_object_that_cannot_be_read_does_not_end_the_watch_of_the_others(
    events: Events, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    raw = _pod(1, "Running")
    raw["metadata"]["creationTimestamp"] = "yesterday"
    assert events.before_kopf("pods", {"type": "ADDED", "object": raw})
    assert "Cannot read an event of pods" in caplog.text
    assert events.before_kopf("pods", {"type": "ADDED", "object": _pod(2, "Running")})
    assert len(store.pods) == 1


async def test_watch_goes_on_after_what_kopf_does_not_handle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def watch(**_: Any) -> AsyncIterator[Any]:
        for version in (1, 2):
            yield {"type": "MODIFIED", "object": _job(version)}
        yield {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "3"}}}

    monkeypatch.setattr(watching, "watch_objs", watch)
    lists: Any = None
    with watches_start_from(lists, lambda _, event: event["object"] == _job(1)):
        resource = kopf.Resource("batch", "v1", "jobs")
        brought = [raw async for raw in watching.watch_objs(resource=resource)]  # type: ignore[call-arg]
    told = [(raw["type"], raw["object"]["metadata"]["resourceVersion"]) for raw in brought]
    assert told == [("BOOKMARK", "1"), ("MODIFIED", "2"), ("BOOKMARK", "3")]
    assert watching.watch_objs is watch


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
