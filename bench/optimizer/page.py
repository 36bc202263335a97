"""The record as the measured part of docs/optimizer/peers.md. Pure, but for the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from gates import MIDDLE, RUNGS, figure_of, shown
from pieces import FORMS, GATES, TASK, Line
from racing import REFERENCE_NAME
from standing import Standing, geomean, over_eager, over_peers, standings
from tables import Row, forms_table, markdown

from mopt_api.contest import Interval
from mopt_api.spec import QualityGate

_MIB = 2**20
# Generated text stands between these in the page.
BEGIN, END = "<!-- measured: written by make bench-optimizer -->", "<!-- end of measured -->"


def page(lines: Mapping[str, Line], command: str) -> str:
    """Return the generated part, in Markdown.

    Args:
        lines: Of the record, by their pieces; at least one.
        command: That the record is of.
    """
    found = standings(lines.values())
    parts = [_provenance(lines, command)]
    if found:
        parts += ["### At each gate", _summary(found), _gates(found, lines), _behind(found)]
    for line in lines.values():
        if line["gate"] == FORMS:
            parts += _forms(line, [one for one in lines.values() if _is_gate_of(one, line)])
    return "\n\n".join(part for part in parts if part)


def _is_gate_of(one: Line, forms: Line) -> bool:
    return bool(one["gate"] != FORMS and one["subject"] == forms["subject"])


def _provenance(lines: Mapping[str, Line], command: str) -> str:
    machines = [line["machine"] for line in lines.values()]
    days = sorted({where["measured_at"][:10] for where in machines})
    cpus = {
        f"{where['cpu'] or 'unknown CPU'} ({', '.join(where['features'])}), "
        f"{where['threads']} threads, Python {where['python']}"
        for where in machines
    }
    versions: dict[str, set[str]] = {}
    for where in machines:
        for name, version in where["versions"].items():
            versions.setdefault(name, set()).add(version)
    for line in lines.values():
        for row in line.get("rows", ()):
            if row["version"]:
                versions.setdefault(row["tool"], set()).add(row["version"])
    named = ", ".join(f"{name} {'/'.join(sorted(each))}" for name, each in sorted(versions.items()))
    load = max(where["load_at_start"] for where in machines)
    partial = any(line["partial"] for line in lines.values())
    told = " **Not a full run: few samples, strategies or tools.**" if partial else ""
    return (
        f"`{command}`, {' to '.join(dict.fromkeys((days[0], days[-1])))}, "
        f"{'; '.join(sorted(cpus))}, load {load:.1f} at most at a piece's start.{told} "
        f"Versions: {named}."
    )


def _summary(found: Sequence[Standing]) -> str:
    """Return the geometric means over the subjects, a line for each gate."""
    body = []
    for gate in (*RUNGS, TASK):
        mine = [one for one in found if one.gate == gate]
        if not mine:
            continue
        peers, eager = over_peers(found, gate), over_eager(found, gate)
        body.append(
            (
                gate,
                str(len(mine)),
                _mean(peers),
                str(sum(ratio < 1 for ratio in peers)),
                _mean(eager),
            )
        )
    heading = (
        "Gate",
        "Subjects",
        "Selected over the best peer, geomean",
        "Peers ahead",
        "Selected over PyTorch eager, geomean",
    )
    return markdown(heading, body)


def _mean(ratios: Sequence[float]) -> str:
    mean = geomean(ratios)
    return "no figure" if mean is None else f"{mean:.2f}x of {len(ratios)}"


def _gates(found: Sequence[Standing], lines: Mapping[str, Line]) -> str:
    body = [
        (
            one.subject,
            one.gate,
            lines[f"{one.subject}/{one.gate}"]["bound_in_words"],
            one.selected + ("" if one.selected_holds else ", misses it here"),
            one.peer or "none holds it",
            _words(one.over_peer),
            _words(one.over_eager),
            f"{one.seconds:.0f}",
        )
        for one in sorted(found, key=_order)
    ]
    heading = (
        "Subject",
        "Gate",
        "What it asks",
        "mopt selects",
        "Best peer",
        "Selected over it",
        "Over PyTorch eager",
        "mopt's run, s",
    )
    return markdown(heading, body)


def _order(one: Standing) -> tuple[str, int]:
    return one.subject, GATES.index(one.gate)


def _words(interval: Interval | None) -> str:
    if interval is None:
        return ""
    return f"{interval.ratio:.2f}x [{interval.low:.2f}, {interval.high:.2f}]"


def _behind(found: Sequence[Standing]) -> str:
    """Return where a peer is certainly ahead, and by how much."""
    behind = [one for one in found if one.over_peer and one.over_peer.high < 1]
    if not behind:
        return "No peer is certainly ahead at any gate (99 % of each ratio)."
    told = "; ".join(
        f"{one.subject} at {one.gate}: {one.peer}, "
        f"{_words(one.over_peer and one.over_peer.inverse)}"
        for one in sorted(behind, key=_order)
    )
    return f"Certainly ahead of what mopt selected (99 % of each ratio): {told}."


def _forms(line: Line, gates: Sequence[Line]) -> list[str]:
    rows = [Row.from_json(row) for row in line["rows"]]
    keys = line["figures"]
    return [
        f"### {line['title']}",
        _base(line),
        forms_table(rows, keys),
        *_missing(gates),
    ]


def _base(line: Line) -> str:
    source = line["source"]
    truth = "; ".join(
        f"{key.removesuffix(' with truth')} {shown(key, value)}"
        for key, value in source["quality"].items()
        if figure_of(key).truth
    )
    return (
        f"{REFERENCE_NAME}, source file: {source['latency_ms']:.2f} ms, "
        f"{source['size_bytes'] / _MIB:.2f} MiB, {source['nodes']} nodes"
        f"{f', its own answers {truth} of the right ones' if truth else ''}; "
        f"{line['evaluation_samples']} samples that no tool was given, {line['rounds']} rounds; "
        f"its slowest turn took {source['slowest_turn_over_median']:.2f} times the median."
    )


def _missing(gates: Sequence[Line]) -> list[str]:
    """Return which tools have nothing at the middle gate, and why."""
    line = next((one for one in gates if one["gate"] == MIDDLE), None)
    if line is None or not line["left_out"]:
        return []
    body = [(tool, reason) for tool, reason in line["left_out"].items()]
    bound = QualityGate.model_validate(line["bound"])
    return [
        f"Tools without a form that holds {line['bound_in_words']} "
        f"({'worst' if bound.aggregate == 'Worst' else 'mean'} of the samples):",
        markdown(("Tool", "Why"), body),
    ]


def write(text: str, path: Path) -> None:
    """Replace the measured part of the page.

    Raises:
        ValueError: The page has no such part.
    """
    before, begin, rest = path.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path} lacks the lines {BEGIN!r} and {END!r}")
    path.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")
