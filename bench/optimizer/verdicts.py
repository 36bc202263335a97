"""How often a verdict is wrong, from real rounds: one form listed twice, others apart, busy loops.

    .venv/bin/python bench/optimizer/verdicts.py [--openings 10] [--rounds 100]
        [--json docs/records/verdicts.json]

Real forms take turns as in a measurement, beside none, one and two busy loops. They are opened many
times, in new processes each time, and recorded each time: two processes of one file may differ for
as long as they live. From each recording runs are drawn, 200 in all: a stretch of neighbouring
rounds from a random one on, judged as the Jobs judge. A run's interval is held against another
opening: against the whole of it, which is an independent measurement of the full length, and
against a stretch as short as the run, whose own error comes on top.

For each load: how often one of the two equal forms is called faster; how often the right winner is
named for certain, and how often a wrong one; how often the winner's interval over the baseline
holds the ratio that was measured again; and the calls made, of those that fixed slices would take
for the same duration.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from neighbours import CHANNELS, neighbours, network, wait_until_quiet

from mopt_api.benchmark import Benchmark
from mopt_api.contest import Standing
from mopt_api.enums import ObjectiveMetric, Precision, Runtime
from mopt_optimizer.data.npy import save_array
from mopt_optimizer.errors import VariantFailure
from mopt_optimizer.machine.system import System
from mopt_optimizer.runtimes.base import Opening
from mopt_optimizer.stages.measure.process import VariantProcess
from mopt_optimizer.timing.deciding import Budget, Contest
from mopt_optimizer.timing.interleave import Rounds, Schedule, pooled, schedule, take_rounds

SIZE = 96
BASELINE, BEST, AGAIN, SLOWER = "baseline", "best", "best-again", "slower"
# Layers of each: the work of the two that are equal, half as much again, and three times as much.
LAYERS = {BASELINE: 6, BEST: 2, AGAIN: 2, SLOWER: 3}
# Of a form at a point, as by default: turns of 63 ms, and twice as long where nothing is decided.
SECONDS = Benchmark().min_duration_seconds
RUNS = 200
LOOPS = (0, 1, 2)
_POINT = "point"
_SEED = 20_261_130


@dataclass(frozen=True)
class Figures:
    """What came out beside so many busy loops; shares are of the runs.

    Attributes:
        openings: Of all forms, each in a new process.
        recorded: Rounds of each.
        spread: Standard deviation of the logarithm of the equal forms' ratio in a round.
        apart: Of its mean in an opening, from one to the next.
        expected: What that would be by the rounds alone, were they independent.
        called_faster: One of the two equal forms, of runs with both.
        tied: They were, within 2 %.
        right, wrong: Winner that was named for certain.
        median_rounds: Until it was.
        covered: Of the intervals, those that hold what the whole of another opening shows.
        repeated: Those that hold what a stretch of it as short as the run shows.
        calls: Of those of fixed slices, all runs together.
    """

    loops: int
    openings: int
    recorded: int
    spread: float
    apart: float
    expected: float
    called_faster: float
    tied: float
    right: float
    wrong: float
    median_rounds: float
    covered: float
    repeated: float
    calls: float


@contextmanager
def opened(folder: Path, threads: int) -> Iterator[list[VariantProcess]]:
    """Open every form, each in a process of its own, bound to the same image."""
    image = folder / "image.npy"
    save_array(image, np.random.default_rng(0).random((1, CHANNELS, SIZE, SIZE), np.float32))
    with ExitStack() as stack:
        forms = []
        for name, layers in LAYERS.items():
            model = folder / f"{layers}.onnx"
            network(model, SIZE, layers)
            opening = Opening(
                runtime=Runtime.ONNX_RUNTIME,
                precision=Precision.FP32,
                path=model,
                threads=threads,
            )
            form = VariantProcess(name, opening, workdir=folder, environ=os.environ, read=[folder])
            stack.callback(form.close)
            form.bind(_POINT, {"image": image})
            forms.append(form)
        yield forms


def recorded(loops: int, rounds: int, threads: int, patience: float) -> Rounds:
    """Return rounds of all forms beside busy loops, after so many seconds for a quiet machine."""
    with tempfile.TemporaryDirectory() as name, opened(Path(name), threads) as forms:
        wait_until_quiet(System(), patience)
        with neighbours(loops):
            return take_rounds(
                forms,
                _POINT,
                Schedule(rounds, Budget.of(SECONDS, SECONDS).turn_seconds, 1),
                warmup_seconds=0.3,
                drop=_fail,
                failures=VariantFailure,
            )


def _fail(_form: VariantProcess, failure: VariantFailure) -> None:
    raise failure


@dataclass
class Replayed:
    """A participant that takes the turns that were recorded, from one on."""

    name: str
    turns: Sequence[list[int]]
    at: int

    def take_turn(self, point: str, *, seconds: float, calls: int) -> list[int]:  # noqa: ARG002
        turn = self.turns[self.at % len(self.turns)]
        self.at += 1
        return turn


@dataclass(frozen=True)
class Run:
    """One run that was drawn, judged."""

    contest: Contest
    rounds: Rounds
    standing: Standing

    @property
    def certain(self) -> str | None:
        """The winner, where all others are beaten for certain."""
        clear = not self.standing.ties and not self.standing.open
        return self.standing.leader if clear else None

    def holds(self, ratio: float) -> bool:
        """Return whether the interval of the best over the baseline holds a ratio."""
        found = self.contest.between(self.rounds, BEST, BASELINE)
        return found is not None and found.low <= ratio <= found.high


def drawn(record: Rounds, names: Sequence[str], start: int) -> Run:
    """Judge the rounds of some forms from one on, as many as it takes."""
    contest = Contest(
        names,
        BASELINE,
        names,
        ObjectiveMetric.LATENCY_P50,
        Budget.of(SECONDS, 2 * SECONDS),
        clock=lambda: 0.0,
    )
    # The warm-up takes a turn too.
    everyone = [Replayed(name, record[name], start - 1) for name in names]
    rounds = take_rounds(
        everyone,
        _POINT,
        contest.schedule,
        warmup_seconds=0,
        drop=_never,
        failures=VariantFailure,
        after=contest.after,
    )
    return Run(contest, rounds, contest.standing(rounds))


def _never(_form: Replayed, failure: VariantFailure) -> None:
    raise failure


def calls_of(rounds: Rounds) -> int:
    """Return the calls made: each turn makes one that is not counted."""
    return sum(len(turn) + 1 for turns in rounds.values() for turn in turns)


def calls_of_slices(record: Rounds, names: Sequence[str]) -> float:
    """Return the calls that slices of a fixed length make in the same duration."""
    slices = schedule(SECONDS).rounds
    medians = (statistics.median(pooled(record[name])) / 1e9 for name in names)
    return sum(SECONDS / median + slices for median in medians)


def figures(loops: int, records: Sequence[Rounds]) -> Figures:
    """Return what the runs drawn from the recordings of some openings say."""
    generator = np.random.default_rng(_SEED)
    length = len(records[0][BEST])
    starts = [[int(start) for start in generator.integers(0, length, 2)] for _ in range(RUNS)]
    apart_names = [BASELINE, BEST, SLOWER]
    twice, apart, covered, repeated = [], [], [], []
    gains = [_logs(record, BASELINE, BEST) for record in records]
    for index, (start, another) in enumerate(starts):
        record, again = records[index % len(records)], gains[(index + 1) % len(records)]
        twice.append(drawn(record, [BASELINE, BEST, AGAIN], start))
        apart.append(drawn(record, apart_names, start))
        rounds = range(another, another + len(apart[-1].rounds[BASELINE]))
        as_short = statistics.fmean(again[turn % length] for turn in rounds)
        covered.append(apart[-1].holds(math.exp(statistics.fmean(again))))
        repeated.append(apart[-1].holds(math.exp(as_short)))
    slices = sum(calls_of_slices(record, apart_names) for record in records) / len(records) * RUNS
    logs = [_logs(record, BEST, AGAIN) for record in records]
    spread = math.sqrt(statistics.fmean(map(statistics.variance, logs)))
    return Figures(
        loops=loops,
        openings=len(records),
        recorded=length,
        spread=round(spread, 4),
        apart=round(statistics.stdev(map(statistics.fmean, logs)), 4),
        expected=round(spread / math.sqrt(length), 4),
        called_faster=_share(twice, lambda run: run.certain in (BEST, AGAIN)),
        tied=_share(twice, lambda run: bool(run.standing.ties) and not run.standing.open),
        right=_share(apart, lambda run: run.certain == BEST),
        wrong=_share(apart, lambda run: run.certain not in (BEST, None)),
        median_rounds=statistics.median(len(run.rounds[BASELINE]) for run in apart),
        covered=statistics.fmean(covered),
        repeated=statistics.fmean(repeated),
        calls=round(sum(calls_of(run.rounds) for run in apart) / slices, 4),
    )


def _logs(record: Rounds, one: str, other: str) -> list[float]:
    """Return the logarithm of how many times as long one took as another, of each round."""
    pairs = zip(record[one], record[other], strict=True)
    return [math.log(statistics.median(a) / statistics.median(b)) for a, b in pairs]


def _share(runs: Sequence[Run], holds: Callable[[Run], bool]) -> float:
    return sum(map(holds, runs)) / len(runs)


def main() -> int:
    """Exit status 0 where every bar is held."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--openings", type=int, default=10, help="beside each load")
    parser.add_argument("--rounds", type=int, default=100, help="recorded of each opening")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--patience", type=float, default=60.0, help="seconds for a quiet machine")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    arguments = parser.parse_args()
    rows = []
    for loops in LOOPS:
        records = [
            recorded(loops, arguments.rounds, arguments.threads, arguments.patience)
            for _ in range(arguments.openings)
        ]
        rows.append(figures(loops, records))
        print(json.dumps(asdict(rows[-1])), flush=True)
    if arguments.json is not None:
        document = {
            "measured": datetime.now(UTC).date().isoformat(),
            "cpu": System().hardware(os.environ, threads=arguments.threads).cpu,
            "cpus": len(os.sched_getaffinity(0)),
            "python": platform.python_version(),
            "threads": arguments.threads,
            "seconds": SECONDS,
            "runs": RUNS,
            "rows": [asdict(row) for row in rows],
        }
        arguments.json.write_text(json.dumps(document, indent=1) + "\n")
    held = all(row.called_faster <= 0.01 and not row.wrong and row.covered >= 0.95 for row in rows)
    return 0 if held and rows[0].right == 1 and rows[0].calls <= 0.25 else 1


if __name__ == "__main__":
    sys.exit(main())
