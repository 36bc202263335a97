"""`mopt-operator`: runs the operator until SIGTERM, or until it cannot do its work."""

from __future__ import annotations

import asyncio
import logging
import sys

import kopf

from ._errors import OperatorError, SettingsError
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


async def operate(settings: Settings) -> None:
    """Run until a signal ends kopf.

    Raises:
        OperatorError: The work cannot go on; a restart may help.
    """
    store, queue = Store(), WorkQueue()
    async with api_client() as client:
        reconciler = Reconciler(Cluster(client), settings, store=store, queue=queue)
        ours = [asyncio.create_task(reconciler.work(), name=f"worker {n}") for n in range(WORKERS)]
        ours.append(asyncio.create_task(_resync(reconciler, settings.watch_namespaces)))
        ours.append(asyncio.create_task(watch_the_watches()))
        # kopf's last: it cancels at its end whatever was started after it.
        watches = asyncio.create_task(
            kopf.operator(
                registry=registry(store, queue),
                settings=kopf_settings(),
                standalone=True,
                clusterwide=not settings.watch_namespaces,
                namespaces=settings.watch_namespaces,
                liveness_endpoint=f"http://{settings.health_address}/healthz",
            ),
            name="kopf",
        )
        try:
            done, _ = await asyncio.wait([watches, *ours], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (watches, *ours):
                task.cancel()
            await asyncio.gather(watches, *ours, return_exceptions=True)
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
