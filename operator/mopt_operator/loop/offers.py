"""Keeps what decisions go by in line with the profiles that there are."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from mopt_operator.cluster.cache import Store
from mopt_operator.config.file import read_profiles
from mopt_operator.config.offers import usable
from mopt_operator.config.settings import Profile, Settings
from mopt_operator.errors import SettingsError

from .queue import WorkQueue

logger = logging.getLogger(__name__)

# Between two looks at a file. The kubelet takes a minute to bring a change of a ConfigMap.
FILE_SECONDS = 5.0


class Offers:
    """The profiles that targets may use now.

    Args:
        settings: With the profiles that hold until others are taken.
        use: Called with the settings that hold from now on.

    Attributes:
        settings: Those that hold now.
        news: Set once an OptimizationProfile has changed.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        store: Store,
        queue: WorkQueue,
        use: Callable[[Settings], None],
    ) -> None:
        self.settings = settings
        self.news = asyncio.Event()
        self._known: tuple[Mapping[str, Profile], Mapping[str, str]] = (settings.profiles, {})
        self._store = store
        self._queue = queue
        self._use = use

    def changed(self) -> None:
        """Take the OptimizationProfiles of the store, in which something is new."""
        if self._store.offers_watched:
            self.news.set()
            self.look()

    def look(self) -> None:
        """Take the OptimizationProfiles of the store."""
        self.take(*usable(self._store.offers))

    def take(
        self, profiles: Mapping[str, Profile], refused: Mapping[str, str] | None = None
    ) -> None:
        """Go by other profiles from now on, and have all resources looked at.

        Args:
            refused: Why others may not be used, by name.
        """
        if (profiles, refused or {}) == self._known:
            return
        self._known = (profiles, refused or {})
        self.settings = self.settings.offering(*self._known)
        self._use(self.settings)
        for resource in self._store.resources:
            self._queue.add((resource.namespace, resource.name), later=resource.settled)

    async def follow(self, path: str) -> None:
        """Take the profiles of a file whenever it changes, until cancelled.

        What cannot be used is logged, and what was taken last holds on.
        """
        complaint = ""
        while True:
            await asyncio.sleep(FILE_SECONDS)
            try:
                self.take(read_profiles(path))
                complaint = ""
            except SettingsError as error:
                if str(error) != complaint:
                    complaint = str(error)
                    logger.warning("The profiles stay as they were: %s", complaint)
