"""The trials of one form under load: LoadGen is run for what a search proposes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from mopt_api.figures import Serving
from mopt_api.jobs.load_result import LoadTrial
from mopt_api.load import LoadScenario
from mopt_optimizer.errors import VariantFailure
from mopt_optimizer.load.configurations import key_of
from mopt_optimizer.load.outcome import Outcome
from mopt_optimizer.load.rules import Rules, rules_for
from mopt_optimizer.load.search import Found, Limits, Proposal, Steps, search, worded
from mopt_optimizer.machine.cpu_stat import CpuStat
from mopt_optimizer.progress import Log
from mopt_optimizer.runtimes.base import Opening

from .load_process import LoadProcess, Requests

_MOST_REPEATS = 3


@dataclass(frozen=True)
class Form:
    """A variant and its file."""

    name: str
    opening: Opening


@dataclass(frozen=True)
class Place:
    """Where trials run.

    Attributes:
        workdir: Exists; processes get folders of their own there.
        environ: Ours; what libraries need of it is passed on.
        memory_share: Used part of the container's memory, 0 to 1; None where it has no limit.
        cpu_stat: What the container's CPU quota has counted; None where it cannot be read.
    """

    workdir: Path
    environ: Mapping[str, str]
    memory_share: Callable[[], float | None]
    cpu_stat: Callable[[], CpuStat | None]
    log: Log


class LoadTrials:
    """Runs the trials of one search. A context manager: no process is left on exit."""

    def __init__(self, form: Form, requests: Requests, limits: Limits, place: Place) -> None:
        self._place = place
        self._form = form
        self._requests = requests
        self._limits = limits
        self._process: LoadProcess | None = None
        self._serving: Serving | None = None
        self._rates: dict[tuple[int, int, int], float] = {}
        self.trials: list[LoadTrial] = []

    def run(self, steps: Steps | None = None) -> Found:
        """Return what a search found; other steps than its own only to compare it with."""
        steps = steps or search(self._limits)
        try:
            proposal = next(steps)
            while True:
                proposal = steps.send(self._tried(proposal))
        except StopIteration as end:
            found: Found = end.value
            return found

    def _tried(self, proposal: Proposal) -> LoadTrial | None:
        started = time.monotonic()
        try:
            process = self._opened(proposal.serving)
            before = self._place.cpu_stat()
            outcome = self._outcome(proposal, process)
        except VariantFailure as failure:
            self._close()
            self._place.log(
                "load",
                f"{self._form.name} does not run with {worded(proposal.serving)}: {failure}",
                variant=self._form.name,
            )
            return None
        trial = LoadTrial(
            serving=proposal.serving,
            offered=proposal.offered,
            throughput=outcome.throughput,
            latency_ms=outcome.latency_ms,
            queries=outcome.queries,
            seconds=round(time.monotonic() - started, 3),
            throttled=_throttled(before, self._place.cpu_stat()),
            valid=outcome.valid,
            message=outcome.objection or None,
        )
        self.trials.append(trial)
        self._log(trial)
        return trial

    def _outcome(self, proposal: Proposal, process: LoadProcess) -> Outcome:
        """Run LoadGen; again where Offline was faster than expected, and so too short."""
        if proposal.offered is not None:
            return process.test(self._rules(proposal, proposal.offered))
        key = key_of(proposal.serving)
        rate = self._rates.get(key, process.rate)
        for _ in range(_MOST_REPEATS):
            outcome = process.test(self._rules(proposal, rate))
            # Of a short one only how fast it was counts.
            enough = rate if proposal.full else 2 * rate
            if outcome.valid or outcome.throughput <= enough:
                break
            rate = 2 * outcome.throughput
        self._rates[key] = outcome.throughput
        return outcome

    def _rules(self, proposal: Proposal, rate: float) -> Rules:
        limits = self._limits
        scenario = LoadScenario.OFFLINE if proposal.offered is None else LoadScenario.SERVER
        return rules_for(scenario, rate, limits.duration_seconds, limits.bound, full=proposal.full)

    def _opened(self, serving: Serving) -> LoadProcess:
        if self._process is None or self._serving != serving:
            self._close()
            self._process = LoadProcess(
                self._form.opening,
                serving,
                self._requests,
                workdir=self._place.workdir,
                environ=self._place.environ,
                memory_share=self._place.memory_share,
            )
            self._serving = serving
        return self._process

    def _log(self, trial: LoadTrial) -> None:
        share = 100 * (trial.throttled or 0)
        held = f", held back in {share:.3g} % of the quota's periods" if share else ""
        asked = "a full queue" if trial.offered is None else f"{trial.offered:.4g} requests/s"
        self._place.log(
            "load",
            f"{self._form.name}: {worded(trial.serving)}, {asked}: {trial.throughput:.4g} "
            f"samples/s, p99 {trial.latency_ms.p99:.4g} ms{held}",
            variant=self._form.name,
            trial=trial.to_api(),
        )

    def _close(self) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()


def _throttled(before: CpuStat | None, after: CpuStat | None) -> float | None:
    """Return the share of periods between two readings in which the quota was used up."""
    share = after.since(before).share if before is not None and after is not None else None
    return None if share is None else round(share, 4)
