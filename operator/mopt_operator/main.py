"""`mopt-operator`: runs the operator until SIGTERM, or until it cannot do its work."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import kopf

from .cluster.api import Cluster
from .cluster.cache import Store
from .cluster.candidate import Candidate
from .cluster.client import api_client
from .config.file import read_settings
from .config.logs import configure_logs
from .config.settings import Settings
from .errors import OperatorError, SettingsError
from .loop.call_metrics import CallMetrics
from .loop.http import Heartbeat, application, serve
from .loop.lists import Lists
from .loop.metrics import Metrics
from .loop.queue import WorkQueue
from .loop.readiness import Readiness
from .loop.reconciler import Reconciler
from .loop.turns import Turns
from .loop.watchdog import watch_the_watches
from .loop.watches import Events, Forgetful, kopf_settings, registry, watches_start_from
from .startup import check_access, check_profiles
from .version import product_version

logger = logging.getLogger(__name__)

# They wait for the API server, not for the CPU.
WORKERS = 16
COMPARE_SECONDS = 300.0


async def _watch(
    lists: Lists,
    events: Events,
    namespaces: list[str],
    ready: Readiness,
) -> None:
    """List everything, then watch it until cancelled; say how far that is."""
    await lists.fill()
    ready.filled.set()
    with watches_start_from(lists, events.before_kopf):
        await kopf.operator(
            registry=registry(events),
            settings=kopf_settings(),
            memories=Forgetful(),
            standalone=True,
            clusterwide=not namespaces,
            namespaces=namespaces,
            ready_flag=ready.watching,
        )


async def _compare(lists: Lists, filled: asyncio.Event, leading: asyncio.Event) -> None:
    """Compare the store with the cluster now and then, while this operator leads."""
    await filled.wait()
    fresh_until = time.monotonic() + COMPARE_SECONDS
    await leading.wait()
    await asyncio.sleep(max(fresh_until - time.monotonic(), 0.0))
    while True:
        await lists.compare()
        await asyncio.sleep(COMPARE_SECONDS)


async def _work(reconciler: Reconciler, ready: Iterable[asyncio.Event]) -> None:
    """Work on the queue once this operator leads, and knows what there is."""
    for event in ready:
        await event.wait()
    await reconciler.work()


@asynccontextmanager
async def _leases(calls: CallMetrics) -> AsyncIterator[Cluster]:
    async with api_client(calls.asked) as client:
        yield Cluster(client)


def _candidate(settings: Settings, leading: asyncio.Event, calls: CallMetrics) -> Candidate | None:
    """Return this process as a candidate; None where there is no election.

    Args:
        leading: To be set when it leads, in the event loop that runs now.
        calls: Counts its requests.
    """
    lease = settings.leader_election
    if lease is None:
        return None
    loop = asyncio.get_running_loop()
    return Candidate(
        partial(_leases, calls),
        namespace=lease.namespace,
        name=lease.name,
        identity=f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}",
        lead=lambda: loop.call_soon_threadsafe(leading.set),
    )


async def _stop_on_signal(watching: asyncio.Event) -> None:
    """Return at SIGTERM or SIGINT, also while the first lists are made."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def listen() -> None:
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, stop.set)

    listen()
    stopped = asyncio.create_task(stop.wait())
    watches = asyncio.create_task(watching.wait())
    try:
        await asyncio.wait({stopped, watches}, return_when=asyncio.FIRST_COMPLETED)
        listen()  # kopf has put its own in their place, which would take five seconds to end.
        await stopped
    finally:
        stopped.cancel()
        watches.cancel()
    logger.info("Stopping")


def report_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log errors that belong to no task; the event loop's handler at the end of the process.

    kopf leaves its watch streams open when it is cancelled. The event loop then closes these
    generators in any order, and an outer one complains where an inner one went first.
    """
    if "asyncgen" in context:
        logger.debug("%s: %r", context["message"], context.get("exception"))
    else:
        loop.default_exception_handler(context)


async def operate(settings: Settings) -> None:
    """Run until a signal.

    Raises:
        OperatorError: The operator cannot continue; a restart may help.
    """
    store, queue, calls = Store(), WorkQueue(), CallMetrics()
    leading, ready = asyncio.Event(), Readiness(settings.watch_namespaces)
    candidate = _candidate(settings, leading, calls)
    async with api_client(calls.asked) as client:
        cluster = Cluster(client, candidate.fence if candidate else None)
        await check_access(cluster, settings.watch_namespaces)
        await check_profiles(cluster, settings)
        leads = candidate.holds if candidate else leading.is_set
        turns = Turns(settings, queue)
        metrics = Metrics(settings, store=store, queue=queue, turns=turns, calls=calls, leads=leads)
        reconciler = Reconciler(
            cluster,
            settings,
            store=store,
            queue=queue,
            turns=turns,
            metrics=metrics,
            clock=client.time.now,
        )
        namespaces = settings.watch_namespaces
        lists = Lists(cluster, namespaces, store=store, queue=queue, metrics=metrics)

        def missing() -> list[str]:
            return ready.lacking(
                (task.get_name() for task in asyncio.all_tasks()),
                lease_known=candidate is None or candidate.known,
                leads=leads(),
                unseen=queue.unseen,
            )

        begin = (ready.filled, leading)
        tasks = [asyncio.create_task(_work(reconciler, begin)) for _ in range(WORKERS)]
        if candidate is None:
            leading.set()
        else:
            candidate.start()
        heartbeat = Heartbeat(late=metrics.loop_turned)
        beside = (
            heartbeat.beat(),
            _compare(lists, *begin),
            lists.fail_if_restored(),
            watch_the_watches(store, namespaces, filled=ready.filled),
            _stop_on_signal(ready.watching),
            # kopf's task last: at its end it cancels whatever was started after it.
            _watch(lists, Events(store, queue, turns.refusals.freed), namespaces, ready),
        )
        tasks += [asyncio.create_task(coroutine) for coroutine in beside]
        pages = application(missing, metrics.page, heartbeat)
        try:
            async with serve(settings.health_address, pages, settings.health_tls):
                await _first_end(tasks)
        finally:
            await _end_all(tasks, candidate)
            queue.close()


async def _first_end(tasks: list[asyncio.Task[None]]) -> None:
    """Wait until a task ends; raise what it raised."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


async def _end_all(tasks: list[asyncio.Task[None]], candidate: Candidate | None) -> None:
    asyncio.get_running_loop().set_exception_handler(report_loop_error)
    # kopf's task last, after the lease is released: it takes a while to end.
    kopf_task = tasks.pop()
    await _end(tasks)
    if candidate is not None:
        await candidate.stop()
    await _end([kopf_task])


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def main() -> None:
    """Run the operator; exit 0 after SIGTERM, 1 on an error, 2 on an invalid configuration."""
    try:
        settings = read_settings()
    except SettingsError as error:
        sys.exit(_complain(f"mopt-operator: {error}", 2))
    configure_logs(settings.log_format, settings.log_level)
    image = settings.optimizer_image
    logger.info("mopt %s starts with the optimizer image %s", product_version(), image)
    try:
        asyncio.run(operate(settings))
    except OperatorError as error:
        sys.exit(_complain(f"mopt-operator: {error}", 1))


def _complain(message: str, code: int) -> int:
    print(message, file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
