"""Measures one piece in a process of its own, and adds its line to the record.

    python bench/optimizer/measure.py SUBJECT GATE --record FILE --work FOLDER [...]

Started by run.py, which says what the options mean.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

# Before torch is imported: its threads would spin, and slow PyTorch where a neighbour has a core.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from catalogue import EAGER, Recipe, by_name, chosen
from gates import Figure, figures, gate, holds, in_words
from pieces import FORMS, TASK, Line, Piece, append, read
from producing import produce
from racing import REFERENCE_NAME, Contender, Form, Judging, Spread, contender, race
from selecting import Selected, select
from standing import EAGER as EAGER_ROLE
from standing import PEER, SELECTED, left_out, rivals, times_as_fast
from subjects import RESOURCE, SUBJECTS, SubjectMissing, make_subject
from tables import Row, Sizes, make_rows
from work import Work

from mopt_api.metrics import METRICS
from mopt_api.spec import QualityGate
from mopt_cli._errors import CliError
from mopt_optimizer.machine.system import System
from mopt_optimizer.passes.running import count_nodes

_VERSIONS = ("torch", "onnxruntime", "openvino")
_QUICK_SAMPLES, _QUICK_STEPS = 2, 30


def say(text: str) -> None:
    """Tell how far the piece is."""
    print(f"  {text}", file=sys.stderr, flush=True)


def machine() -> dict[str, Any]:
    """Return what the piece is measured on, and in which versions."""
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


class Measuring:
    """A subject that is made, and what is measured of it."""

    def __init__(self, subject: str, arguments: argparse.Namespace) -> None:
        self._name, self._arguments = subject, arguments
        self._folder: Path = arguments.work / subject
        count = _QUICK_SAMPLES if arguments.quick else None
        if not (self._folder / "subject.json").is_file():
            # What an earlier piece left of it where that failed.
            shutil.rmtree(self._folder, ignore_errors=True)
            make_subject(
                subject,
                self._folder,
                arguments.cache,
                calibration=count,
                evaluation=count,
                steps=_QUICK_STEPS if arguments.quick else None,
            )
        work = Work(self._folder, self._folder)
        self.samples, self.truth = work.evaluation, work.truth
        self.figures = tuple(
            figure
            for figure in figures(SUBJECTS[subject].metric, truth=bool(self.truth))
            if METRICS[figure.metric].least_samples <= len(self.samples)
        )
        self.where = machine()
        self._out = self._folder / f"made-{os.getpid()}"

    @property
    def _program(self) -> Path:
        return self._folder / "model.pt2"

    def _race(self, contenders: Mapping[str, Contender]) -> dict[str, Form]:
        truth = [list(answers.values()) for answers in self.truth]
        return race(
            contenders,
            self._folder / "source.onnx",
            Judging(self.samples, truth, self.figures),
            threads=self.where["threads"],
            rounds=self._arguments.rounds,
            log=say,
        )

    def _facts(self, began: float) -> Line:
        return {
            "title": SUBJECTS[self._name].title,
            "machine": self.where,
            "rounds": self._arguments.rounds,
            "partial": self._arguments.quick or bool(self._arguments.tools),
            "evaluation_samples": len(self.samples),
            "figures": [figure.key for figure in self.figures],
            "seconds": round(time.monotonic() - began, 1),
        }

    def forms(self) -> Line:
        """Return what every tool makes of the subject, compared and timed."""
        began = time.monotonic()
        recipes = chosen(self._arguments.tools, quick=self._arguments.quick)
        produced = produce(
            recipes,
            self._folder,
            self._out,
            environment=self._arguments.environment,
            log=say,
        )
        ready = {r.name: (r, path) for r in recipes if (path := produced[r.name].path)}
        sizes = {name: sizes_of(recipe, path) for name, (recipe, path) in ready.items()}
        threads = self.where["threads"]
        forms = self._race({n: contender(r, path, threads) for n, (r, path) in ready.items()})
        source, turns = self._folder / "source.onnx", sorted(forms[REFERENCE_NAME].turns)
        return {
            **self._facts(began),
            "source": {
                "size_bytes": source.stat().st_size,
                "nodes": sizes_of(recipes[0], source).nodes,
                "latency_ms": turns[len(turns) // 2],
                "slowest_turn_over_median": turns[-1] / turns[len(turns) // 2],
                "quality": forms[REFERENCE_NAME].quality,
            },
            "rows": [row.as_json() for row in make_rows(recipes, produced, forms, sizes)],
        }

    def gate(self, name: str, forms: Line) -> Line:
        """Return what mopt selects at a gate, beside the peers' best forms that hold it.

        Args:
            forms: The subject's line of its forms.
        """
        began = time.monotonic()
        truth = name == TASK
        bound = self._own_gate() if truth else gate(SUBJECTS[self._name].metric, name)
        rows = [Row.from_json(row) for row in forms["rows"]]
        chosen_rivals = rivals(rows, bound, truth=truth)
        selected = select(
            self._folder / "files",
            () if truth else (bound,),
            self._out / "run",
            self.where["threads"],
        )
        contenders = {SELECTED: selected.contender, **self._eager(), **self._peers(chosen_rivals)}
        raced = self._race(contenders)
        key = Figure(bound.metric, bound.aggregate, truth=truth).key
        return {
            **self._facts(began),
            "bound": bound.to_api(),
            "bound_in_words": in_words(bound, truth=truth),
            "judged": key,
            "run": selected.facts,
            "contenders": [
                _told(one, raced, selected, bound, truth=truth)
                for one in raced.values()
                if one.name != REFERENCE_NAME
            ],
            "left_out": left_out(rows, bound, truth=truth),
        }

    def _own_gate(self) -> QualityGate:
        document = json.loads((self._folder / "files" / RESOURCE).read_text())
        return QualityGate.model_validate(document["spec"]["quality"][0])

    def _eager(self) -> dict[str, Contender]:
        if not self._program.is_file():
            return {}
        return {EAGER.name: contender(EAGER, self._program, self.where["threads"])}

    def _peers(self, rows: Sequence[Row]) -> dict[str, Contender]:
        recipes = [by_name(row.recipe) for row in rows]
        produced = produce(
            recipes,
            self._folder,
            self._out / "peers",
            environment=self._arguments.environment,
            log=say,
        )
        return {
            recipe.name: contender(recipe, path, self.where["threads"])
            for recipe in recipes
            if (path := produced[recipe.name].path)
        }


def _told(
    one: Form, raced: Mapping[str, Form], selected: Selected, bound: QualityGate, *, truth: bool
) -> Line:
    """Return what the record says of a contender at a gate."""
    role = {SELECTED: SELECTED, EAGER.name: EAGER_ROLE}.get(one.name, PEER)
    mine = raced[SELECTED]
    faster = None
    if role != SELECTED and one.error is None and mine.error is None:
        faster = times_as_fast(mine.relative, one.relative)
    return {
        "name": one.name,
        "role": role,
        "label": selected.form.name if role == SELECTED else one.name,
        "latency_ms": sorted(one.turns)[len(one.turns) // 2] if one.turns else None,
        "speedup": asdict(Spread.of([1 / each for each in one.relative])) if one.relative else None,
        "quality": one.quality,
        "holds": one.quality is not None and holds(bound, one.quality, truth=truth),
        "selected_is": faster and asdict(faster),
        "error": one.error,
    }


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the arguments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("subject", choices=list(SUBJECTS))
    parser.add_argument("gate")
    for name in ("record", "work", "cache", "environment"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--tools", nargs="*", default=[])
    parser.add_argument("--quick", action="store_true")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Measure a piece."""
    parsed = parse(arguments)
    piece = Piece(parsed.subject, parsed.gate)
    try:
        measuring = Measuring(parsed.subject, parsed)
        if piece.gate == FORMS:
            line = measuring.forms()
        else:
            line = measuring.gate(piece.gate, read(parsed.record)[f"{piece.subject}/{FORMS}"])
    except (SubjectMissing, CliError) as error:
        print(f"{piece.name}: {error}", file=sys.stderr)
        return 1
    append(parsed.record, piece, line)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
