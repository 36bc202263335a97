"""Writes the tables of docs/coverage.md from the records: python -m tests.conformance.coverage."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .steps import STEPS, Outcome
from .suites import SUITES

SUITES_RECORD = Path("docs/records/conformance.jsonl")
NETWORKS_RECORD = Path("docs/records/networks.jsonl")
PAGE = Path("docs/coverage.md")
Record = Mapping[str, Any]

_HEADINGS = {
    Outcome.EQUAL: "equal",
    Outcome.NEAR: "near",
    Outcome.REFUSED: "refused",
    Outcome.REJECTED: "rejected",
    Outcome.WRONG: "wrong",
    Outcome.FAULT: "fault",
}
# Names and numbers of a message differ from model to model: the reason is what is left.
_NAMES = (
    (re.compile(r"'[^']*'"), "'...'"),
    (re.compile(r"\S*/\S*"), "..."),
    (re.compile(r"\([\d, ]*\)"), "(...)"),
    (re.compile(r"\b(input|output|tensor|weight|node) \S+ "), r"\1 ... "),
)
_LONGEST = 110


def read(path: Path) -> list[Record]:
    """Return a record's lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def worst(record: Record) -> Outcome:
    """Return the worst outcome of a case: a fault, a wrong number, or none of both."""
    found = {Outcome(outcome) for outcome, _ in record["steps"].values()}
    return next((o for o in (Outcome.FAULT, Outcome.WRONG) if o in found), Outcome.EQUAL)


def whole(record: Record) -> bool:
    """Return whether FP32 went through whole and equal, and no form is wrong."""
    steps = record["steps"]
    fp32 = steps.get("onnxruntime", ["", ""])[0] == Outcome.EQUAL
    return fp32 and worst(record) is Outcome.EQUAL


def suites_table(records: Sequence[Record]) -> list[str]:
    """Return how the cases of each suite end."""
    lines = [
        "| Suite | Cases | Whole and equal | Refused by init | ONNX Runtime itself fails "
        "| Refused by prepare | Wrong | Fault |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for suite in SUITES:
        of_suite = [record for record in records if record["suite"] == suite]
        ends = Counter(_end(record) for record in of_suite)
        names = ("whole", "init", "source", "export", Outcome.WRONG, Outcome.FAULT)
        cells = " | ".join(str(ends[name]) for name in names)
        lines.append(f"| {suite} | {len(of_suite)} | {cells} |")
    return lines


def _end(record: Record) -> str:
    if (bad := worst(record)) is not Outcome.EQUAL:
        return bad
    return "whole" if whole(record) else next(iter([*record["steps"]][-1:]))


def steps_table(records: Sequence[Record]) -> list[str]:
    """Return how each step ends, over all suites."""
    headings = " | ".join(_HEADINGS.values())
    lines = [f"| Step | Reached | {headings} |", f"|---|---:|{'---:|' * len(_HEADINGS)}"]
    for step in STEPS:
        found = Counter(r["steps"][step][0] for r in records if step in r["steps"])
        cells = " | ".join(str(found[outcome]) for outcome in _HEADINGS)
        note = f" ({found[Outcome.RUNTIME]} fail without mopt)" if found[Outcome.RUNTIME] else ""
        lines.append(f"| {step}{note} | {sum(found.values())} | {cells} |")
    return lines


def reasons_table(records: Sequence[Record]) -> list[str]:
    """Return why cases and forms are refused, most frequent first."""
    found: Counter[tuple[str, str]] = Counter()
    for record in records:
        for step, (outcome, said) in record["steps"].items():
            if outcome in (Outcome.REFUSED, Outcome.REJECTED):
                found[step, _reason(said)] += 1
    lines = ["| Step | Reason | Cases |", "|---|---|---:|"]
    order = sorted(found.items(), key=lambda item: (STEPS.index(item[0][0]), -item[1], item[0][1]))
    return lines + [f"| {step} | {said} | {count} |" for (step, said), count in order]


def _reason(said: str) -> str:
    for pattern, name in _NAMES:
        said = pattern.sub(name, said)
    said = said.split("; ", 1)[0]
    said = re.sub(r"\d[\d.e+-]*", "N", said)
    return said[:_LONGEST].replace("|", "\\|").strip()


def list_of(records: Iterable[Record], outcome: Outcome) -> list[str]:
    """Return each case and step with an outcome, and what was said."""
    return [
        f"- `{record['name']}`, {step}: {said}"
        for record in records
        for step, (found, said) in record["steps"].items()
        if found == outcome
    ]


def networks_table(records: Sequence[Record]) -> list[str]:
    """Return the quality of each variant of each network."""
    lines = [
        "| Network | Variant | mopt's gates | Cosine, evaluation | Cosine, other sizes |",
        "|---|---|---|---:|---:|",
    ]
    for one in records:
        gates = one["wrong"] or one["rejected"].replace("|", "\\|")[:60] or "Passed"
        cells = f"{one['evaluation']:.4f} | {one['elsewhere']:.4f}"
        lines.append(f"| {one['network']} | {one['variant']} | {gates} | {cells} |")
    return lines


def page(text: str, tables: Mapping[str, Sequence[str]]) -> str:
    """Return a page whose parts between <!-- NAME --> and <!-- end --> are the tables."""
    for name, lines in tables.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"{PAGE} has no part {name}")
        body = "\n".join(lines) + "\n" if lines else "None.\n"
        text = pattern.sub(lambda found, body=body: f"{found[1]}{body}{found[2]}", text)  # type: ignore[misc]
    return text


def tables() -> dict[str, list[str]]:
    """Return the tables of the page, from the records."""
    records = read(SUITES_RECORD)
    return {
        "suites": suites_table(records),
        "steps": steps_table(records),
        "wrong": list_of(records, Outcome.WRONG),
        "faults": list_of(records, Outcome.FAULT),
        "reasons": reasons_table(records),
        "networks": networks_table(read(NETWORKS_RECORD)),
    }


def main() -> int:
    """Write the page; return an exit status."""
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), tables()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
