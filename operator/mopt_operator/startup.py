"""Checks at the start: permissions, and the Pod template of each profile.

The API server judges each profile's Job in a dry run. What it would reject later, for one resource
after another, ends the start with its message. The only permission that this takes is the one to
create Jobs, which the work needs anyway.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Protocol

from mopt_api.jobs.plan import DEFAULT_TARGET
from mopt_api.spec import ModelOptimizationSpec, Output, Target

from .config.settings import Settings
from .decide.jobs import Manifest, build_job
from .decide.work import measure_work
from .errors import NotFound, OperatorError, Refused
from .objects import Raw, Resource

logger = logging.getLogger(__name__)

_SPEC = ModelOptimizationSpec.model_validate(
    {
        "model": {"uri": "s3://models/m.onnx", "sha256": "0" * 64, "format": "ONNX"},
        "inputs": [{"name": "x", "shape": [1]}],
    }
)
_OUTPUT = Output(uri="s3://optimized/m")
_PREPARED = f"sha256:{'0' * 64}"
_ANY_UID = "00000000-0000-0000-0000-000000000000"
# How the API server's validation begins; admission policies and webhooks begin otherwise.
_INVALID = 'Job.batch "'
_UNKNOWN_FIELD = "cannot be handled as a Job"


class Api(Protocol):
    """The API calls of these checks."""

    async def check_access(self, namespace: str | None) -> None: ...
    async def try_job(self, manifest: Raw) -> Raw: ...


def profile_jobs(settings: Settings, namespace: str) -> Iterator[tuple[str, Manifest]]:
    """Yield each profile's name and a Job that has it; these Jobs are never created."""
    resource = Resource(
        namespace=namespace,
        name="profile",
        uid=_ANY_UID,
        generation=1,
        version="1",
        spec={},
        status={},
    )
    for name in settings.profiles:
        work = measure_work(
            _SPEC,
            _OUTPUT,
            settings,
            target=Target(name=DEFAULT_TARGET, profile=name),
            prepared=_PREPARED,
        )
        yield name, build_job(work, resource, settings)


def blames_profile(error: Refused) -> bool:
    """Tell whether the Job itself is invalid, and no quota, policy or webhook rejected it."""
    return error.message.startswith(_INVALID) or _UNKNOWN_FIELD in error.message


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


async def check_profiles(cluster: Api, settings: Settings) -> None:
    """Let the API server judge each profile's Pod template.

    In the first watched namespace; where all are watched, in the one that the operator runs in, or
    in `default`. Where a profile cannot be checked, a line in the log says why.

    Raises:
        OperatorError: A profile makes no valid Job; names the profile and the field.
    """
    home = settings.leader_election.namespace if settings.leader_election else "default"
    namespace = settings.watch_namespaces[0] if settings.watch_namespaces else home
    for name, manifest in profile_jobs(settings, namespace):
        try:
            await cluster.try_job(manifest)
        except Refused as error:
            if blames_profile(error):
                raise OperatorError(
                    f"profiles.{name}: the API server rejects its Jobs: {error.message}"
                ) from error
            logger.warning("Cannot check profile %s in %s: %s", name, namespace, error)
        except OperatorError as error:
            logger.warning("Cannot check profile %s in %s: %s", name, namespace, error)
