"""Writes the record of the networks: python -m tests.conformance.networks [NAME ...]."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from architectures import ARCHITECTURES

from .measured import recompute
from .prepared import forms_of

_RECORD = Path("docs/records/networks.jsonl")


def main() -> int:
    """Recompute the networks that the record lacks; return an exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(ARCHITECTURES))
    parser.add_argument("--record", type=Path, default=_RECORD)
    options = parser.parse_args()
    lines = (
        options.record.read_text(encoding="utf-8").splitlines() if options.record.exists() else []
    )
    done = {json.loads(line)["network"] for line in lines}
    for name in options.names:
        if name in done:
            continue
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            found = recompute(name, Path(folder), forms_of(name))
        with options.record.open("a", encoding="utf-8") as record:
            record.writelines(json.dumps(one.record()) + "\n" for one in found)
        print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
