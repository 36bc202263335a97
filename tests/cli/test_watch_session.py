"""Watches and logs that break, over HTTP: an API server of which each test says what it does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from watch_server import Server, kubeconfig, newlines, serving
from watched import NAME, finished, pod, recorded, resource

from mopt_cli import cluster, watch_session
from mopt_cli._errors import CliError, ExitCode
from mopt_cli.access import Access
from mopt_cli.cluster import connected
from mopt_cli.following import Following
from mopt_cli.watch_session import WatchSession

READY = resource("True", "Optimized", "fast", progress=None)


class Watching:
    """A run of the command against the server."""

    def __init__(self, server: Server, run: asyncio.Task[Any], lines: list[str]) -> None:
        self.server = server
        self.lines = lines
        self._run = run

    async def until(self, words: str) -> None:
        """Wait for a line with these words."""
        async with asyncio.timeout(20):
            while not any(words in line for line in self.lines):
                assert not self._run.done(), self.lines
                await asyncio.sleep(0.01)

    async def end(self) -> ExitCode:
        async with asyncio.timeout(20):
            code: ExitCode = (await self._run)[0]
            return code


Start = Callable[[], Any]


@pytest.fixture
async def server() -> Server:
    """A server with a resource that is being prepared and no Pod yet."""
    server = Server()
    await server.set("modeloptimizations", resource())
    return server


@pytest.fixture
def start(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Return what starts the server and the command."""
    for module, name in ((watch_session, "_FIRST_PAUSE"), (cluster, "_PAUSE_SECONDS")):
        monkeypatch.setattr(module, name, 0.02)

    @asynccontextmanager
    async def start() -> AsyncIterator[Watching]:
        lines: list[str] = []
        async with serving(server) as url, connected(Access(kubeconfig(tmp_path, url))) as there:
            run = WatchSession(there, NAME, Following(NAME), lambda line: lines.append(line.text))
            task = asyncio.create_task(run.run())
            try:
                yield Watching(server, task, lines)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    return start


async def test_a_pod_comes_late_its_log_is_told_and_it_ends(start: Start, server: Server) -> None:
    server.logs = [newlines(recorded("prepare"))]
    async with start() as watching:
        await watching.until("Preparing")
        await server.set("pods", pod("p", phase="Pending"))
        await watching.until("Pod p: Pending")
        await server.set("pods", finished("p"))
        await watching.until("prepare: done: 4 steps built")
        await server.set("modeloptimizations", READY)
        assert await watching.end() is ExitCode.DONE
        assert watching.lines[-1] == "sr: Optimized: fast"


async def test_a_log_that_ends_early_goes_on_where_it_was(start: Start, server: Server) -> None:
    lines = newlines(recorded("prepare"))
    # Cut within a line, then begun again at the second of the last whole one.
    server.logs = [[*lines[:10], lines[10][:40]], [], 500, lines[4:30], lines[20:]]
    await server.set("pods", pod("p"))
    async with start() as watching:
        await watching.until("prepare: done: 4 steps built")
        await server.set("pods", finished("p"))
        await server.set("modeloptimizations", READY)
        assert await watching.end() is ExitCode.DONE
        told = [line for line in watching.lines if line.startswith(("prepare ", "prepare |"))]
        assert len(told) == len(lines)
        assert server.since[0] is None
        assert server.since[1] == "2026-11-25T17:26:59Z"
        trouble = [line for line in watching.lines if "cannot be read" in line]
        assert trouble == ["the log of Pod p cannot be read: no log for you; retrying"]


async def test_last_words_without_a_line_break_are_told(start: Start, server: Server) -> None:
    server.logs = [[b"2026-11-25T17:27:01Z killed while writ"]]
    await server.set("pods", finished("p"))
    async with start() as watching:
        await watching.until("prepare | killed while writ")


async def test_what_a_pod_said_last_is_told_after_the_end_is_known(
    start: Start, server: Server
) -> None:
    async with start() as watching:
        await watching.until("Preparing")
        server.logs = [[], newlines(recorded("prepare"))]
        await server.set("pods", pod("p"))
        await watching.until("Pod p: Running")
        await server.set("pods", finished("p"))
        await server.set("modeloptimizations", READY)
        await watching.end()
        assert any("prepare: done: 4 steps built" in line for line in watching.lines)


async def test_without_the_right_to_read_logs_status_is_followed(
    start: Start, server: Server
) -> None:
    server.logs = [403, 403]
    await server.set("pods", pod("p"), pod("m", "measure", "a"))
    async with start() as watching:
        await watching.until("no right to read logs")
        await server.set("pods", pod("p"), pod("m", "measure", "a"), pod("n", "measure", "b"))
        await watching.until("Pod n: Running")
        await server.set("modeloptimizations", READY)
        assert await watching.end() is ExitCode.DONE
        words = "no right to read logs; continuing with status alone: no log for you"
        assert watching.lines.count(words) == 1
        assert len(server.since) <= 2


async def test_without_the_right_to_see_pods_status_is_followed(
    start: Start, server: Server
) -> None:
    server.refuses["pods"] = 403
    async with start() as watching:
        await watching.until(
            "continuing with status alone: the API server refuses the request: pods are not for"
        )
        await server.set("modeloptimizations", READY)
        assert await watching.end() is ExitCode.DONE


@pytest.mark.parametrize("how", ["cut", "end", "expire"])
async def test_a_watch_that_breaks_is_opened_again(start: Start, server: Server, how: str) -> None:
    await server.set("pods", pod("p"))
    async with start() as watching:
        await watching.until("Pod p: Running")
        await asyncio.sleep(0.1)
        lists = server.lists
        await server.break_watches(how)
        await server.set("pods", finished("p"))
        await watching.until("Pod p: Succeeded")
        await server.set("modeloptimizations", READY)
        assert await watching.end() is ExitCode.DONE
        assert (server.lists > lists) is (how != "end")
        assert watching.lines.count("prepare: Pod p: Running") == 1


async def test_a_server_that_is_ill_for_a_while_is_told_once(start: Start, server: Server) -> None:
    async with start() as watching:
        await watching.until("Preparing")
        await asyncio.sleep(0.1)
        server.refuses = {"modeloptimizations": 503, "pods": 503}
        await server.break_watches("cut")
        await watching.until("the API server")
        await asyncio.sleep(0.3)
        server.refuses = {}
        await watching.until("the API server: works again")
        await server.set("modeloptimizations", READY)
        assert await watching.end() is ExitCode.DONE
        assert len([line for line in watching.lines if "retrying" in line]) == 1


async def test_a_resource_deleted_meanwhile_ends_it(start: Start, server: Server) -> None:
    async with start() as watching:
        await watching.until("Preparing")
        await server.set("modeloptimizations")
        assert await watching.end() is ExitCode.FAILED
        assert watching.lines[-1] == "sr: deleted before it finished"


async def test_a_resource_deleted_while_nobody_looked_ends_it_too(
    start: Start, server: Server
) -> None:
    async with start() as watching:
        await watching.until("Preparing")
        await asyncio.sleep(0.1)
        server.objects["modeloptimizations"] = {}
        await server.break_watches("expire")
        assert await watching.end() is ExitCode.FAILED


async def test_what_is_over_at_first_sight_ends_at_once(start: Start, server: Server) -> None:
    await server.set("modeloptimizations", READY)
    await server.set("pods", finished("p"))
    async with start() as watching:
        assert await watching.end() is ExitCode.DONE
        assert watching.lines == ["sr: Optimized: fast"]
        assert server.since == []


@pytest.mark.parametrize(
    ("status", "words", "code"),
    [
        (
            403,
            "the API server refuses the request: modeloptimizations are not for you",
            ExitCode.FAILED,
        ),
        (404, "mopt is not installed there", ExitCode.FAILED),
    ],
)
async def test_what_does_not_work_at_the_start_is_an_error(
    start: Start, server: Server, status: int, words: str, code: ExitCode
) -> None:
    server.refuses["modeloptimizations"] = status
    async with start() as watching:
        with pytest.raises(CliError, match=words) as caught:
            await watching.end()
        assert caught.value.code is code


async def test_no_such_resource_is_an_error(start: Start, server: Server) -> None:
    await server.set("modeloptimizations")
    async with start() as watching:
        with pytest.raises(CliError, match="no ModelOptimization sr in namespace team"):
            await watching.end()


async def test_nobody_at_home_is_an_error(tmp_path: Path) -> None:
    access = Access(kubeconfig(tmp_path, "http://127.0.0.1:9"))
    async with connected(access) as there:
        with pytest.raises(CliError, match="the API server does not answer"):
            await WatchSession(there, NAME, Following(NAME), print).run()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "no kubeconfig at "),
        ("", "cannot be used"),
        ("{", "cannot be used"),
        ("current-context: x", "cannot be used"),
        ("contexts: []\nclusters: []\ncurrent-context: x", "cannot be used"),
    ],
)
async def test_a_useless_kubeconfig_is_an_error(
    tmp_path: Path, text: str | None, words: str
) -> None:
    path = tmp_path / "kubeconfig"
    if text is not None:
        path.write_text(text)
    with pytest.raises(CliError, match=words):
        async with connected(Access(path)):
            pass


async def test_the_namespace_is_the_options_then_the_contexts(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path, "http://127.0.0.1:9")
    async with connected(Access(path)) as there:
        assert there.namespace == "team"
    async with connected(Access(path, namespace="other")) as there:
        assert there.namespace == "other"
