"""Which Jobs may be created now, where the administrator bounds how many run at once. Pure.

A profile bounds its Jobs (maxRunning) and its measurements (measurementSlots), the settings the
Jobs of a namespace (maxRunningPerNamespace). What counts is Jobs that are not finished, so that a
restart counts the same. Kueue bounds what is in its queues: those Jobs neither wait here, nor count
while they are suspended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from mopt_api.enums import TargetKind
from mopt_api.jobs.plan import Stage
from mopt_api.labels import LABEL_PROFILE, LABEL_STAGE
from mopt_operator.config.settings import DEFAULT_PROFILE, Settings
from mopt_operator.objects import LABEL_QUEUE, Job, Pod, Raw, Resource

# A Job whose Pod has not started for so long, because no node has room or its Secret is missing,
# keeps other namespaces waiting no longer.
UNSTARTED_SECONDS = 600.0
# A Pod whose Job is gone still ends; one whose node is lost never does.
ENDING_SECONDS = 60.0
_MEASURING = frozenset({Stage.MEASURE.lower(), Stage.VERIFY.lower()})


class Lane(NamedTuple):
    """What a Job uses of a profile: one of its Jobs, and where it measures one of its slots too."""

    profile: str
    measures: bool


class Place(NamedTuple):
    """Where a Job runs.

    Attributes:
        stuck: It does not: it counts against its namespace, no longer against its profile.
    """

    lane: Lane
    namespace: str
    stuck: bool = False


class Claim(NamedTuple):
    """A Job that is to be created; in their order the older resource comes first.

    Attributes:
        created: When its resource was.
    """

    # In this order they are served.
    created: str
    namespace: str
    resource: str
    job: str
    lane: Lane

    @property
    def place(self) -> Place:
        return Place(self.lane, self.namespace)


Waiting = Mapping[Lane, Mapping[str, Sequence[Claim]]]
"""Those that wait, by lane and namespace, each in its order."""


def lane_of(stage: str, profile: str, settings: Settings) -> Lane:
    """Return the lane of a Job.

    Args:
        stage: Lowercase.
        profile: Empty for what an older version made.
    """
    name = profile or DEFAULT_PROFILE
    known = settings.profiles.get(name)
    builds = known is not None and known.kind is TargetKind.BUILD_ONLY
    return Lane(name, stage in _MEASURING and not builds)


def claims_of(resource: Resource, jobs: Iterable[Raw], settings: Settings) -> Iterator[Claim]:
    """Yield the claims of Jobs' manifests; a Job with a queue waits there."""
    for manifest in jobs:
        metadata = manifest["metadata"]
        labels = metadata["labels"]
        if LABEL_QUEUE not in labels:
            yield Claim(
                resource.created,
                resource.namespace,
                resource.name,
                metadata["name"],
                lane_of(labels[LABEL_STAGE], labels[LABEL_PROFILE], settings),
            )


class Occupant(NamedTuple):
    """A Job of stage Measure or Verify on a node.

    Attributes:
        measures: It measures; otherwise it builds engines, which disturbs only those that do.
    """

    uid: str
    job: str
    node: str
    measures: bool


class Holding(NamedTuple):
    """Where a resource's Jobs run.

    Attributes:
        until: When to look again because one stops to count; None for never.
    """

    places: tuple[Place, ...] = ()
    occupants: tuple[Occupant, ...] = ()
    until: datetime | None = None


def held_by(
    uid: str, jobs: Sequence[Job], pods: Sequence[Pod], now: datetime, settings: Settings
) -> Holding:
    """Return where a resource's Jobs run: those that are not finished, and Pods that still end.

    Args:
        uid: The resource's; what another one owns does not count.
    """
    places: list[Place] = []
    occupants: list[Occupant] = []
    times: list[datetime] = []
    for job in jobs:
        if job.owner_uid != uid or job.finished or job.suspended:
            continue
        live = [pod for pod in pods if pod.job_uid == job.uid and not pod.finished]
        lane, stuck = lane_of(job.stage, job.profile, settings), False
        if since := _unstarted_since(job, live):
            times.append(since + timedelta(seconds=UNSTARTED_SECONDS))
            stuck = now >= times[-1]
        places.append(Place(lane, job.namespace, stuck))
        if job.stage in _MEASURING and live and live[-1].node:
            occupants.append(Occupant(job.uid, job.name, live[-1].node, lane.measures))
    for pod in _ending(jobs, pods):
        end = pod.ends + timedelta(seconds=ENDING_SECONDS) if pod.ends else now
        if now < end:
            times.append(end)
            places.append(Place(lane_of(pod.stage, pod.profile, settings), pod.namespace))
    until = min((time for time in times if now < time), default=None)
    return Holding(tuple(places), tuple(occupants), until)


def _unstarted_since(job: Job, live: Sequence[Pod]) -> datetime | None:
    """Return since when a Job has had no Pod that started; None where one runs."""
    if not live:
        return job.created
    return None if any(pod.phase != "Pending" for pod in live) else live[-1].created


def _ending(jobs: Iterable[Job], pods: Iterable[Pod]) -> Iterator[Pod]:
    """Yield the Pods on nodes whose Jobs have been deleted."""
    known = {job.uid for job in jobs}
    for pod in pods:
        if pod.node and not pod.finished and pod.job_uid not in known:
            yield pod


class Usage:
    """How many Jobs run, by what bounds them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._jobs: Counter[str] = Counter()
        self._measurements: Counter[str] = Counter()
        self._namespaces: Counter[str] = Counter()
        self._shares: Counter[tuple[str, str]] = Counter()

    def use(self, settings: Settings) -> None:
        """Go by other bounds from now on."""
        self._settings = settings

    def copy(self) -> Usage:
        other = Usage(self._settings)
        other._jobs = self._jobs.copy()
        other._measurements = self._measurements.copy()
        other._namespaces = self._namespaces.copy()
        other._shares = self._shares.copy()
        return other

    def add(self, place: Place, number: int = 1) -> None:
        """Count a Job; number -1 takes it back."""
        (profile, measures), namespace, stuck = place
        self._jobs[profile] += number * (not stuck)
        self._measurements[profile] += number * (measures and not stuck)
        self._namespaces[namespace] += number
        self._shares[profile, namespace] += number

    def share(self, profile: str, namespace: str) -> int:
        """Return how many Jobs of a namespace run on a profile."""
        return self._shares.get((profile, namespace), 0)

    def full(self, place: Place) -> bool:
        """Tell whether a bound keeps a Job from running."""
        return self.full_lane(place.lane) or self.full_namespace(place.namespace)

    def full_lane(self, lane: Lane) -> bool:
        """Tell whether a bound of a profile is reached."""
        slots, jobs = _bounds(lane, self._settings)
        if slots is not None and self._measurements[lane.profile] >= slots:
            return True
        return jobs is not None and self._jobs[lane.profile] >= jobs

    def full_namespace(self, namespace: str) -> bool:
        """Tell whether the bound of a namespace is reached."""
        most = self._settings.max_running_per_namespace
        return most is not None and self._namespaces.get(namespace, 0) >= most


def _bounds(lane: Lane, settings: Settings) -> tuple[int | None, int | None]:
    """Return how many measurements and how many Jobs a profile runs at once; None for any."""
    profile = settings.profiles.get(lane.profile)
    if profile is None:
        return None, None
    return profile.measurement_slots if lane.measures else None, profile.max_running


def admitted(waiting: Waiting, usage: Usage) -> list[Claim]:
    """Return the claims for which there is room, in the order in which they are served.

    First the namespace that has the fewest Jobs running on the profile, then the oldest resource.
    """
    usage, taken = usage.copy(), Counter[tuple[Lane, str]]()
    found: list[Claim] = []
    while heads := [
        (usage.share(lane.profile, namespace), claims[at])
        for lane, by_namespace in waiting.items()
        if not usage.full_lane(lane)
        for namespace, claims in by_namespace.items()
        if (at := taken.get((lane, namespace), 0)) < len(claims)
        and not usage.full_namespace(namespace)
    ]:
        _, claim = min(heads)
        usage.add(claim.place)
        taken[claim.lane, claim.namespace] += 1
        found.append(claim)
    return found


def waiting_text(claim: Claim, settings: Settings) -> str:
    """Return what a claim waits for, and who comes before it.

    By the settings alone: a place in the line, or which bound is reached at the moment, would be
    a write to each one that waits whenever another one runs or ends.
    """
    slots, jobs = _bounds(claim.lane, settings)
    profile = f"profile {claim.lane.profile}"
    bounds = (
        (profile, slots, "measurement"),
        (profile, jobs, "Job"),
        ("a namespace", settings.max_running_per_namespace, "Job"),
    )
    said = ", ".join(
        f"{who} runs {most} {noun}{'' if most == 1 else 's'}"
        for who, most, noun in bounds
        if most is not None
    )
    return f"Waiting for a slot: {said} at once; the oldest of a namespace is next"
