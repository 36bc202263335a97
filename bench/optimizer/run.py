"""mopt side by side with its peers, on real models and photographs, in one run.

    OMP_WAIT_POLICY=passive .venv/bin/python bench/optimizer/run.py [--quick] [--tools mopt,...]

Every tool starts from the same FP32 ONNX file (or PyTorch program) and the same calibration
photographs, and writes a file in a process of its own; then all files are opened in this process,
compared with FP32 on other photographs, and timed against FP32 in ONNX Runtime in paired rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

# Before torch is imported: its threads would spin, and slow PyTorch where a neighbour has a core.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from catalogue import GATE_DB, RECIPES, Recipe, chosen
from producing import produce
from racing import REFERENCE_NAME, race
from rich.console import Console
from rich.table import Table
from subjects import SUBJECTS, SubjectMissing, make_subject, read_samples
from tables import Row, Sizes, cells, make_rows, markdown, winners

from mopt_optimizer.machine.system import System
from mopt_optimizer.passes.running import count_nodes

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = ROOT / ".venv-bench"
RECORD = ROOT / "docs" / "optimizer" / "peers.md"
# Generated text stands between these in the record.
_BEGIN, _END = "<!-- measured: written by make bench-optimizer -->", "<!-- end of measured -->"
_VERSIONS = ("torch", "onnxruntime", "openvino")


def sizes_of(recipe: Recipe, path: Path) -> Sizes:
    """Return a file's bytes with what lies beside it, and its nodes."""
    total = path.stat().st_size
    # Weights of .onnx and .xml; mopt's description of a .pt2.
    for beside in (path.with_name(f"{path.name}.data"), path.with_suffix(".bin")):
        total += beside.stat().st_size if beside.is_file() else 0
    if path.suffix != ".onnx" or recipe.from_program:
        return Sizes(total, None)
    import onnx_ir

    return Sizes(total, count_nodes(onnx_ir.load(path)))


def compare(
    subject: str,
    recipes: Sequence[Recipe],
    folder: Path,
    arguments: argparse.Namespace,
    threads: int,
) -> dict[str, Any]:
    """Make, compare and time all forms of one subject; return the facts of it."""
    calibration, evaluation, rounds = (2, 2, 3) if arguments.quick else (16, 8, arguments.rounds)
    began = time.monotonic()
    make_subject(
        subject,
        folder / "subject",
        arguments.environment,
        calibration=calibration,
        evaluation=evaluation,
    )
    mine = [r for r in recipes if not r.from_program or (folder / "subject/model.pt2").is_file()]
    produced = produce(
        mine, folder / "subject", folder / "made", environment=arguments.environment, log=say
    )
    ready = {r.name: (r, path) for r in mine if (path := produced[r.name].path)}
    sizes = {name: sizes_of(recipe, path) for name, (recipe, path) in ready.items()}
    source = folder / "subject" / "source.onnx"
    samples = read_samples(folder / "subject" / "evaluation.npz")
    forms = race(ready, source, samples, threads=threads, rounds=rounds, log=say)
    reference = forms[REFERENCE_NAME]
    turns = sorted(reference.turns)
    return {
        "subject": subject,
        "title": SUBJECTS[subject][0],
        "calibration_samples": calibration,
        "evaluation_samples": evaluation,
        "rounds": rounds,
        "seconds": time.monotonic() - began,
        "source": {
            "size_bytes": source.stat().st_size,
            "nodes": sizes_of(mine[0], source).nodes,
            "latency_ms": turns[len(turns) // 2],
            "slowest_turn_over_median": turns[-1] / turns[len(turns) // 2],
        },
        "rows": make_rows(mine, produced, forms, sizes),
    }


def say(text: str) -> None:
    """Tell how far the run is."""
    print(f"  {text}", file=sys.stderr, flush=True)


def machine() -> dict[str, Any]:
    """Return what the run ran on, and in which versions."""
    hardware = System().hardware(os.environ)
    return {
        "cpu": hardware.cpu,
        "features": list(hardware.cpu_features),
        "threads": hardware.threads or 1,
        "load_at_start": os.getloadavg()[0],
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": ".".join(map(str, sys.version_info[:3])),
        "versions": {name: metadata.version(name) for name in _VERSIONS},
    }


def printed(facts: dict[str, Any]) -> None:
    """Print a subject's table."""
    head, *body = cells(facts["rows"])
    table = Table(title=facts["title"], caption=_base(facts), title_justify="left")
    for index, heading in enumerate(head):
        table.add_column(f"x mopt: {heading}" if index >= 10 else heading, no_wrap=index < 2)
    previous = None
    for row in body:
        if previous not in (None, row[0]):
            table.add_section()
        previous = row[0]
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 240).print(table)


def _base(facts: dict[str, Any]) -> str:
    source = facts["source"]
    return (
        f"{REFERENCE_NAME}, source file: {source['latency_ms']:.1f} ms, "
        f"{source['size_bytes'] / 2**20:.2f} MiB, {source['nodes']} nodes; "
        f"{facts['calibration_samples']} calibration and {facts['evaluation_samples']} other "
        f"photographs of 128 x 128, {facts['rounds']} rounds; its slowest turn took "
        f"{source['slowest_turn_over_median']:.2f} times the median"
    )


def report(found: list[dict[str, Any]], where: dict[str, Any], command: str) -> str:
    """Return the generated part of the record, in Markdown."""
    rows: list[Row] = [row for facts in found for row in facts["rows"]]
    versions = dict(where["versions"])
    versions |= {row.tool: row.version for row in rows if row.version}
    told = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    lines = [
        f"`{command}`, {where['measured_at'][:10]}, {where['cpu'] or 'unknown CPU'} "
        f"({', '.join(where['features'])}), {where['threads']} threads, Python {where['python']}, "
        f"load {where['load_at_start']:.1f} at the start. Versions: {told}.",
    ]
    for facts in found:
        lines += ["", f"### {facts['title']}", "", f"{_base(facts)}.", "", markdown(facts["rows"])]
        lines += ["", f"Each tool's fastest form with {GATE_DB:.0f} dB on the worst photograph:"]
        lines += ["", winners(facts["rows"])]
    return "\n".join(lines)


def record(text: str, path: Path) -> None:
    """Replace the measured part of the record."""
    before, begin, rest = path.read_text().partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise SystemExit(f"{path} lacks the lines {_BEGIN!r} and {_END!r}")
    path.write_text(f"{before}{_BEGIN}\n\n{text}\n\n{_END}{after}")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the arguments, checked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few strategies, photographs, rounds")
    parser.add_argument("--tools", default="", help="only these, with commas between")
    parser.add_argument("--subjects", default=",".join(SUBJECTS), help="only these models")
    parser.add_argument("--rounds", type=int, default=9, help="of turns, each form (default 9)")
    parser.add_argument("--environment", type=Path, default=ENVIRONMENT, help="with the peers")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "peers.json", help="JSON")
    parser.add_argument("--record", type=Path, help=f"also write the tables to, say, {RECORD.name}")
    parsed = parser.parse_args(arguments)
    parsed.tools = [tool for tool in parsed.tools.split(",") if tool]
    parsed.subjects = parsed.subjects.split(",")
    if unknown := [name for name in parsed.subjects if name not in SUBJECTS]:
        parser.error(f"no subject {unknown[0]!r}; there are {', '.join(SUBJECTS)}")
    if parsed.rounds < 1:
        parser.error("--rounds must be 1 at least")
    try:
        parsed.recipes = chosen(parsed.tools, quick=parsed.quick)
    except ValueError as error:
        parser.error(str(error))
    return parsed


def main(arguments: Sequence[str]) -> int:
    """Measure, print the tables, and write them."""
    parsed = parse(arguments)
    where, found = machine(), []
    with tempfile.TemporaryDirectory(prefix="mopt-bench-") as text:
        for subject in parsed.subjects:
            say(subject)
            try:
                facts = compare(
                    subject, parsed.recipes, Path(text) / subject, parsed, where["threads"]
                )
            except SubjectMissing as error:
                print(f"{subject}: {error}", file=sys.stderr)
                continue
            found.append(facts)
            printed(facts)
    parsed.output.parent.mkdir(parents=True, exist_ok=True)
    plain = [{**facts, "rows": [row.as_json() for row in facts["rows"]]} for facts in found]
    parsed.output.write_text(json.dumps({"machine": where, "subjects": plain}, indent=1) + "\n")
    if parsed.record:
        full = len(parsed.recipes) == len(RECIPES)
        record(
            report(found, where, "make bench-optimizer" if full else "part of it"), parsed.record
        )
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
