"""The record as docs/benchmarks-operator.md, with a plot.

.venv/bin/python -m bench.operator.publish docs/records/operator.json docs
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from mopt_optimizer.stages.report.page.axes import Axis, from_zero

from .messages import WORK_SECONDS
from .process import JOBS_STAY_SECONDS

Json = dict[str, Any]

_WIDTH, _HEIGHT, _MARGIN = 560, 300, 56
_COLOURS = ("#2a6fdb", "#c2410c")
PLOT = "benchmarks-operator.svg"
# What a resource costs that has something new to tell.
_TOLD = ("create events", "update modeloptimizations/status")


def exponent(counts: Sequence[float], values: Sequence[float]) -> float | None:
    """Return b of the fit value = a * count^b by least squares of the logarithms.

    None with fewer than two points; 1 is growth in proportion.
    """
    if len(set(counts)) < 2:
        return None
    x, y = [math.log(c) for c in counts], [math.log(v) for v in values]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    over = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return over / sum((a - mean_x) ** 2 for a in x)


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _name(run: Json) -> str:
    return f"{run['resources']:,}" + (f" ({run['targets']} targets)" if run["targets"] > 1 else "")


def _rate(run: Json) -> str:
    return f"{run['per_second']:g}"


def _stay(run: Json) -> int:
    seconds: int = run.get("ttl_seconds", JOBS_STAY_SECONDS)
    return seconds


def _work(run: Json) -> float:
    seconds: float = run.get("work_seconds", WORK_SECONDS)
    return seconds


def _alike(runs: Sequence[Json]) -> list[Json]:
    """Return the largest whole run, and those that differ from it in the number of resources
    alone, in that order."""
    whole = sorted((run for run in runs if "cold_start" in run), key=lambda run: run["resources"])
    return [run for run in whole if _setting(run) == _setting(whole[-1])]


def _setting(run: Json) -> tuple[Any, ...]:
    """Return all that was chosen of a run but the number of resources."""
    given = (run["targets"], run["per_second"], run.get("at_once"))
    return (*given, _stay(run), _work(run))


def fleet_table(runs: list[Json]) -> str:
    """Return apply to Ready beside the floor."""
    heads = (
        "Resources",
        "applied a second",
        "Jobs at once",
        "a Pod works, s",
        "finished Jobs stay, s",
        "to Ready, s",
        "floor, s",
        "ratio",
        "operator's CPU per resource, ms",
        "peak, MiB",
        "apply to Job p50 / p99, ms",
    )
    rows = []
    for run in runs:
        fleet, floor = run["fleet"], run["floor"]["seconds"]
        reaction = fleet["apply_to_job"]
        rows.append(
            (
                _name(run),
                _rate(run),
                str(run.get("at_once") or "any"),
                f"{_work(run):g}",
                f"{_stay(run):,}",
                f"{fleet['seconds']:.1f}",
                f"{floor:.1f}",
                f"{fleet['seconds'] / floor:.2f}",
                f"{1000 * fleet['cpu_seconds'] / run['resources']:.0f}",
                f"{fleet['peak_mib']:.0f}",
                f"{reaction['p50_ms']:.0f} / {reaction['p99_ms']:.0f}",
            )
        )
    return _table(heads, rows)


def requests_table(run: Json) -> str:
    """Return the requests of a resource's life, from the largest run."""
    found = run["fleet"]["requests_per_resource"]
    rows = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return _table(("Request", "per resource"), ((name, f"{count:.2f}") for name, count in rows))


def _cpu(run: Json) -> tuple[dict[str, float], dict[str, float]] | None:
    """Return the CPU milliseconds per resource of each process, with the operator and as the floor;
    None where the record is older than these."""
    found = tuple(run[part].get("cpu_ms_per_resource") for part in ("fleet", "floor"))
    return (found[0], found[1]) if all(found) else None


def cpu_section(runs: list[Json]) -> str:
    """Return where the CPU time goes in the largest run that says so, and what follows from it."""
    known = [(run, cpu) for run in runs if (cpu := _cpu(run))]
    if not known:
        return ""
    run, (fleet, floor) = known[-1]
    rows = [
        (name, f"{value:.1f}", f"{floor.get(name, 0):.1f}")
        for name, value in sorted(fleet.items(), key=lambda item: -item[1])
    ]
    total, least = sum(fleet.values()), sum(floor.values())
    rows.append(("all", f"{total:.1f}", f"{least:.1f}"))
    table = _table(("Process", "with the operator, ms", "floor, ms"), rows)
    requests = run["fleet"]["requests_per_resource"]
    # The floor creates the same Jobs, and no resource.
    extra = 1 + sum(requests.values()) - requests["create jobs"]
    server = sum(fleet[name] - floor[name] for name in ("kube-apiserver", "etcd"))
    return f"""
## CPU time per resource

{_name(run)} resources; `bench` applies them, or as the floor creates the Jobs:

{table}

Where all cores are busy the time to Ready is at least {total / least:.2f} of the floor's. A ratio
of 1.15 would leave {0.15 * least:.0f} ms to all that the floor does not do. API server and etcd
alone take {server:.0f} ms more than there, for {extra:.1f} requests (the resource itself, its
status, Events, the ttl of finished Jobs) and the operator's watches: {server / extra:.1f} ms for
each request. The operator's process takes {fleet["operator"]:.0f} ms.
"""


def settled_table(runs: list[Json]) -> str:
    """Return what settled resources cost: idle, at a cold start, when the leader dies or is
    replaced."""
    heads = (
        "Settled",
        "idle, CPU s per minute",
        "idle, requests per minute",
        "cold start: CPU s until ready",
        "first Job after, s",
        "peak, MiB",
        "leader killed: first Job after, s",
        "rollout: first Job after, s",
        "rollout: status writes",
    )
    rows = []
    for run in runs:
        idle, cold = run["idle"], run["cold_start"]
        minutes = idle["seconds"] / 60
        rows.append(
            (
                _name(run),
                f"{idle['cpu_seconds'] / minutes:.2f}",
                f"{sum(idle['requests'].values()) / minutes:.0f}",
                f"{cold['cpu_seconds_to_ready']:.1f}",
                f"{cold['seconds_to_first_job']:.1f}",
                f"{cold['peak_mib']:.0f}",
                f"{run['leader_killed']['seconds_to_first_job']:.1f}",
                *_rollout(run),
            )
        )
    return _table(heads, rows)


def _rollout(run: Json) -> tuple[str, str]:
    """Return the seconds to the first Job and the status writes until then, that of the resource
    with this Job with them; dashes where the record is older than these."""
    if (found := run.get("rollout")) is None:
        return ("-", "-")
    writes = found["requests"].get("update modeloptimizations/status", 0)
    return (f"{found['seconds_to_first_job']:.1f}", str(writes))


def waiting_table(runs: list[Json]) -> str:
    """Return what resources cost that wait for a full quota."""
    heads = (
        "Waiting",
        "for minutes",
        "requests per minute",
        "status writes and Events among them",
        "CPU s per minute",
        "another's first Job, ms",
    )
    rows = (
        (
            _name(run),
            f"{run['waiting']['minutes']:.0f}",
            f"{sum(run['waiting']['requests_per_minute'].values()):.0f}",
            f"{sum(run['waiting']['requests_per_minute'].get(kind, 0) for kind in _TOLD):.0f}",
            f"{run['waiting']['cpu_seconds_per_minute']:.1f}",
            f"{run['waiting']['beside_ms']:.0f}",
        )
        for run in runs
    )
    return _table(heads, rows)


def plot(runs: list[Json]) -> str:
    """Return an SVG of the seconds to Ready and of the floor against the resources."""
    lines: dict[str, Callable[[Json], float]] = {
        "mopt": lambda run: run["fleet"]["seconds"],
        "floor": lambda run: run["floor"]["seconds"],
    }
    counts = [run["resources"] for run in runs]
    across = Axis(min(counts) / 1.2, max(counts) * 1.2, logarithmic=True)
    up = from_zero([value(run) for value in lines.values() for run in runs])
    left, right, top, bottom = _MARGIN, _WIDTH - 12, 12, _HEIGHT - 40

    def place(count: float, value: float) -> tuple[float, float]:
        return (
            left + across.share(count) * (right - left),
            bottom - up.share(value) * (bottom - top),
        )

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12" fill="#666">'
    ]
    for tick in up.ticks():
        y = bottom - tick.share * (bottom - top)
        parts.append(f'<path d="M{left} {y:.1f}H{right}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{tick.text}</text>')
    for tick in across.ticks():
        x = left + tick.share * (right - left)
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{tick.text}</text>')
    parts.append(f'<text x="{right}" y="{_HEIGHT - 6}" text-anchor="end">resources</text>')
    parts.append(f'<text x="4" y="{top}">s</text>')
    for (label, value), colour in zip(lines.items(), _COLOURS, strict=True):
        points = [place(run["resources"], value(run)) for run in runs]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        x, y = points[-1]
        parts.append(
            f'<text x="{x - 8:.1f}" y="{y - 8:.1f}" text-anchor="end" fill="{colour}">'
            f"{escape(label)}</text>"
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def page(record: Json) -> str:
    """Return docs/benchmarks-operator.md."""
    runs = sorted(record["runs"], key=lambda run: (run["targets"], run["resources"]))
    single = _alike(runs)
    counts = [run["resources"] for run in single]
    fits = {
        "time to Ready": exponent(counts, [run["fleet"]["seconds"] for run in single]),
        "the floor's": exponent(counts, [run["floor"]["seconds"] for run in single]),
        "CPU": exponent(counts, [run["fleet"]["cpu_seconds"] for run in single]),
        "CPU of a cold start": exponent(
            counts, [run["cold_start"]["cpu_seconds_to_ready"] for run in single]
        ),
    }
    said = ", ".join(f"{name} {value:.2f}" for name, value in fits.items() if value is not None)
    machine, variants = record["machine"], runs[0]["variants"]
    nodes, cpus, rate = machine["nodes"], machine["cpus"], f"{single[0]['per_second']:g}"
    whole = [run for run in runs if "cold_start" in run]
    return f"""<!-- Written by python -m bench.operator.publish; edit bench/operator/publish.py. -->
# The operator at scale

`make bench-operator`: a real API server, etcd, controller manager and scheduler, {nodes} nodes
that [kwok](https://kwok.sigs.k8s.io) plays: a Pod starts, works for a while, and succeeds with a
termination message of {variants} variants. The floor is a script that starts the same Jobs, each
stage when the one before is complete, in a fresh cluster of the same run. All of it shares {cpus}
CPU cores with the operator.

Resources come at {rate} a second. Where their Pods work for a second, that keeps all cores busy,
and the ratio is that of the CPU time. Where Pods work for longer, and only so many Jobs run at
once (`maxRunning`), as on any cluster that measures, the ratio is what the operator adds to the way
of each. The script keeps to the same number: a scheduler that holds 10,000 Pods without a place for
them started some 200 a minute here, whoever made them. [The record](records/operator.json) has the
raw figures. {record.get("note", "")}

## From apply to Ready

{fleet_table(runs)}

![Seconds from the first apply to the last Ready]({PLOT})

Exponents of the fits (1 is growth in proportion): {said or "one size only"}.

## Requests

From the API server's audit log, {_name(single[-1])} resources:

{requests_table(single[-1])}
{cpu_section(single)}
## Settled resources

{settled_table(whole)}

## Waiting for a quota

Resources of a namespace whose quota admits no Job, and one of another namespace beside them. One
Job is tried for all of them, less and less often. After ten minutes (`progressDeadlineSeconds`)
each says once that it is Stalled, with a status write and an Event:

{waiting_table(whole)}
"""


def write(record: Json, folder: Path) -> None:
    """Write the page and its plot."""
    (folder / "benchmarks-operator.md").write_text(page(record))
    (folder / PLOT).write_text(plot(_alike(record["runs"])))


if __name__ == "__main__":
    write(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
