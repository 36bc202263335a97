"""The operator at scale, beside a script that starts the same Jobs.

    .venv/bin/python -m bench.operator --resources 100 1000 --record docs/records/operator.json

For each number of resources: a cluster with an operator (the fleet to Ready, idle, a full quota, a
cold start, fail-over, a rollout), then a fresh one in which a script starts the same Jobs: the
floor.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import scenarios
from .cluster import NODES, cluster
from .fleet import PER_SECOND, job_templates
from .messages import WORK_SECONDS, kwok_stages
from .process import JOBS_STAY_SECONDS, Operator, end_in_order
from .publish import fleet_table

Json = dict[str, Any]

TARGETS = ("default", "second", "third", "fourth")
VARIANTS = 8
SINGLES = 20


def say(text: str) -> None:
    """Show progress."""
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Run:
    """What is measured of one number of resources.

    Attributes:
        per_second: How many are applied in a second.
        wait: Seconds of a full quota; None leaves out all but the way from apply to Ready.
        at_once: Jobs that run at once, of the operator and of the script; None bounds nothing.
        ttl: Seconds that finished Jobs and their Pods stay.
        work: Seconds that each Pod works.
    """

    count: int
    targets: list[str]
    per_second: float
    wait: float | None
    at_once: int | None
    ttl: int
    work: float

    @property
    def stages(self) -> str:
        """What kwok makes of Pods."""
        return kwok_stages(self.targets, VARIANTS, self.work)


def with_operator(folder: Path, run: Run) -> tuple[Json, Any]:
    """Measure the operator's scenarios; return them and the Jobs of one resource."""
    with cluster(folder, run.stages) as kubeconfig:
        bench = scenarios.Bench(kubeconfig, folder, run.targets, run.at_once, run.ttl)
        with bench.operator("operator") as process:
            found: Json = {"one_by_one": scenarios.one_by_one(bench, SINGLES)}
            scenarios.until_settled(SINGLES)
            templates = job_templates(f"single-{SINGLES - 1:05}", run.ttl)
            say(f"{run.count} resources: from apply to Ready")
            found["fleet"] = scenarios.fleet(bench, process, run.count, run.per_second)
            say(json.dumps(found["fleet"]))  # What follows may take long, or fail.
            if run.wait is not None:
                found |= _settled(bench, process, run.count, run.wait)
        if run.wait is not None:
            say("cold start")
            found["cold_start"] = scenarios.cold_start(bench)
            say("leader killed")
            found["leader_killed"] = scenarios.leader_killed(bench)
            say("rollout")
            found["rollout"] = scenarios.rollout(bench)
    return found, templates


def _settled(bench: scenarios.Bench, process: Operator, count: int, wait: float) -> Json:
    say("a minute without work")
    idle = scenarios.idle(bench, process)
    say("waiting for a full namespace's quota")
    waiting = scenarios.waiting(bench, process, count, wait)
    scenarios.empty("full")
    return {"idle": idle, "waiting": waiting}


def measure(run: Run) -> Json:
    """Measure one number of resources."""
    with tempfile.TemporaryDirectory(prefix="mopt-bench-") as text:
        found, templates = with_operator(Path(text), run)
    say(f"{run.count} resources: the same Jobs without an operator")
    with (
        tempfile.TemporaryDirectory(prefix="mopt-bench-") as text,
        cluster(Path(text), run.stages),
    ):
        found["floor"] = scenarios.floor(
            Path(text), run.count, templates, run.per_second, run.at_once
        )
    return {
        "resources": run.count,
        "per_second": run.per_second,
        "at_once": run.at_once,
        "ttl_seconds": run.ttl,
        "work_seconds": run.work,
        "targets": len(run.targets),
        "variants": VARIANTS,
        **found,
    }


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--resources", type=int, nargs="+", default=[100])
    parser.add_argument("--targets", type=int, default=1, choices=range(1, len(TARGETS) + 1))
    parser.add_argument("--wait", type=float, default=60.0, help="seconds of a full quota")
    parser.add_argument("--per-second", type=float, default=PER_SECOND, help="resources applied")
    parser.add_argument(
        "--at-once", type=int, help="Jobs that run at once: maxRunning of the profile"
    )
    parser.add_argument(
        "--ttl", type=int, default=JOBS_STAY_SECONDS, help="seconds that finished Jobs stay"
    )
    parser.add_argument(
        "--work", type=float, default=WORK_SECONDS, help="seconds that each Pod works"
    )
    parser.add_argument("--fleet-only", action="store_true", help="from apply to Ready, no more")
    parser.add_argument("--record", type=Path, help="JSON; runs are added to those it holds")
    arguments = parser.parse_args()
    end_in_order()
    known: Json = {"runs": []}
    if arguments.record and arguments.record.exists():
        known = json.loads(arguments.record.read_text())
    runs: list[Json] = known["runs"]
    for count in arguments.resources:
        wait = None if arguments.fleet_only else arguments.wait
        targets = list(TARGETS[: arguments.targets])
        run = Run(
            count,
            targets,
            arguments.per_second,
            wait,
            arguments.at_once,
            arguments.ttl,
            arguments.work,
        )
        runs.append(measure(run))
        if arguments.record:
            machine = {
                "cpus": os.cpu_count(),
                "python": platform.python_version(),
                "nodes": NODES,
            }
            text = json.dumps(known | {"machine": machine, "runs": runs}, indent=1)
            arguments.record.write_text(text + "\n")
    print(fleet_table(runs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
