"""What a step's key leaves out of mopt's own files is nothing that the step runs.

The imports are followed in the sources, those inside of functions too; what is found by a name in a
table stands beside, by the tables themselves.
"""

from __future__ import annotations

import grimp
import pytest

from mopt_optimizer.formats.registry import FORMATS
from mopt_optimizer.forms.registry import MAKERS, MadeFrom
from mopt_optimizer.passes import available_passes
from mopt_optimizer.stages.parts import Part, never_run

MINE = "mopt_optimizer"


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return grimp.build_graph(MINE, "mopt_api", cache_dir=None)


def modules_of(names: list[str]) -> list[str]:
    """Return the modules of MODULE:NAME strings."""
    return [name.partition(":")[0] for name in names]


MAKES = {
    origin: modules_of([row.make for row in MAKERS.values() if row.made_from is origin])
    for origin in MadeFrom
}
STARTS: dict[Part, list[str]] = {
    Part.EXPORT: [
        *modules_of(list(FORMATS.values())),
        *(f"{MINE}.passes.{name}" for name in available_passes()),
        f"{MINE}.passes.running",
        f"{MINE}.formats.registry",
        f"{MINE}.onnx_files.files",
        f"{MINE}.onnx_files.opsets",
        f"{MINE}.onnx_files.verify",
        f"{MINE}.data.decoding",
    ],
    Part.PROGRAM_FORMS: [
        *MAKES[MadeFrom.PROGRAM],
        *modules_of(list(FORMATS.values())),
        f"{MINE}.forms.make",
        f"{MINE}.data.decoding",
    ],
    Part.ONNX_FORMS: [*MAKES[MadeFrom.FP32], f"{MINE}.forms.make", f"{MINE}.data.decoding"],
    Part.ENGINES: [f"{MINE}.stages.engines.worker"],
}


@pytest.mark.parametrize("part", Part)
def test_nothing_is_left_out_that_a_step_runs(imports: grimp.ImportGraph, part: Part) -> None:
    run: set[str] = set()
    for start in STARTS[part]:
        assert start in imports.modules
        run |= {start, *imports.find_upstream_modules(start)}
    left_out = never_run(part)
    wrong = {name for name in run if any(f"{name}.".startswith(f"{one}.") for one in left_out)}
    assert wrong == set()


@pytest.mark.parametrize("part", Part)
def test_what_is_left_out_is_there(imports: grimp.ImportGraph, part: Part) -> None:
    assert never_run(part) <= imports.modules


def test_an_export_runs_nothing_of_quality_but_what_can_be_compared(
    imports: grimp.ImportGraph,
) -> None:
    every = imports.find_children(f"{MINE}.quality")
    assert every - never_run(Part.EXPORT) == {f"{MINE}.quality.comparable"}
