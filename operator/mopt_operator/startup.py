"""Checks at the start: permissions, and the Pod template of each profile.

The API server judges each profile's Job in a dry run. What it would reject later, for one resource
after another, ends the start with its message. The only permission that this takes is the one to
create Jobs, which the work needs anyway.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Protocol

from .config.settings import Settings
from .decide.jobs import Manifest
from .decide.trial import (
    LOST_DEVICES,
    blames_profile,
    loses_devices,
    trial_job,
    trial_namespace,
)
from .errors import NotFound, OperatorError, Refused
from .objects import Raw

logger = logging.getLogger(__name__)


class Api(Protocol):
    """The API calls of these checks."""

    async def check_access(self, namespace: str | None) -> None: ...
    async def try_job(self, manifest: Raw) -> Raw: ...


class Offers(Protocol):
    """The API calls on OptimizationProfiles; see cluster.offers."""

    async def check_access(self) -> None: ...


def profile_jobs(settings: Settings, namespace: str) -> Iterator[tuple[str, Manifest]]:
    """Yield each profile's name and a Job that has it; these Jobs are never created."""
    for name in settings.profiles:
        yield name, trial_job(name, settings, namespace)


async def check_access(cluster: Api, namespaces: list[str]) -> None:
    """Make sure that the watches can work.

    Of several namespaces one that refuses, deleted by its owner or not yet made, is only logged:
    the others are served, and it too once the role is bound there.

    Raises:
        OperatorError: Says what to do.
    """
    watched: list[str | None] = [*namespaces] or [None]
    refused: dict[str | None, Refused] = {}
    for namespace in watched:
        try:
            await cluster.check_access(namespace)
        except NotFound as error:
            raise OperatorError(f"install the CRD first (helm, or crds/*.yaml): {error}") from error
        except Refused as error:
            refused[namespace] = error
    if len(refused) == len(watched):
        first = next(iter(refused.values()))
        raise OperatorError(f"the operator's role lacks a permission: {first}") from first
    for namespace, refusal in refused.items():
        logger.warning(
            "Namespace %s is not served until the role allows it: %s", namespace, refusal
        )


async def check_profile_access(offers: Offers) -> None:
    """Make sure that OptimizationProfiles can be watched.

    Raises:
        OperatorError: Says what to do.
    """
    try:
        await offers.check_access()
    except NotFound as error:
        raise OperatorError(
            "install the CRD of OptimizationProfiles first (helm, or crds/*.yaml), or set "
            f"profileObjects to false: {error}"
        ) from error
    except Refused as error:
        raise OperatorError(
            "the operator's ClusterRole for OptimizationProfiles is missing; with profileObjects: "
            f"false it needs none: {error}"
        ) from error


async def check_profiles(cluster: Api, settings: Settings) -> None:
    """Let the API server judge each profile's Pod template.

    Where a profile cannot be checked, a line in the log says why.

    Raises:
        OperatorError: A profile makes no valid Job; names the profile and the field.
    """
    namespace = trial_namespace(settings)
    for name, manifest in profile_jobs(settings, namespace):
        try:
            stored = await cluster.try_job(manifest)
        except OperatorError as error:
            if isinstance(error, Refused) and blames_profile(error):
                raise OperatorError(
                    f"profiles.{name}: the API server rejects its Jobs: {error.message}"
                ) from error
            logger.warning("Cannot check profile %s in %s: %s", name, namespace, error)
        else:
            if loses_devices(manifest, stored):
                raise OperatorError(f"profiles.{name}: {LOST_DEVICES}")
