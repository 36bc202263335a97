"""Runs the suites and writes their record and docs/coverage.md's table.

python -m tests.conformance [--suite node] [--record docs/records/conformance.jsonl]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from .pool import Key, results
from .suites import SUITES, names

_RECORD = Path("docs/records/conformance.jsonl")


def main() -> int:
    """Run what the record lacks; return an exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", action="append", choices=SUITES)
    parser.add_argument("--record", type=Path, default=_RECORD)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--limit", type=float, default=120, help="seconds of a case")
    parser.add_argument("--only", help="a part of the names")
    options = parser.parse_args()
    done = {_key(line) for line in _lines(options.record)}
    keys = [
        (suite, name)
        for suite in options.suite or SUITES
        for name in names(suite)
        if (options.only or "") in name
    ]
    left = [key for key in keys if key not in done]
    print(f"{len(left)} of {len(keys)} cases to run", file=sys.stderr)
    with options.record.open("a", encoding="utf-8") as record:
        for found in results(left, jobs=options.jobs, limit=options.limit):
            record.write(json.dumps(found) + "\n")
            record.flush()
    options.record.write_text("".join(sorted(_lines_kept(options.record), key=_order)), "utf-8")
    return 0


def _lines_kept(record: Path) -> list[str]:
    return [f"{line}\n" for line in _lines(record)]


def _order(line: str) -> tuple[int, str]:
    suite, name = _key(line)
    return SUITES.index(suite), name


def _lines(record: Path) -> list[str]:
    return record.read_text(encoding="utf-8").splitlines() if record.exists() else []


def _key(line: str) -> Key:
    found = json.loads(line)
    return found["suite"], found["name"]


if __name__ == "__main__":
    sys.exit(main())
