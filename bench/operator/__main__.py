"""The operator at scale, beside a script that starts the same Jobs.

    .venv/bin/python -m bench.operator --resources 100 1000 --record docs/records/operator.json

For each number of resources: a cluster with an operator (the fleet to Ready, idle, fail-over, a
full quota, a cold start), then a fresh one in which a script starts the same Jobs: the floor.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

from . import scenarios
from .cluster import NODES, cluster, operator
from .fleet import PER_SECOND, job_templates, numbered, run_floor
from .messages import kwok_stages
from .publish import fleet_table

Json = dict[str, Any]

TARGETS = ("default", "second", "third", "fourth")
VARIANTS = 8
SINGLES = 20


def say(text: str) -> None:
    """Show progress."""
    print(text, file=sys.stderr, flush=True)


def with_operator(folder: Path, count: int, targets: list[str], wait: float) -> tuple[Json, Any]:
    """Measure the operator's scenarios; return them and the Jobs of one resource."""
    stages = kwok_stages(targets, VARIANTS)
    with cluster(folder, stages) as kubeconfig:
        bench = scenarios.Bench(kubeconfig, folder, targets)
        with operator(kubeconfig, folder) as process:
            found: Json = {"one_by_one": scenarios.one_by_one(bench, SINGLES)}
            scenarios.until_settled(SINGLES)
            templates = job_templates(f"single-{0:05}")
            say(f"{count} resources: from apply to Ready")
            found["fleet"] = scenarios.fleet(bench, process, count)
            say("a minute without work")
            found["idle"] = scenarios.idle(bench, process)
            say("waiting for a full namespace's quota")
            found["waiting"] = scenarios.waiting(bench, process, count, wait)
            scenarios.empty("full")
        say("cold start")
        found["cold_start"] = scenarios.cold_start(bench)
        say("leader killed")
        found["leader_killed"] = scenarios.leader_killed(bench)
    return found, templates


def measure(count: int, targets: list[str], wait: float) -> Json:
    """Measure one number of resources."""
    with tempfile.TemporaryDirectory(prefix="mopt-bench-") as text:
        found, templates = with_operator(Path(text), count, targets, wait)
    say(f"{count} resources: the same Jobs without an operator")
    with (
        tempfile.TemporaryDirectory(prefix="mopt-bench-") as text,
        cluster(Path(text), kwok_stages(targets, VARIANTS)),
    ):
        seconds = run_floor(numbered("fleet", count), templates)
    found["floor"] = {"seconds": round(seconds, 2)}
    return {"resources": count, "targets": len(targets), "variants": VARIANTS, **found}


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--resources", type=int, nargs="+", default=[100])
    parser.add_argument("--targets", type=int, default=1, choices=range(1, len(TARGETS) + 1))
    parser.add_argument("--wait", type=float, default=60.0, help="seconds of a full quota")
    parser.add_argument("--record", type=Path, help="JSON; runs are added to those it holds")
    arguments = parser.parse_args()
    runs: list[Json] = []
    if arguments.record and arguments.record.exists():
        runs = json.loads(arguments.record.read_text())["runs"]
    for count in arguments.resources:
        runs.append(measure(count, list(TARGETS[: arguments.targets]), arguments.wait))
        if arguments.record:
            machine = {
                "cpus": os.cpu_count(),
                "python": platform.python_version(),
                "nodes": NODES,
                "per_second": PER_SECOND,
            }
            text = json.dumps({"machine": machine, "runs": runs}, indent=1)
            arguments.record.write_text(text + "\n")
    print(fleet_table(runs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
