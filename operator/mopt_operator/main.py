"""`mopt-operator`: runs the operator until SIGTERM, or until it cannot do its work."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

import kopf

from .cluster.api import Cluster
from .cluster.cache import Store
from .cluster.client import api_client
from .cluster.election import Election
from .config.file import read_settings
from .config.logs import configure_logs
from .config.settings import Settings
from .errors import OperatorError, SettingsError
from .loop.http import application, serve
from .loop.lists import Lists
from .loop.metrics import Metrics
from .loop.queue import WorkQueue
from .loop.reconciler import Reconciler
from .loop.turns import Turns
from .loop.watchdog import missing_watches, watch_the_watches
from .loop.watches import kopf_settings, registry
from .startup import check_access, check_profiles

logger = logging.getLogger(__name__)

# They wait for the API server, not for the CPU.
WORKERS = 16
COMPARE_SECONDS = 300.0


async def _watch(
    lists: Lists,
    handlers: kopf.OperatorRegistry,
    namespaces: list[str],
    filled: asyncio.Event,
    watching: asyncio.Event,
) -> None:
    """List everything, then watch it until cancelled; set the events as far as that is."""
    await lists.fill()
    filled.set()
    await kopf.operator(
        registry=handlers,
        settings=kopf_settings(),
        standalone=True,
        clusterwide=not namespaces,
        namespaces=namespaces,
        ready_flag=watching,
    )


async def _compare(lists: Lists, ready: Iterable[asyncio.Event]) -> None:
    """Compare the store with the cluster now and then, once this operator leads."""
    for event in ready:
        await event.wait()
    while True:
        await lists.compare()
        await asyncio.sleep(COMPARE_SECONDS)


async def _work(reconciler: Reconciler, ready: Iterable[asyncio.Event]) -> None:
    """Work on the queue once this operator leads, and knows what there is."""
    for event in ready:
        await event.wait()
    await reconciler.work()


def _elect(cluster: Cluster, settings: Settings) -> Election | None:
    """Return this process as a candidate; None where there is no election."""
    lease = settings.leader_election
    if lease is None:
        return None
    identity = f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}"
    return Election(cluster, namespace=lease.namespace, name=lease.name, identity=identity)


def not_ready(
    task_names: list[str],
    namespaces: Sequence[str] = (),
    *,
    filled: bool,
    watching: bool,
    lease_known: bool,
) -> list[str]:
    """Return what keeps the operator from being ready; a standby is ready too.

    Args:
        task_names: Of the tasks that are not done.
        namespaces: See missing_watches.
        filled: All that there is has been listed.
        watching: The watches have been started.
        lease_known: It is clear who leads, or there is no election.
    """
    lines = []
    if not filled:
        lines.append("the resources, Jobs and Pods have not been listed")
    elif not watching:
        lines.append("the watches have not been started")
    elif missing := missing_watches(task_names, namespaces):
        lines.append(f"not watched: {', '.join(missing)}")
    if not lease_known:
        lines.append("the lease has not been read")
    return lines


async def _stop_on_signal(watching: asyncio.Event) -> None:
    """Return at SIGTERM or SIGINT. kopf's handlers would take five seconds to end."""
    await watching.wait()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    await stop.wait()
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
    store, queue = Store(), WorkQueue()
    filled, watching = asyncio.Event(), asyncio.Event()
    async with api_client() as client:
        cluster = Cluster(client)
        await check_access(cluster, settings.watch_namespaces)
        await check_profiles(cluster, settings)
        election = _elect(cluster, settings)
        leading = asyncio.Event() if election is None else election.leading
        turns = Turns(settings, queue)
        metrics = Metrics(settings, store=store, queue=queue, turns=turns, leads=leading.is_set)
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
            return not_ready(
                [task.get_name() for task in asyncio.all_tasks()],
                namespaces,
                filled=filled.is_set(),
                watching=watching.is_set(),
                lease_known=election is None or election.known,
            )

        ready = (filled, leading)
        tasks = [asyncio.create_task(_work(reconciler, ready)) for _ in range(WORKERS)]
        if election is None:
            leading.set()
        else:
            tasks.append(asyncio.create_task(election.run()))
        tasks.append(asyncio.create_task(_compare(lists, ready)))
        tasks.append(asyncio.create_task(watch_the_watches(store, namespaces, filled=filled)))
        tasks.append(asyncio.create_task(_stop_on_signal(watching)))
        # kopf's task last: at its end it cancels whatever was started after it.
        handlers = registry(store, queue, turns.refusals.freed)
        watch = _watch(lists, handlers, namespaces, filled, watching)
        tasks.append(asyncio.create_task(watch))
        try:
            async with serve(settings.health_address, application(missing, metrics.text)):
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            asyncio.get_running_loop().set_exception_handler(report_loop_error)
            # kopf's task last, after the lease is released: it takes a while to end.
            kopf_task = tasks.pop()
            await _end(tasks)
            if election is not None:
                await election.release()
            await _end([kopf_task])
            queue.close()


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
    configure_logs(settings.log_format)
    logger.info("Starting with the optimizer image %s", settings.optimizer_image)
    try:
        asyncio.run(operate(settings))
    except OperatorError as error:
        sys.exit(_complain(f"mopt-operator: {error}", 1))


def _complain(message: str, code: int) -> int:
    print(message, file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
