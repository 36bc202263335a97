"""Lets the hostile program loose in a Pod of a Job, from a folder of a ConfigMap.

    python -P -m attacker_in_pod

Prints how the parent fared as JSON; standard error tells of each attempt.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import attacker_all
import attacker_parent
from attacker import ATTEMPTS, ORIGINAL, Plan

_CLOSED = (
    *("secrets/token", "termination", "result.json", "sibling/model.onnx"),
    *("store/blobs/sha256/" + "0" * 64, "store/index/fp32"),
)


def main() -> None:
    """Run every attempt in one child, behind the walls of this Pod's kernel and runtime."""
    root = Path(os.environ["TMPDIR"]) / "ground"
    outside, readable = root / "outside", root / "given" / "model.bin"
    for name in (*_CLOSED, *(f"victims/{name}" for name in ATTEMPTS), "../given/model.bin"):
        path = outside / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(ORIGINAL)
    code, work = root / "code", root / "work"
    for folder in (code, work, outside / "empty"):
        folder.mkdir()
    plan = Plan(
        attacker_parent.WORKER,
        str(outside),
        str(readable),
        attempts=attacker_all.names(programs=False),
    )
    plan.write(code)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(code), os.environ["PYTHONPATH"]])
    told = attacker_parent.run(attacker_parent.Options(str(work), [str(readable)]))
    print(json.dumps(asdict(told)))


if __name__ == "__main__":
    main()
