"""`mopt-operator`: runs the operator until SIGTERM, or until it cannot do its work."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kopf

from .cluster.api import Cluster
from .cluster.bearers import Bearers
from .cluster.cache import Store
from .cluster.candidate import Candidate
from .cluster.client import Client, api_client
from .cluster.pace import pace_of
from .cluster.requests import Requests
from .config.file import read_settings
from .config.logs import configure_logs
from .config.settings import Settings
from .errors import OperatorError, SettingsError
from .loop.call_metrics import CallMetrics
from .loop.http import Heartbeat, Judge, application, serve
from .loop.lists import Lists
from .loop.metrics import Metrics
from .loop.offer_keeper import OfferKeeper
from .loop.offers import Offers
from .loop.queue import WorkQueue
from .loop.readiness import Readiness
from .loop.reconciler import Reconciler
from .loop.restarts import STOPPED, Restarts, cause_of
from .loop.turns import Turns
from .loop.watchdog import watch_the_watches
from .loop.watches import Events, Forgetful, kopf_settings, registry, watches_start_from
from .startup import check_access, check_profile_access, check_profiles
from .version import product_version

if TYPE_CHECKING:
    from .loop.tracing import Traces

logger = logging.getLogger(__name__)

COMPARE_SECONDS = 300.0


async def _watch(
    lists: Lists,
    events: Events,
    settings: Settings,
    ready: Readiness,
) -> None:
    """List everything, then watch it until cancelled; say how far that is."""
    await lists.fill()
    ready.filled.set()
    with watches_start_from(lists, events.before_kopf):
        await kopf.operator(
            registry=registry(events, offers=settings.profile_objects),
            settings=kopf_settings(),
            memories=Forgetful(),
            standalone=True,
            clusterwide=not settings.watch_namespaces,
            namespaces=settings.watch_namespaces,
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


def _candidate(
    settings: Settings,
    leading: asyncio.Event,
    *,
    calls: CallMetrics,
    end: Callable[[BaseException], None],
) -> Candidate | None:
    """Return this process as a candidate; None where there is no election.

    Args:
        leading: To be set when it leads, in the event loop that runs now.
        calls: Counts its requests.
        end: See Candidate.
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
        end=end,
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


def traces_of(settings: Settings) -> Traces | None:
    """Return what makes spans; None where traces are off, which costs no import either."""
    if settings.tracing is None:
        return None
    try:
        from .loop.tracing import Traces

        return Traces(settings, settings.tracing)
    except Exception as error:  # noqa: BLE001 - such as a variable that OpenTelemetry cannot read
        logger.warning("There are no traces: %s", error)
        return None


async def _check(cluster: Cluster, settings: Settings) -> None:
    """Make sure that the watches can work, and profiles that are no objects too.

    Raises:
        OperatorError: Says what to do.
    """
    await check_access(cluster, settings.watch_namespaces)
    if settings.profile_objects:
        await check_profile_access(cluster.offers)
    else:
        await check_profiles(cluster, settings)


@dataclass(frozen=True)
class _Parts:
    """What one operator process consists of."""

    settings: Settings
    store: Store
    queue: WorkQueue
    turns: Turns
    metrics: Metrics
    reconciler: Reconciler
    offers: Offers
    keeper: OfferKeeper
    lists: Lists

    @classmethod
    def of(
        cls,
        settings: Settings,
        cluster: Cluster,
        *,
        calls: CallMetrics,
        leads: Callable[[], bool],
        transitions: Callable[[], int | None],
        restarts: Restarts,
        clock: Callable[[], datetime],
        traces: Traces | None,
    ) -> _Parts:
        """Put an operator together."""
        store, queue = Store(offers=settings.profile_objects), WorkQueue()
        turns = Turns(settings, queue)
        metrics = Metrics(
            settings,
            store=store,
            queue=queue,
            turns=turns,
            calls=calls,
            leads=leads,
            transitions=transitions,
            beside=[restarts],
        )
        reconciler = Reconciler(
            cluster,
            settings,
            store=store,
            queue=queue,
            turns=turns,
            metrics=metrics,
            clock=clock,
            labels=cluster.offers.namespace_labels,
            traces=traces,
        )
        offers = Offers(settings, store=store, queue=queue, use=reconciler.use)
        keeper = OfferKeeper(cluster.offers, cluster, offers, store=store, clock=clock)
        lists = Lists(
            cluster,
            settings.watch_namespaces,
            store=store,
            queue=queue,
            metrics=metrics,
            offers_changed=offers.changed,
        )
        return cls(settings, store, queue, turns, metrics, reconciler, offers, keeper, lists)

    def workers(self, begin: Sequence[asyncio.Event]) -> Iterator[Coroutine[Any, Any, None]]:
        """Yield those that serve the queue, once what decisions go by is there."""
        known = (*begin, self.keeper.applied) if self.settings.profile_objects else begin
        for _ in range(self.settings.workers):
            yield _work(self.reconciler, known)

    def followers(self, begin: Iterable[asyncio.Event]) -> Iterator[Coroutine[Any, Any, None]]:
        """Yield what follows the changes of profiles."""
        if self.settings.profile_objects:
            yield self.keeper.work(begin)
        elif self.settings.profiles_file is not None:
            yield self.offers.follow(self.settings.profiles_file)

    def watch(self, ready: Readiness) -> Coroutine[Any, Any, None]:
        """Return what lists and watches."""
        freed = self.turns.refusals.freed
        events = Events(self.store, self.queue, freed, self.offers.changed)
        return _watch(self.lists, events, self.settings, ready)


def _cluster(
    settings: Settings, client: Client, calls: CallMetrics, candidate: Candidate | None
) -> Cluster:
    fence = candidate.fence if candidate else None
    return Cluster(client, fence, pace=pace_of(settings.kube_api), listed=calls.listed)


def _judge(settings: Settings, client: Client) -> Judge | None:
    """Return who says which tokens may read /metrics; None where none are asked for."""
    judged = settings.health_tls is not None and settings.health_tls.bearer_tokens
    return Bearers(Requests(client)).judge if judged else None


async def operate(settings: Settings, restarts: Restarts) -> None:
    """Run until a signal; `restarts` is told where the process ends at once.

    Raises:
        OperatorError: The operator cannot continue; a restart may help.
    """
    calls, leading, traces = CallMetrics(), asyncio.Event(), traces_of(settings)
    ready = Readiness(settings.watch_namespaces, offers=settings.profile_objects)
    candidate = _candidate(settings, leading, calls=calls, end=restarts.end_process)
    async with api_client(calls.asked) as client:
        cluster = _cluster(settings, client, calls, candidate)
        await _check(cluster, settings)
        leads = candidate.holds if candidate else leading.is_set
        parts = _Parts.of(
            settings,
            cluster,
            calls=calls,
            leads=leads,
            transitions=lambda: candidate.transitions if candidate else None,
            restarts=restarts,
            clock=client.time.now,
            traces=traces,
        )

        def missing() -> list[str]:
            return ready.lacking(
                (task.get_name() for task in asyncio.all_tasks()),
                lease_known=candidate is None or candidate.known,
                leads=leads(),
                unseen=parts.queue.unseen,
            )

        begin = (ready.filled, leading)
        tasks = [asyncio.create_task(worker) for worker in parts.workers(begin)]
        if candidate is None:
            leading.set()
        else:
            candidate.start()
        heartbeat = Heartbeat(late=parts.metrics.loop_turned)
        beside = (
            heartbeat.beat(),
            _compare(parts.lists, *begin),
            parts.lists.fail_if_restored(),
            watch_the_watches(parts.store, settings.watch_namespaces, filled=ready.filled),
            _stop_on_signal(ready.watching),
            *parts.followers(begin),
            # kopf's task last: at its end it cancels whatever was started after it.
            parts.watch(ready),
        )
        tasks += [asyncio.create_task(coroutine) for coroutine in beside]
        pages = application(missing, parts.metrics.page, heartbeat, _judge(settings, client))
        try:
            async with serve(settings.health_address, pages, settings.health_tls):
                await _first_end(tasks)
        finally:
            await _end_all(tasks, candidate)
            parts.queue.close()
            if traces is not None:
                traces.stop()  # Nothing else is at work any more.


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
    restarts = Restarts(Path(settings.restarts_file) if settings.restarts_file else None)
    restarts.begin()
    try:
        asyncio.run(operate(settings, restarts))
    except BaseException as error:
        restarts.ended(cause_of(error))
        if isinstance(error, OperatorError):
            sys.exit(_complain(f"mopt-operator: {error}", 1))
        raise
    restarts.ended(STOPPED)


def _complain(message: str, code: int) -> int:
    print(message, file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
