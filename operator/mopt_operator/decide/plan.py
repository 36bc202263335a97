"""What to do for a resource, and the status that says how it stands. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from mopt_api.status import Condition, ModelOptimizationStatus
from mopt_operator.objects import Job, Json

from .artifact import available
from .conditions import Verdict, conditions, foreign
from .history import extended
from .jobs import Manifest
from .outdated import Optimizers
from .stale import with_outdated


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes:
        create: Manifests of Jobs.
        delete: Jobs whose work is no longer asked for.
        expire: Finished Jobs whose result is recorded; they get a time to live.
        ttl_seconds: That time.
        status: The whole new status; None where nothing changes.
        requeue_after: Seconds after which to decide again without an event; None for never.
        rerun_waits: Results of another optimizer are to be replaced, when it is their turn.
    """

    create: tuple[Manifest, ...] = ()
    delete: tuple[Job, ...] = ()
    expire: tuple[Job, ...] = ()
    ttl_seconds: int = 0
    status: Json | None = None
    requeue_after: float | None = None
    rerun_waits: bool = False


def changed_status(
    optimizers: Optimizers,
    before: ModelOptimizationStatus,
    verdict: Verdict,
    found: ModelOptimizationStatus,
    now: datetime,
    *,
    wanted: Collection[str],
    published: Condition | None = None,
) -> Json | None:
    """Return the whole status, or None where the resource has it already.

    Args:
        before: What the resource's status says now.
        wanted: Names of all targets.
        found: What the run found; the rest is filled in.
        published: See publication.
    """
    resource = optimizers.resource
    generation = resource.generation
    said = conditions(verdict, before.conditions, generation=generation, now=now)
    history = extended(before.history, found.targets, generation=generation, now=now)
    served = available(
        found.targets, wanted, before.conditions, history, generation=generation, now=now
    )
    said = [*said, *filter(None, [served, published]), *foreign(before.conditions)]
    status = found.model_copy(
        update=(before.model_extra or {})
        | {
            "observed_generation": generation,
            "last_handled_reconcile_at": resource.requested_at,
            "conditions": with_outdated(said, found.targets, optimizers, before, now=now),
            "history": history,
        }
    ).to_api()
    return None if status == resource.status else status
