"""Tries variants beside the baseline: opened, compared on real data, timed side by side.

Processes stay open from the comparison to the end of the timing, so that nothing is built twice.
As many variants as the memory budget allows form a group; usually that is all of them. The
baseline takes part in every group, and its figures pool all of them. In between, where Auto chose
the variants, a short probe drops the hopeless.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack

from mopt_optimizer.progress import step
from mopt_optimizer.quality import Array, check_no_new_non_finite, check_some_finite
from mopt_optimizer.runtimes.base import Opening

from .benchmark import Benchmark
from .evaluation import Evaluation
from .explanation import explain
from .participants import Participants, alive
from .setup import Setup, save_arrays
from .trial import Trial


class Trials:
    """Runs a baseline and its variants."""

    def __init__(self, setup: Setup, baseline: Trial, variants: Sequence[Trial]) -> None:
        self._setup = setup
        self._all = Participants(setup, baseline, variants)
        self._evaluation = Evaluation(self._all)
        self._benchmark = Benchmark(self._all)
        self._first: list[
            Array
        ] = []  # What the baseline computes of the first sample, or of noise.

    def run(self) -> None:
        """Fill in all trials: comparison, times, memory, or failure.

        Raises:
            BaselineError: The baseline does not open, run or give finite numbers.
            DataError: Ground truth that does not fit the baseline's outputs.
        """
        baseline, waiting = self._all.baseline, deque(self._all.variants)
        with ExitStack() as stack:
            for trial in (baseline, *self._all.variants):
                stack.callback(trial.close)
            with self._all.attempt(baseline):
                self._open(baseline)
            earlier = False
            while True:
                group = self._admit(waiting)
                with self._setup.attempts.working(*(trial.name for trial in group)):
                    self._evaluation.compare(group)
                if self._setup.timing.prunes:
                    self._benchmark.prune(group)
                self._benchmark.time(alive(group), several=earlier or bool(waiting))
                earlier = True
                for trial in group:
                    explain(self._setup, alive([trial]))
                    trial.close()
                if not waiting:
                    break
            explain(self._setup, [baseline])

    def _open(self, trial: Trial) -> None:
        """Start the process, and run it once so that its memory shows."""
        name = trial.name
        with step(self._setup.log, "open", f"opening {name}", end=f"{name} is open", variant=name):
            self._start(trial)

    def _start(self, trial: Trial) -> None:
        setup = self._setup
        trial.process = setup.start(
            trial.name,
            Opening(
                runtime=trial.variant.runtime,
                precision=trial.variant.precision,
                float_precision=trial.variant.float_precision,
                path=trial.path,
                threads=setup.threads,
                compiled=trial.variant.compiled,
                gpu=setup.gpu is not None,
                provider=trial.variant.execution_provider,
                shapes=dict(setup.gpu.shapes) if setup.gpu is not None else {},
            ),
        )
        if trial.process.engine is not None and setup.gpu is not None:
            trial.artifact = setup.gpu.put_engine(trial.process.engine)
        sampling = setup.sampling
        first = sampling.samples[0] if sampling.samples else sampling.feeds(setup.timing.points[0])
        outputs = self._all.evaluate(trial, save_arrays(first, setup.sampling.workdir / "first"))
        if trial is self._all.baseline:
            check_some_finite(outputs, trial.process.output_names)
            self._first = outputs
        check_no_new_non_finite(self._first, outputs, trial.process.output_names)
        trial.peak_memory_bytes = trial.process.peak_memory_bytes()

    def _admit(self, waiting: deque[Trial]) -> list[Trial]:
        """Open variants while the budget lasts; the first always gets in."""
        group: list[Trial] = []
        used = self._all.baseline.peak_memory_bytes or 0
        budget = self._setup.memory_budget
        while waiting and not (group and (group[-1].alone or waiting[0].alone)):
            trial = waiting.popleft()
            with self._all.attempt(trial), self._setup.attempts.working(trial.name):
                self._open(trial)
            if trial.failure is not None:
                continue
            used += trial.peak_memory_bytes or 0
            if group and budget is not None and used > budget:
                trial.close()
                waiting.appendleft(trial)
                break
            group.append(trial)
        return group
