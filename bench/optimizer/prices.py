"""Three CPU limits with prices: is the cheapest recommended, and is a fourth limit predicted?

    .venv/bin/python bench/optimizer/prices.py [--seconds 4] [--budget 30]
        [--record docs/records/prices.json]

As root. A transformer encoder is measured under load in limits of 0.5, 1 and 2 CPUs, each as a Pod
of such a profile has it; from these 1.5 CPUs are predicted, and then measured. Prices are drawn
twenty times, and what mopt recommends by CostPerMillion is compared with trying all. Some three
minutes, on a quiet machine.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from cpu_limits import CpuLimit, NoLimits
from load import Runs, encoder, tell

from mopt_api.constraints import Figures
from mopt_api.enums import ObjectiveMetric, Runtime
from mopt_api.figures import LoadFigures
from mopt_api.jobs.load_result import LoadTrial
from mopt_api.load import LoadScenario
from mopt_api.objective import Objective
from mopt_api.offers import predicted
from mopt_api.recommendation import Offer, Recommendation, Terms, recommend
from mopt_optimizer.load.rules import Bound
from mopt_optimizer.machine.system import System

LIMITS = (0.5, 1.0, 2.0)
UNMEASURED = 1.5
DRAWS = 20
CLOSE = 0.15
_TOKENS = 128
_RUNTIME = Runtime.ONNX_RUNTIME
_PER_CPU_HOUR = 0.04
_BY_COST = Objective(metric=ObjectiveMetric.COST_PER_MILLION)


def drawn(limits: Sequence[float], count: int, seed: int = 0) -> list[dict[float, float]]:
    """Return prices of one replica for an hour, by CPU limit: proportional to the limit, each times
    a half to two. Pure."""
    generator = random.Random(seed)  # noqa: S311 - the same draws every time
    return [
        {cpus: round(cpus * _PER_CPU_HOUR * 2 ** generator.uniform(-1, 1), 6) for cpus in limits}
        for _ in range(count)
    ]


def offer(cpus: float, found: LoadTrial, price: float | None = None) -> Offer:
    """Return a limit as a target that was measured under load. Pure."""
    load = LoadFigures(
        scenario=LoadScenario.SERVER,
        serving=found.serving,
        throughput=found.throughput,
        latency_ms=found.latency_ms,
        queries=found.queries,
    )
    return Offer(
        target=target_of(cpus),
        variant="form",
        figures=Figures(load=load),
        single=found.serving,
        terms=Terms(price=price, cpus=cpus),
    )


def target_of(cpus: float) -> str:
    """Return a name for a limit: cpu-500m. Pure."""
    return f"cpu-{round(1000 * cpus)}m"


def cheapest(found: Mapping[float, LoadTrial], prices: Mapping[float, float]) -> str:
    """Return the target whose samples cost least, by trying all. Pure."""
    return target_of(min(found, key=lambda cpus: prices[cpus] / found[cpus].throughput))


def draws_of(found: Mapping[float, LoadTrial], count: int = DRAWS) -> list[dict[str, object]]:
    """Return what is recommended for each draw of prices, beside brute force. Pure."""
    told: list[dict[str, object]] = []
    for prices in drawn(list(found), count):
        offers = [offer(cpus, trial, prices[cpus]) for cpus, trial in found.items()]
        chosen = recommend(offers, _BY_COST) or Recommendation()
        told.append(
            {
                "prices": {target_of(cpus): price for cpus, price in prices.items()},
                "recommended": chosen.target,
                "bruteForce": cheapest(found, prices),
                "costPerMillion": {c.target: c.cost_per_million for c in chosen.considered},
                "basis": sorted({c.basis for c in chosen.considered}),
            }
        )
    return told


def prediction(
    found: Mapping[float, LoadTrial], cpus: float, truth: LoadTrial
) -> dict[str, object]:
    """Return what is predicted of a limit beside what was measured there. Pure."""
    guess = predicted([offer(limit, trial) for limit, trial in found.items()], cpus)
    if guess is None:
        raise ValueError("nothing was measured")
    error = guess.throughput / truth.throughput - 1
    return {
        "cpus": cpus,
        "basis": guess.rests_on.value,
        "serving": guess.serving.in_words,
        "predicted": round(guess.throughput, 2),
        "measured": round(truth.throughput, 2),
        "measuredServing": truth.serving.in_words,
        "error": round(error, 3),
        "close": abs(error) <= CLOSE,
    }


def measured(
    limits: Sequence[float], folder: Path, seconds: float, budget: float
) -> tuple[Bound, dict[float, LoadTrial]]:
    """Return the bound on p99, and the best configuration found in each limit.

    Raises:
        NoLimits: No cgroup can be made.
    """
    found: dict[float, LoadTrial] = {}
    runs = Runs(encoder(_TOKENS), folder, seconds, budget)
    with CpuLimit("prices") as limit:
        limit.set(1.0)
        with limit.inside():
            bound = runs.bound(_RUNTIME)
        for cpus in limits:
            limit.set(cpus)
            with limit.inside():
                result, _, _ = runs.run(_RUNTIME, runs.limits(bound))
            if result.best is None:
                raise RuntimeError(f"{cpus} CPUs: {result.message}")
            found[cpus] = result.best
    return bound, found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=4.0, help="of a trial that counts")
    parser.add_argument("--budget", type=float, default=30.0, help="seconds of a search")
    parser.add_argument("--record", type=Path)
    options = parser.parse_args(arguments)
    started = time.monotonic()
    try:
        with tempfile.TemporaryDirectory() as folder:
            everything = (*LIMITS, UNMEASURED)
            bound, trials = measured(everything, Path(folder), options.seconds, options.budget)
    except NoLimits as error:
        print(f"prices.py: {error}", file=sys.stderr)
        return 1
    found = {cpus: trials[cpus] for cpus in LIMITS}
    draws = draws_of(found)
    hardware = System().hardware({})
    record = {
        "cpu": hardware.cpu,
        "hostThreads": hardware.threads,
        "model": f"encoder, {_TOKENS} tokens",
        "bound": str(bound),
        "measured": [{"cpus": cpus, **trial.to_api()} for cpus, trial in found.items()],
        "unmeasured": prediction(found, UNMEASURED, trials[UNMEASURED]),
        "draws": draws,
        "equal": sum(each["recommended"] == each["bruteForce"] for each in draws),
        "seconds": round(time.monotonic() - started),
    }
    tell(record, options.record)
    return 0


if __name__ == "__main__":
    sys.exit(main())
