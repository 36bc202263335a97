"""Trains the benchmark's own networks into its cache, and says what each reached.

    .venv/bin/python bench/optimizer/train.py [--steps N] [--cache build/bench-models] [TASK ...]

`make bench-optimizer` does this where it is missing. Fewer steps make another folder: what is
measured is always of the full recipe.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from training import FACTS, TASKS, built

CACHE = Path(__file__).resolve().parents[2] / "build" / "bench-models"


def main() -> None:
    """Print a line for each network."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tasks", nargs="*", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--steps", type=int, help="in place of the recipe's")
    parser.add_argument("--cache", type=Path, default=CACHE)
    arguments = parser.parse_args()
    for name in arguments.tasks:
        folder = built(name, arguments.cache, arguments.steps)
        facts = json.loads((folder / FACTS).read_text())
        print(
            f"{name}: {facts['metric']} {facts['reached']:.4f} on {facts['evaluation_samples']} "
            f"unseen samples, loss {facts['last_loss']} after {facts['steps']} steps, "
            f"{facts['parameters']:,} weights, {facts['seconds']:.0f} s: {folder}",
            flush=True,
        )


if __name__ == "__main__":
    main()
