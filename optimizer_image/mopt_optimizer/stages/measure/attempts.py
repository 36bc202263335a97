"""Who killed the container: what a Job's earlier Pods were doing when they died.

On cgroup v2 the kernel kills every process of a container that is out of memory, so nobody is left
to say which variant it was. A record in the store, one per Job, names the variants at work; a Pod
that the Job controller starts in place of the dead one reads it:

- one variant at work, memory nearly full: it fails, OutOfMemory, and is not opened again;
- one variant otherwise: it is tried once more, by itself; at its second death it fails, Crashed;
- several, while their outputs were compared: each is tried by itself from then on.

An orderly end, SIGTERM by an eviction too, leaves nobody at work, so it counts for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread

from pydantic import Field, ValidationError

from mopt_api.base import ObservedModel
from mopt_api.figures import VariantReason
from mopt_optimizer.errors import DataError, ObjectNotFound, OptimizerError, VariantFailure
from mopt_optimizer.progress import Log
from mopt_optimizer.store.base import Store

JOB_UID_VARIABLE = "MOPT_JOB_UID"
NEAR_LIMIT = 0.8
"""Part of the memory limit from which a sudden death is put down to memory. The variant itself is
ended at 92 % where its parent still gets to see that."""
MOST_DEATHS = 2

_UID = re.compile(r"[A-Za-z0-9-]{1,64}")
_MAX_BYTES = 64 * 1024


class Blame(ObservedModel):
    """Why a variant is not opened again."""

    reason: VariantReason
    message: str


class Record(ObservedModel):
    """What the Pods of one Job did so far."""

    working: list[str] = Field(default=[], description="Variants at work now.")
    memory_share: float = Field(
        default=0.0, description="Of the memory limit, 0 to 1, while they work; from NEAR_LIMIT on."
    )
    deaths: dict[str, int] = Field(
        default={}, description="How often a container died of one variant, by its name."
    )
    alone: list[str] = Field(default=[], description="Variants that are to be by themselves.")
    failed: dict[str, Blame] = Field(default={}, description="Variants that are given up.")


def after_death(record: Record) -> Record:
    """Return the record, updated with the conclusions from a Pod that did not end in order.

    A record of a Pod that did, with nobody at work, comes back as it is.
    """
    if not record.working:
        return record
    alone = sorted({*record.alone, *record.working})
    rest = record.model_copy(update={"working": [], "memory_share": 0.0, "alone": alone})
    if len(record.working) > 1:
        return rest
    (name,) = record.working
    deaths = record.deaths | {name: record.deaths.get(name, 0) + 1}
    failed = dict(record.failed)
    if record.memory_share >= NEAR_LIMIT:
        failed[name] = Blame(
            reason=VariantReason.OUT_OF_MEMORY,
            message="the container was killed while it was at work, with "
            f"{record.memory_share:.0%} or more of its memory limit in use; raise the target's "
            "memory limit",
        )
    elif deaths[name] >= MOST_DEATHS:
        failed[name] = Blame(
            reason=VariantReason.CRASHED,
            message=f"the container was killed {deaths[name]} times while it was at work",
        )
    return rest.model_copy(update={"deaths": deaths, "failed": failed})


class Attempts:
    """The record of one Job, in the store. One Pod of a Job runs at a time, so one writes."""

    def __init__(self, store: Store, prefix: str, job_uid: str | None, log: Log) -> None:
        """Read the record and conclude why the last Pod ended.

        Args:
            prefix: Of keys in the store.
            job_uid: None or empty outside Kubernetes: nothing is then read or written.

        Raises:
            StoreError
        """
        self._store = store
        self._log = log
        self._key = None
        self._writer: Thread | None = None
        if job_uid and _UID.fullmatch(job_uid):
            folder = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
            self._key = f"{folder}attempts/{job_uid}.json"
        left = self._read()
        self._record = after_death(left)
        if self._record != left:
            log(
                "attempts",
                f"an earlier Pod died with {', '.join(left.working)} at work",
                working=left.working,
                failed=sorted(self._record.failed),
            )
            self._write(self._record)

    def failure(self, variant: str) -> VariantFailure | None:
        """Return why a variant must not be opened again; None where it may."""
        blame = self._record.failed.get(variant)
        return None if blame is None else VariantFailure(blame.reason, blame.message)

    def alone(self, variant: str) -> bool:
        """Return whether no other variant may be open beside this one."""
        return variant in self._record.alone

    @contextmanager
    def working(self, *variants: str) -> Iterator[None]:
        """Name the variants at work in the block, however it ends but by a killed container."""
        if self._key is None or not variants:
            yield
            return
        self._record = self._record.model_copy(update={"working": list(variants)})
        try:
            self._write(self._record)
            yield
        finally:
            try:
                self._rest()
            except SystemExit:  # SIGTERM, in the middle of it
                self._rest()
                raise

    def _rest(self) -> None:
        """Record that no variant is at work."""
        self._join()
        self._record = self._record.model_copy(update={"working": [], "memory_share": 0.0})
        self._write(self._record)

    def watching(self, memory_share: Callable[[], float | None]) -> Callable[[], float | None]:
        """Return memory_share, also noting when it comes near the limit."""

        def watched() -> float | None:
            share = memory_share()
            if share is not None and share >= NEAR_LIMIT:
                self._note(share)
            return share

        return watched

    def _note(self, share: float) -> None:
        if not self._record.working or self._record.memory_share >= NEAR_LIMIT:
            return
        self._record = self._record.model_copy(update={"memory_share": share})
        # Whoever asks is watching a process that fills memory, and must not wait for the store.
        self._writer = Thread(target=self._write_quietly, args=(self._record,), daemon=True)
        self._writer.start()

    def _write_quietly(self, record: Record) -> None:
        try:
            self._write(record)
        except OptimizerError as error:
            self._log("attempts", f"the memory share is not recorded: {error}")

    def _join(self) -> None:
        if self._writer is not None:
            self._writer.join()
            self._writer = None

    def _read(self) -> Record:
        if self._key is None:
            return Record()
        try:
            return Record.model_validate_json(self._store.read(self._key, max_bytes=_MAX_BYTES))
        except (ObjectNotFound, DataError, ValidationError):
            return Record()  # The first Pod; or of another version.

    def _write(self, record: Record) -> None:
        if self._key is not None:
            self._store.put_bytes(self._key, record.model_dump_json(by_alias=True).encode())
