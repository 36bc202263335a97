"""Whatever watches and lists bring or do not bring: the same end, by the same process.

The faults that only a list can show are in tests/faults/test_lost_events.py, and connections that
go silent in test_deaf_watches.py.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from http_proxy import Broken, Call, Chunks, HttpProxy, Script, lines, no_fault
from job_messages import Messages
from light_cluster import (
    Api,
    MakeNamespace,
    MakeOperator,
    MakeResource,
    Operator,
    Resource,
    by_way_of,
)
from whole_life import jobs_made, live, told

pytestmark = pytest.mark.faults

Json = dict[str, Any]
GONE = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
FAILED = {"kind": "Status", "code": 500, "reason": "InternalError", "message": "etcd has no leader"}
# How often in a row each watch meets the fault, and how long whatever lasts does.
TIMES = 3
SECONDS = 6.0


def _line(event: str, content: Json) -> bytes:
    return json.dumps({"type": event, "object": content}).encode() + b"\n"


def each_watch(fault: Script) -> Callable[[], Script]:
    """Return a script by which each kind's watch meets a fault a few times in a row."""

    def begin() -> Script:
        met: Counter[str] = Counter()

        async def script(call: Call) -> web.StreamResponse:
            plural = call.watches
            if plural is None or met[plural] == TIMES:
                return await call.forward()
            met[plural] += 1
            return await fault(call)

        return script

    return begin


def for_a_while(fault: Script) -> Callable[[], Script]:
    """Return a script by which every request meets a fault for some seconds."""

    def begin() -> Script:
        until = time.monotonic() + SECONDS

        async def script(call: Call) -> web.StreamResponse:
            return await (fault(call) if time.monotonic() < until else call.forward())

        return script

    return begin


def watches(fault: Script) -> Callable[[], Script]:
    """Return a script by which every watch meets a fault."""

    async def script(call: Call) -> web.StreamResponse:
        return await (fault(call) if call.watches else call.forward())

    return lambda: script


def changed(change: Callable[[Chunks], Chunks]) -> Script:
    return lambda call: call.forward(change)


async def closed_at_once(call: Call) -> web.StreamResponse:
    return await call.answer(200)


async def cut(chunks: Chunks) -> Chunks:
    """Half of an event, and an end as if all were well."""
    async for line in lines(chunks):
        yield line[: len(line) // 2]
        return


async def broken(chunks: Chunks) -> Chunks:
    """Half of an event, and the connection breaks."""
    async for line in lines(chunks):
        yield line[: len(line) // 2]
        raise Broken


async def gone(_: Chunks) -> Chunks:
    yield _line("ERROR", GONE)


async def failed(_: Chunks) -> Chunks:
    yield _line("ERROR", FAILED)


async def gone_at_the_start(call: Call) -> web.StreamResponse:
    return await call.answer(410, json.dumps({"apiVersion": "v1", "status": "Failure"} | GONE))


async def twice(chunks: Chunks) -> Chunks:
    async for line in lines(chunks):
        yield line
        yield line


def late(plural: str) -> Callable[[], Script]:
    """One kind's events come some seconds after those of the others."""

    async def held(chunks: Chunks) -> Chunks:
        async for line in lines(chunks):
            await asyncio.sleep(SECONDS / 2)
            yield line

    async def script(call: Call) -> web.StreamResponse:
        return await (call.forward(held) if call.watches == plural else call.forward())

    return lambda: script


def one_lost(plural: str, words: bytes) -> Callable[[], Script]:
    """The first event with these words is lost; what follows, bookmarks too, comes."""

    def begin() -> Script:
        lost: list[bytes] = []

        async def without(chunks: Chunks) -> Chunks:
            async for line in lines(chunks):
                if words in line and not lost:
                    lost.append(line)
                else:
                    yield line

        async def script(call: Call) -> web.StreamResponse:
            return await (call.forward(without) if call.watches == plural else call.forward())

        return script

    return begin


async def too_many(call: Call) -> web.StreamResponse:
    return await call.answer(429, "{}", Retry_After="2")


async def internal_error(call: Call) -> web.StreamResponse:
    return await call.answer(500, json.dumps({"apiVersion": "v1"} | FAILED))


FAULTS: dict[str, Callable[[], Script]] = {
    "closed at once": each_watch(closed_at_once),
    "cut in an event": each_watch(changed(cut)),
    "broken in an event": each_watch(changed(broken)),
    "410 in the stream": each_watch(changed(gone)),
    "410 at the start": each_watch(gone_at_the_start),
    "error in the stream": each_watch(changed(failed)),
    "every event twice": watches(changed(twice)),
    "Jobs before Pods": late("pods"),
    "Pods before Jobs": late("jobs"),
    "status late": late("modeloptimizations"),
    "end of a Pod lost": one_lost("pods", b'"phase":"Succeeded"'),
    "429 for a while": for_a_while(too_many),
    "500 for a while": for_a_while(internal_error),
}


@pytest.fixture(scope="module")
def namespace(make_namespace: MakeNamespace) -> str:
    return make_namespace()


@pytest.fixture(scope="module")
def reader(api: Api) -> Iterator[HttpProxy]:
    running = HttpProxy(api.config["clusters"][0]["cluster"]["server"], api.context)
    yield running
    running.close()


@pytest.fixture(scope="module")
def operator(
    make_operator: MakeOperator,
    reader: HttpProxy,
    namespace: str,
    operator_kubeconfig: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Any]:
    file = by_way_of(reader.url, operator_kubeconfig, tmp_path_factory.mktemp("reading"))
    running = make_operator(kubeconfig=file, watchNamespaces=[namespace])
    running.start()
    yield running
    if running.running:
        running.kill()
    assert "Traceback (most recent call last)" not in running.log(), running.log()


@pytest.fixture
def meet(operator: Operator, reader: HttpProxy) -> Iterator[Callable[[Script], None]]:
    """Return what lets the operator meet a fault; it is over at the end of the test."""
    if not operator.running:
        operator.start()
    yield reader.play
    reader.play(no_fault)


def is_one_life(resource: Resource) -> None:
    assert jobs_made(resource) == ["default", "prepare"]
    events = told(resource)
    assert events["JobCreated"] <= 2
    assert events["Optimized"] == 1


@pytest.mark.parametrize("fault", FAULTS, ids=[name.replace(" ", "-") for name in FAULTS])
def test_fault_of_a_watch_changes_nothing_but_the_time(
    fault: str,
    operator: Operator,
    meet: Callable[[Script], None],
    namespace: str,
    make_resource: MakeResource,
    messages: Messages,
    record: Callable[[str, str], None],
) -> None:
    meet(FAULTS[fault]())
    began = time.monotonic()
    resource = make_resource(namespace=namespace)
    live(resource, messages)
    record(f"Watches, {fault}: Ready after", f"{time.monotonic() - began:.0f} s")
    is_one_life(resource)
    assert operator.running, operator.log()


class Gap:
    """Watches that cannot be opened, and whose history is forgotten when they can be."""

    def __init__(self) -> None:
        self.closed = True
        self._told: set[str] = set()

    async def __call__(self, call: Call) -> web.StreamResponse:
        plural = call.watches
        if plural is None:
            return await call.forward()
        if self.closed:
            return await call.answer(503)
        if plural not in self._told:
            self._told.add(plural)
            return await call.forward(gone)
        return await call.forward()


def test_job_that_goes_in_a_gap_is_made_again(
    operator: Operator,
    meet: Callable[[Script], None],
    api: Api,
    namespace: str,
    make_resource: MakeResource,
    messages: Messages,
) -> None:
    resource = make_resource(namespace=namespace)
    first = resource.pod_of("prepare")["metadata"]["uid"]
    gap = Gap()
    meet(gap)
    (job,) = resource.jobs()
    path = f"/apis/batch/v1/namespaces/{namespace}/jobs/{job['metadata']['name']}"
    api.call("DELETE", path, {"propagationPolicy": "Background"})
    resource.wait_for(lambda: not resource.jobs())
    gap.closed = False
    resource.wait_for(lambda: any(p["metadata"]["uid"] != first for p in resource.pods()))
    live(resource, messages)
    assert jobs_made(resource) == ["default", "prepare"]
    assert operator.running


def test_resource_that_is_replaced_in_a_gap_is_a_new_one(
    operator: Operator,
    meet: Callable[[Script], None],
    namespace: str,
    make_resource: MakeResource,
    messages: Messages,
) -> None:
    resource = make_resource(namespace=namespace)
    live(resource, messages)
    before = resource.read()["metadata"]["uid"]
    gap = Gap()
    meet(gap)
    resource.delete()
    again = make_resource(namespace=namespace)
    gap.closed = False
    live(again, messages)
    uid = again.read()["metadata"]["uid"]
    assert uid != before

    def owners() -> set[str]:
        return {job["metadata"]["ownerReferences"][0]["uid"] for job in again.jobs()}

    # The first one's Jobs go when the garbage collector comes to them.
    again.wait_for(lambda: owners() == {uid})
    assert jobs_made(again) == ["default", "prepare"]
    assert operator.running


class Past:
    """An API server replica that is behind: lists are those of an earlier moment."""

    def __init__(self) -> None:
        self.behind = False
        self._lists: dict[str, web.Response] = {}

    async def __call__(self, call: Call) -> web.StreamResponse:
        plural = call.path.rpartition("/")[2]
        is_list = call.method == "GET" and plural in ("modeloptimizations", "jobs", "pods")
        if not is_list or call.watches:
            return await call.forward()
        kind = f"{plural} {call.request.headers['Accept']} {call.request.query.get('limit')}"
        if self.behind and kind in self._lists:
            known = self._lists[kind]
            return web.Response(body=known.body, headers=known.headers)
        kept: list[bytes] = []

        async def remembered(chunks: Chunks) -> Chunks:
            async for chunk in chunks:
                kept.append(chunk)
                yield chunk

        answer = await call.forward(remembered)
        named = {
            name: value for name, value in answer.headers.items() if name.startswith("Content-")
        }
        self._lists[kind] = web.Response(body=b"".join(kept), headers=named)
        return answer


def test_start_from_an_old_list_makes_no_job_again(
    operator: Operator,
    meet: Callable[[Script], None],
    namespace: str,
    make_resource: MakeResource,
    messages: Messages,
) -> None:
    past = Past()
    meet(past)
    resource = make_resource(namespace=namespace)
    pod = resource.pod_of("prepare")
    # This process's lists know the resource, and neither that it is prepared nor what follows.
    operator.kill()
    operator.start()
    resource.finish(pod, messages.prepare())
    measuring = resource.pod_of("measure")
    operator.kill()
    past.behind = True
    operator.start()
    resource.finish(measuring, messages.measure())
    live(resource, messages)
    is_one_life(resource)


def test_list_that_goes_back_ends_the_process_and_the_next_one_goes_on(
    operator: Operator,
    meet: Callable[[Script], None],
    namespace: str,
    make_resource: MakeResource,
    messages: Messages,
    reader: HttpProxy,
) -> None:
    past = Past()
    meet(past)
    operator.kill()
    operator.start()
    gap = Gap()
    gap.closed = False

    async def relist(call: Call) -> web.StreamResponse:
        return await (gap(call) if call.watches else past(call))

    reader.play(relist)  # The lists that are remembered are made.
    resource = make_resource(namespace=namespace)
    resource.pod_of("prepare")
    past.behind, again = True, Gap()
    again.closed = False

    async def go_back(call: Call) -> web.StreamResponse:
        return await (again(call) if call.watches else past(call))

    reader.play(go_back)
    resource.wait_for(lambda: not operator.running)
    assert "etcd was restored from a backup; starting anew" in operator.log().splitlines()[-1]
    reader.heal()
    operator.start()
    live(resource, messages)
    is_one_life(resource)
