"""`mopt-operator`: runs the operator until SIGTERM, or until it cannot do its work."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

import kopf

from ._errors import NotFound, OperatorError, Refused, SettingsError
from .connecting import api_client
from .executing import Cluster
from .handlers import kopf_settings, registry
from .logs import configure_logs
from .queueing import WorkQueue
from .reconciling import Reconciler
from .settings import Settings, read_settings
from .storing import Store
from .watching import watch_the_watches

logger = logging.getLogger(__name__)

WORKERS = 4
RESYNC_SECONDS = 300.0


async def _resync(reconciler: Reconciler, namespaces: list[str]) -> None:
    while True:
        await asyncio.sleep(RESYNC_SECONDS)
        try:
            await reconciler.resync(namespaces)
        except OperatorError as error:
            logger.warning("Cannot compare with the cluster: %s", error)


async def _check_access(cluster: Cluster, namespaces: list[str]) -> None:
    """Make sure that the watches can work: kopf goes on without those that cannot.

    Raises:
        OperatorError: Says what to do.
    """
    everywhere: list[str | None] = [None]
    try:
        for namespace in namespaces or everywhere:
            await cluster.check_access(namespace)
    except NotFound as error:
        raise OperatorError(f"install the CRD first (helm, or crds/*.yaml): {error}") from error
    except Refused as error:
        raise OperatorError(f"the operator's role lacks a permission: {error}") from error


async def _stop_on_signal(watching: asyncio.Event) -> None:
    """Return at SIGTERM or SIGINT. kopf's own handlers would take five seconds to end."""
    await watching.wait()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    await stop.wait()
    logger.info("Stopping")


async def operate(settings: Settings) -> None:
    """Run until a signal.

    Raises:
        OperatorError: The work cannot go on; a restart may help.
    """
    store, queue, watching = Store(), WorkQueue(), asyncio.Event()
    async with api_client() as client:
        cluster = Cluster(client)
        await _check_access(cluster, settings.watch_namespaces)
        reconciler = Reconciler(cluster, settings, store=store, queue=queue)
        tasks = [asyncio.create_task(reconciler.work()) for _ in range(WORKERS)]
        tasks.append(asyncio.create_task(_resync(reconciler, settings.watch_namespaces)))
        tasks.append(asyncio.create_task(watch_the_watches()))
        tasks.append(asyncio.create_task(_stop_on_signal(watching)))
        # kopf's last: it cancels at its end whatever was started after it.
        kopfs = kopf.operator(
            registry=registry(store, queue),
            settings=kopf_settings(),
            standalone=True,
            clusterwide=not settings.watch_namespaces,
            namespaces=settings.watch_namespaces,
            liveness_endpoint=f"http://{settings.health_address}/healthz",
            ready_flag=watching,
        )
        tasks.append(asyncio.create_task(kopfs))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            queue.close()


def main() -> None:
    """Run the operator; exit 0 after SIGTERM, 1 on a fault, 2 on a bad configuration."""
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
