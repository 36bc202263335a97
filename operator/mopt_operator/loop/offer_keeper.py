"""What the leader does about OptimizationProfiles: those of its file it applies, and all of them
get a status."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import datetime
from typing import Protocol

from mopt_api.profiles import ProfileReason
from mopt_operator.cluster.cache import Store
from mopt_operator.config.file import read_specs
from mopt_operator.config.offers import LABEL_OPERATOR, Offer
from mopt_operator.config.settings import Settings
from mopt_operator.decide.nodes import fits, needed_by, observe_node
from mopt_operator.decide.offer_status import ACCEPTED, Trial, offer_status
from mopt_operator.decide.trial import (
    LOST_DEVICES,
    blames_profile,
    loses_devices,
    trial_job,
    trial_namespace,
)
from mopt_operator.errors import Conflict, NotFound, OperatorError, Refused, SettingsError
from mopt_operator.objects import Json, Raw

from .offers import FILE_SECONDS, Offers

logger = logging.getLogger(__name__)

# Nodes come and go; a list of all is large where there are thousands.
NODES_SECONDS = 300.0
_MAX_LABEL = 63

State = tuple[str, int]
"""UID and generation: a profile as somebody wrote it."""


class Calls(Protocol):
    """The API calls on profiles; see cluster.offers."""

    async def apply(self, name: str, spec: Json, owner: str) -> Raw: ...
    async def delete(self, offer: Offer) -> None: ...
    async def write_status(self, offer: Offer, status: Json) -> Raw: ...
    def nodes(self) -> AsyncIterator[Raw]: ...


class Jobs(Protocol):
    """Tries Jobs; see cluster.api."""

    async def try_job(self, manifest: Raw) -> Raw: ...


def owner_of(settings: Settings) -> str:
    """Return the label value by which operators with these settings know what they applied."""
    lease = settings.leader_election
    name = f"{lease.namespace}.{lease.name}" if lease else "mopt"
    if len(name) <= _MAX_LABEL:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:10]
    return f"{name[: _MAX_LABEL - 11]}-{digest}"


def state_of(offer: Offer) -> State:
    """Return what tells a profile from what it was before an edit."""
    return offer.uid, offer.generation


def _taken(manifest: Json, stored: Raw) -> Trial:
    """Return what it means that the API server takes a Job.

    Args:
        stored: The Job as it would be.
    """
    if loses_devices(manifest, stored):
        return Trial(ProfileReason.JOBS_REFUSED, LOST_DEVICES)
    return Trial(ProfileReason.JOBS_ACCEPTED, ACCEPTED)


class OfferKeeper:
    """Applies profiles, tries their Jobs and counts their nodes.

    Attributes:
        applied: Set once those of the file are there, as far as the API server takes them.
    """

    def __init__(
        self,
        calls: Calls,
        jobs: Jobs,
        offers: Offers,
        *,
        store: Store,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._calls = calls
        self._jobs = jobs
        self._offers = offers
        self._store = store
        self._clock = clock
        self._monotonic = monotonic
        self._owner = owner_of(offers.settings)
        self._base = offers.settings
        self.applied = asyncio.Event()
        self._specs: dict[str, Json] | None = None
        # Those of the file that are there, and those that are somebody else's.
        self._made: set[str] = set()
        self._left: set[str] = set()
        self._complaint = ""
        self._trials: dict[State, Trial] = {}
        # None where nodes may not be listed.
        self._nodes: dict[State, int | None] = {}
        self._listed_at = -NODES_SECONDS

    async def work(self, begin: Iterable[asyncio.Event]) -> None:
        """Keep the profiles until cancelled, once this operator leads and knows what there is."""
        for event in begin:
            await event.wait()
        while True:
            self._offers.news.clear()
            try:
                await self.apply()
                self.applied.set()
                await self.report()
            except OperatorError as error:
                logger.warning("Cannot keep the profiles, trying again: %s", error)
            except Exception:
                # A bug here must not end what all resources need.
                logger.exception("Internal error, trying again")
            try:
                async with asyncio.timeout(FILE_SECONDS):
                    await self._offers.news.wait()
            except TimeoutError:
                pass

    async def apply(self) -> None:
        """Bring the profiles of the file into the cluster: those that are new in it, or missing.

        What somebody else made is theirs: it stays as it is. So does what somebody has edited,
        until the file says something else.

        Raises:
            OperatorError: A call failed; a retry may help.
        """
        before = self._specs or {}
        specs = self._read()
        for name, spec in specs.items():
            if before.get(name) != spec or self._is_open(name):
                await self._apply(name, spec)
        for offer in self._store.offers:
            if offer.owner == self._owner and offer.name not in specs and not offer.deleting:
                await self._delete(offer)
        self._specs = specs
        self._offers.look()

    def _is_open(self, name: str) -> bool:
        """Tell whether a profile that was made is gone, or one that was another's no longer is."""
        known = self._store.offers.get(("", name))
        if known is None:
            return name in self._made or name in self._left
        return name in self._left and known.owner == self._owner

    def _read(self) -> dict[str, Json]:
        try:
            specs, complaint = read_specs(self._base), ""
        except SettingsError as error:
            if self._specs is None:
                raise
            specs, complaint = self._specs, str(error)
        if complaint and complaint != self._complaint:
            logger.warning("The profiles stay as they were: %s", complaint)
        self._complaint = complaint
        return specs

    async def _apply(self, name: str, spec: Json) -> None:
        known = self._store.offers.get(("", name))
        self._made.discard(name)
        self._left.discard(name)
        if known is not None and known.owner != self._owner:
            self._left.add(name)
            logger.warning(
                "OptimizationProfile %s stays as it is, whatever the values say: it is not this "
                "operator's, whose have the label %s=%s",
                name,
                LABEL_OPERATOR,
                self._owner,
            )
            return
        try:
            self._store.offers.put_answer(await self._calls.apply(name, spec, self._owner))
            self._made.add(name)
        except Refused as error:
            logger.warning("The API server refuses OptimizationProfile %s: %s", name, error)

    async def _delete(self, offer: Offer) -> None:
        try:
            await self._calls.delete(offer)
        except (NotFound, Conflict):
            return  # Gone, or another one.
        logger.info("OptimizationProfile %s is no longer among the profiles: deleted", offer.name)

    async def report(self) -> None:
        """Bring the status of each profile up to date.

        Raises:
            OperatorError: A call failed; a retry may help.
        """
        due = self._monotonic() - self._listed_at >= NODES_SECONDS
        offers = tuple(self._store.offers)
        self._forget({state_of(offer) for offer in offers})
        for offer in offers:
            await self._try(offer, again=due)
        await self._write()
        if due or any(state_of(offer) not in self._nodes for offer in offers):
            await self._count(offers)
            await self._write()

    def _forget(self, present: set[State]) -> None:
        self._trials = {state: t for state, t in self._trials.items() if state in present}
        self._nodes = {state: n for state, n in self._nodes.items() if state in present}

    async def _try(self, offer: Offer, *, again: bool) -> None:
        """Let the API server judge a Job of a profile, where it has not."""
        known = self._trials.get(state_of(offer))
        if known is not None and not (again and known.reason is ProfileReason.NOT_TRIED):
            return
        self._trials[state_of(offer)] = await self._trial(offer)

    async def _trial(self, offer: Offer) -> Trial:
        if offer.profile is None:
            return Trial(ProfileReason.INVALID_FIELD, offer.fault)
        settings = self._base.offering({offer.name: offer.profile})
        manifest = trial_job(offer.name, settings, trial_namespace(settings))
        try:
            stored = await self._jobs.try_job(manifest)
        except OperatorError as error:
            if isinstance(error, Refused) and blames_profile(error):
                text = f"The API server refuses its Jobs: {error.message}"
                return Trial(ProfileReason.JOBS_REFUSED, text)
            return Trial(ProfileReason.NOT_TRIED, f"Its Jobs cannot be tried: {error}")
        return _taken(manifest, stored)

    async def _count(self, offers: Iterable[Offer]) -> None:
        """Count the nodes that fit each profile, without keeping them."""
        known = [
            (state_of(offer), offer.profile, needed_by(offer.profile))
            for offer in offers
            if offer.profile is not None
        ]
        found: dict[State, int | None] = {state_of(offer): 0 for offer in offers}
        try:
            async for raw in self._calls.nodes():
                node = observe_node(raw)
                for state, profile, needed in known:
                    found[state] = (found[state] or 0) + fits(profile, node, needed)
        except Refused as error:
            logger.info("Nodes are not counted: %s", error)
            found = dict.fromkeys(found)
        self._nodes |= found
        self._listed_at = self._monotonic()

    async def _write(self) -> None:
        """Write each status that says something new."""
        for offer in tuple(self._store.offers):
            state = state_of(offer)
            trial = self._trials.get(state)
            if trial is None or offer.deleting:
                continue  # It has come, or changed, meanwhile: the next look tries it.
            # Until they are counted, the count of an earlier leader holds.
            nodes = self._nodes.get(state, offer.status.get("nodes"))
            status = offer_status(offer, trial, nodes, self._clock())
            if status is None:
                continue
            try:
                self._store.offers.put_answer(await self._calls.write_status(offer, status))
            except (NotFound, Conflict):
                continue  # The watch shows what there is now.
        self._offers.look()
