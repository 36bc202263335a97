"""The record as Markdown: what gpu.md says, from gpu.json alone. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .forms import BASELINE, BASELINE_TF32
from .rows import Row

_MIB = 2**20
_NONE = "-"


def page(record: Mapping[str, Any]) -> str:
    """Return the page of a record, which may be that of a run that is not over."""
    rows: list[Row] = list(record["rows"])
    blocks = [_head(record)]
    if record.get("rehearsal"):
        blocks.append(_planned(rows))
    else:
        blocks += [
            *_figures(rows),
            *_stages(rows),
            _tests(rows),
            _libraries(record),
            _parts(record),
        ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _head(record: Mapping[str, Any]) -> str:
    machine = record["machine"]
    if machine is None:
        return "# GPU\n\nNot measured: the machine was not asked yet."
    if machine["gpu"] is None:
        return (
            "# Rehearsal without a GPU\n\n**Nothing here was measured.** torch "
            f"{machine['versions'].get('torch')} finds no NVIDIA GPU. With one, this would be "
            "measured:"
        )
    gpu = machine["gpu"]
    lines = [
        f"# {gpu['name']}, compute capability {gpu['computeCapability']}",
        f"Driver {gpu.get('driver') or 'not told'} (CUDA {machine['driverCuda']}), torch "
        f"{machine['versions'].get('torch')} for CUDA {machine['torchCuda']}, "
        f"{gpu['multiprocessors']} multiprocessors, "
        f"{(gpu.get('memoryBytes') or 0) / 2**30:.0f} GiB. {_clock_words(machine['clocks'])}",
        f"{record['seconds']:.0f} s in all. Latency is the host's, from the call to the end of the "
        "computation, inputs and outputs on the GPU; FP32 eager with TF32 off and on took its "
        "turns in the same rounds, and the two speedups are over these. Energy is the board's, "
        "idle power within. A row's samples are in gpu.json.",
    ]
    return "\n\n".join(lines)


def _clock_words(sample: Mapping[str, Any] | None) -> str:
    if sample is None:
        return "NVML does not tell its clocks."
    slowed = ", ".join(sample["throttling"]) or "nothing"
    return (
        f"At the start {sample['sm_mhz']} MHz, memory {sample['memory_mhz']} MHz, "
        f"{sample['temperature_celsius']} °C; slowed down by {slowed}."
    )


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; empty where there is no line."""
    body = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    if not body:
        return ""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (list(head), rule, *body))


def _figures(rows: Sequence[Row]) -> Iterable[str]:
    figures = [row for row in rows if row["kind"] == "figure"]
    for model in dict.fromkeys(row["model"] for row in figures):
        of_model = [row for row in figures if row["model"] == model]
        notes = [row["text"] for row in rows if row["kind"] == "note" and row["model"] == model]
        yield "\n\n".join([f"## {model}", *dict.fromkeys(notes)])
        batches = sorted({row["batch"] for row in of_model if "batch" in row})
        for batch in batches:
            measured = [row for row in of_model if row.get("batch") == batch]
            yield f"Batch {batch}:\n\n{_figure_table(measured)}"
        left = [row for row in of_model if "batch" not in row]
        yield "\n".join(f"- {row['form']}: {row['state']}, {row['reason']}" for row in left)


_COLUMNS: dict[str, Callable[[Row], str]] = {
    "form": lambda row: str(row["form"]),
    "p50 ms": lambda row: _number(row["latencyMs"]["p50"]),
    "p99 ms": lambda row: _number(row["latencyMs"]["p99"]),
    "GPU p50 ms": lambda row: _number((row["deviceMs"] or {}).get("p50")),
    "samples/s": lambda row: _number(row["samplesPerSecond"]),
    "over FP32": lambda row: _times(row["speedup"][BASELINE.name]),
    "over TF32": lambda row: _times(row["speedup"][BASELINE_TF32.name]),
    "worst quality": lambda row: _quality(row["quality"]),
    "peak MiB": lambda row: _number((row["peakBytes"] or 0) / _MIB or None),
    "J per 1,000": lambda row: _number(row["joulesPer1000"]),
    "throttled": lambda row: _throttling(row),
}


def _figure_table(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        if row["state"] == "measured":
            lines.append([cell(row) for cell in _COLUMNS.values()])
        else:
            lines.append([row["form"], row["reason"], *[_NONE] * (len(_COLUMNS) - 2)])
    return table(list(_COLUMNS), lines)


def _number(value: float | None) -> str:
    if value is None:
        return _NONE
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def _times(value: float) -> str:
    return f"{value:.2f}x"


def _quality(found: Sequence[Mapping[str, Any]]) -> str:
    words = []
    for entry in found:
        verdict = "" if entry["passed"] else f", misses {entry['gate']:g}"
        exact = "exact" if entry["exact"] else f"{entry['metric']} {entry['worst']:.5g}"
        words.append(f"{exact}{verdict}")
    return "; ".join(words) or _NONE


def _throttling(row: Row) -> str:
    samples = [row.get("clocksBefore"), row.get("clocksAfter")]
    if all(sample is None for sample in samples):
        return "not told"
    reasons = {reason for sample in samples if sample for reason in sample["throttling"]}
    return ", ".join(sorted(reasons)) or "no"


def _stages(rows: Sequence[Row]) -> Iterable[str]:
    for row in rows:
        if row["kind"] != "stage":
            continue
        result = row["result"]
        named = [("baseline", result["baseline"])] if result.get("baseline") else []
        named += [(variant["name"], variant) for variant in result["variants"]]
        lines = [_stage_line(name, variant) for name, variant in named]
        title = f"## Measure stage of a GPU target: {row['model']}"
        words = f"Selected: {result['selected']}. Host to host, copies to the GPU and back within."
        head = ["variant", "state", "single p50 ms", "large p50 ms", "speedup", "note"]
        yield f"{title}\n\n{words}\n\n{table(head, lines)}"


def _stage_line(name: str, variant: Mapping[str, Any]) -> list[str]:
    points = {point["point"]: point["latencyMs"]["p50"] for point in variant.get("points", [])}
    speedup = variant.get("speedup")
    return [
        name,
        variant["state"],
        _number(points.get("single")),
        _number(points.get("large")),
        _NONE if speedup is None else _times(speedup),
        variant.get("message") or "",
    ]


def _tests(rows: Sequence[Row]) -> str:
    tests = [row for row in rows if row["kind"] == "test"]
    if not tests:
        return ""
    counts = {
        state: sum(row["state"] == state for row in tests)
        for state in ("passed", "failed", "skipped")
    }
    words = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    bad = [row for row in tests if row["state"] == "failed"]
    lines = [f"- {row['name']}: {row['reason'].splitlines()[0]}" for row in bad if row["reason"]]
    skips = dict.fromkeys(row["reason"] for row in tests if row["state"] == "skipped")
    lines += [f"- skipped: {reason}" for reason in skips]
    return "\n".join([f"## tests/gpu\n\n{words}.\n", *lines])


def _libraries(record: Mapping[str, Any]) -> str:
    machine = record["machine"]
    if machine is None:
        return ""
    lines = [
        [name, "measured by the measure stage" if there else "not installed: not measured"]
        for name, there in machine["libraries"].items()
        if name not in ("openvino", "nncf")
    ]
    return f"## Other runtimes\n\n{table(['library', 'here'], lines)}"


def _parts(record: Mapping[str, Any]) -> str:
    lines = [
        [part["name"], part["state"], f"{part['seconds']:.0f}", part["why"]]
        for part in record["parts"]
    ]
    return f"## Parts\n\n{table(['part', 'ended', 'seconds', 'why'], lines)}" if lines else ""


def _planned(rows: Sequence[Row]) -> str:
    blocks = []
    for row in rows:
        if row["kind"] == "planned":
            details = "\n".join(f"  - {line}" for line in row["details"])
            blocks.append(f"- {row['what']}" + (f"\n{details}" if details else ""))
    return "\n".join(blocks)
