"""`mopt logs`: which Pods, which lines, and what becomes of a log that cannot be read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from watch_server import CUT, Server, kubeconfig, newlines, serving
from watched import NAME, finished, pod, recorded, resource

from mopt_api.jobs.plan import Stage
from mopt_cli import cluster, log_session, watch_session
from mopt_cli._errors import CliError, ExitCode, NotFound
from mopt_cli.access import Access
from mopt_cli.cluster import connected
from mopt_cli.commands.logs import StageName
from mopt_cli.log_session import LogSession
from mopt_cli.observed import observe_pod
from mopt_cli.pod_logs import LogFilter, pods_of

READY = resource("True", "Optimized", "fast", progress=None)


def json_line(**fields: object) -> str:
    return json.dumps({"step": "export", "message": "done", **fields})


def test_stages_are_those_that_there_are() -> None:
    assert [stage.value for stage in StageName] == [stage.lower() for stage in Stage]


@pytest.mark.parametrize(
    ("text", "raw", "shown"),
    [
        (json_line(), False, "measure gpu export: done"),
        (json_line(seconds=2.84), False, "measure gpu export: done (2.8 s)"),
        (json_line(step="measure", message="selected x"), False, "measure gpu: selected x"),
        (json_line(message="a\x1b[2J\nb"), False, "measure gpu export: a\\x1b[2J b"),
        ("a library's \x1b[31mred", False, "measure gpu | a library's \\x1b[31mred"),
        (json_line(seconds=2.84), True, json_line(seconds=2.84)),
        ("a library's \x1b[31mred", True, "a library's \\x1b[31mred"),
    ],
)
def test_a_line_tells_whose_it_is(text: str, raw: bool, shown: str) -> None:
    found = observe_pod(pod("p", "measure", "gpu"))
    assert LogFilter(raw=raw).shown(found, text) == shown


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (LogFilter(), ["p", "c", "g"]),
        (LogFilter(stage="measure"), ["c", "g"]),
        (LogFilter(target="gpu"), ["p", "g"]),
        (LogFilter(stage="measure", target="gpu"), ["g"]),
        (LogFilter(stage="publish"), []),
    ],
    ids=["all", "a stage", "a target: prepare serves all", "both", "none"],
)
def test_pods_of_this_resource_alone_the_oldest_first(wanted: LogFilter, names: list[str]) -> None:
    raws = [
        pod("g", "measure", "gpu", created="2026-11-25T17:28:00Z"),
        pod("c", "measure", "cpu", created="2026-11-25T17:27:00Z"),
        pod("p", created="2026-11-25T17:26:00Z"),
        pod("former", owner="uid of one that was deleted"),
    ]
    assert [found.name for found in pods_of(raws, "uid-of-sr") if wanted.fits(found)] == names


@dataclass
class Printed:
    """What a run of the command printed."""

    shown: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)


@asynccontextmanager
async def session(
    server: Server, folder: Path, wanted: LogFilter, printed: Printed
) -> AsyncIterator[LogSession]:
    async with serving(server) as url, connected(Access(kubeconfig(folder, url))) as there:
        yield LogSession(there, wanted, printed.shown.append, printed.told.append)


async def read(server: Server, folder: Path, wanted: LogFilter, *, follow: bool = False) -> Printed:
    printed = Printed()
    async with session(server, folder, wanted, printed) as there:
        await there.run(NAME, follow=follow)
    return printed


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server with a resource that is being prepared and no Pod yet."""
    for module, name in (
        (watch_session, "_FIRST_PAUSE"),
        (cluster, "_PAUSE_SECONDS"),
        (log_session, "_PAUSE"),
    ):
        monkeypatch.setattr(module, name, 0.02)
    server = Server()
    await server.set("modeloptimizations", resource())
    return server


async def test_every_line_of_every_pod_is_printed(server: Server, tmp_path: Path) -> None:
    await server.set("pods", finished("p"), finished("m", "measure", "cpu"))
    server.logs = [newlines(recorded("measure")), newlines(recorded("prepare"))]
    printed = await read(server, tmp_path, LogFilter())
    # Two Pods of one moment come in the order of their names.
    assert printed.told == ["measure cpu: Pod m: Succeeded", "prepare: Pod p: Succeeded"]
    assert len(printed.shown) == len(recorded("measure")) + len(recorded("prepare"))
    assert printed.shown[0] == "measure cpu manifest: reading what prepare made"
    assert printed.shown[-1].startswith("prepare: done: 4 steps built")


async def test_raw_lines_are_the_jobs_own(server: Server, tmp_path: Path) -> None:
    await server.set("pods", finished("m", "measure", "cpu"))
    server.logs = [newlines(recorded("measure"))]
    printed = await read(server, tmp_path, LogFilter(raw=True))
    assert json.loads(printed.shown[0])["step"] == "manifest"


@pytest.mark.parametrize(
    ("logs", "shown", "told"),
    [
        ([400], 0, "the log of Pod m cannot be read: no log for you"),
        ([404], 0, "the log of Pod m cannot be read: no log for you"),
        ([500, [b"2026-11-25T17:27:01Z last words\n"]], 1, "the log of Pod m cannot be read"),
    ],
    ids=["not started", "gone", "one of two"],
)
async def test_a_log_that_cannot_be_had_is_told(
    server: Server, tmp_path: Path, logs: list[list[bytes] | int], shown: int, told: str
) -> None:
    await server.set("pods", *(finished(name, "measure", "cpu") for name in "mn"[: len(logs)]))
    server.logs = logs
    printed = await read(server, tmp_path, LogFilter())
    assert len(printed.shown) == shown
    assert any(line.startswith(told) for line in printed.told)


@pytest.mark.parametrize(
    ("status", "said"),
    [(403, "it takes the right to get pods/log"), (500, "no log for you")],
)
async def test_logs_of_which_none_can_be_read_are_an_error(
    server: Server, tmp_path: Path, status: int, said: str
) -> None:
    await server.set("pods", finished("m", "measure", "cpu"))
    server.logs = [status]
    with pytest.raises(CliError, match=said) as caught:
        await read(server, tmp_path, LogFilter())
    assert caught.value.code is ExitCode.FAILED


async def test_pods_that_are_not_there_are_told_with_those_that_are(
    server: Server, tmp_path: Path
) -> None:
    await server.set("pods", finished("p"), finished("m", "measure", "cpu"))
    with pytest.raises(CliError, match="there are: measure cpu, prepare; a finished Job's Pod"):
        await read(server, tmp_path, LogFilter(stage="publish"))
    await server.set("modeloptimizations")
    with pytest.raises(NotFound):
        await read(server, tmp_path, LogFilter())


async def test_a_log_is_followed_until_the_resource_is_done(server: Server, tmp_path: Path) -> None:
    printed = Printed()
    server.logs = [newlines(recorded("measure"))]
    async with session(server, tmp_path, LogFilter(stage="measure"), printed) as there:
        run = asyncio.create_task(there.run(NAME, follow=True))
        try:
            await server.set("pods", pod("p"), pod("m", "measure", "cpu"))
            async with asyncio.timeout(20):
                while len(printed.shown) < len(recorded("measure")):
                    assert not run.done()
                    await asyncio.sleep(0.01)
            await server.set("pods", finished("p"), finished("m", "measure", "cpu"))
            await server.set("modeloptimizations", READY)
            async with asyncio.timeout(20):
                await run
        finally:
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)
    assert printed.shown[-1] == "measure cpu: selected openvino-int8-nncf"
    assert "prepare: Pod p: Running" in printed.told
    assert len(printed.shown) == len(recorded("measure"))


async def test_what_runs_after_the_end_is_followed_to_its_end(
    server: Server, tmp_path: Path
) -> None:
    """A Job that publishes begins once the resource is Ready."""
    await server.set("modeloptimizations", READY)
    await server.set("pods", pod("u", "publish"))
    server.logs = [[b"2026-11-25T17:27:01Z pushing\n"]]
    printed = await read(server, tmp_path, LogFilter(stage="publish"), follow=True)
    assert printed.shown == ["publish | pushing"]


async def test_a_log_that_breaks_off_goes_on_behind_its_last_line(
    server: Server, tmp_path: Path
) -> None:
    await server.set("modeloptimizations", READY)
    await server.set("pods", pod("u", "publish"))
    lines = [f"2026-11-25T17:27:0{second}Z line {second}\n".encode() for second in range(3)]
    server.logs = [[*lines[:2], CUT], lines]
    printed = await read(server, tmp_path, LogFilter(), follow=True)
    assert printed.shown == [f"publish | line {second}" for second in range(3)]
    assert [line for line in printed.told if "broke off" in line]
    assert server.since == [None, "2026-11-25T17:27:01Z"]
    server.logs = [[*lines[:2], CUT]]
    with pytest.raises(CliError, match="the log of Pod u cannot be read"):
        await read(server, tmp_path, LogFilter())
