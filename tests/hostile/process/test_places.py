"""Every attempt in each place where a model or data is opened, in mopt's own processes."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import attacker_all
import pytest
from attacker import Outcome

from mopt_api.enums import TargetKind

from . import known
from .ground import SECRET, Done, Ground
from .stages import (
    COMPARE,
    DATA,
    DESCRIBE,
    ENGINE,
    PEAKS,
    PREPARE,
    VARIANT,
    Work,
    write_resource,
)

pytestmark = pytest.mark.hostile

CLOSED, PROGRAMS = attacker_all.names(programs=False), attacker_all.names(programs=True)
# Data is read as a folder, which holds nothing else.
IN_FOLDER = "list-what-lies-beside-the-readable-file"
REFUSAL = {"kind": "ModelError", "reason": "InvalidModel", "message": "refused"}


class Attacked:
    """What became of the attempts in a place, and of the parent."""

    def __init__(self, work: Work, module: str, done: Done) -> None:
        self.work = work
        self.done = done
        self.outcomes: Mapping[str, Outcome] = done.outcomes_in(module)


def in_run(work: Work) -> Done:
    """mopt run: prepare's child, the variants', and those for data and for the machine's peaks."""
    plan = work.ground.plan(f"{PREPARE},{VARIANT},{DATA},{PEAKS}", attempts=CLOSED)
    resource = write_resource(work.ground.root / "resource.yaml")
    return work.ground.run(
        *("-m", "mopt_cli.main", "run", str(resource), "--verbose", "--model", str(work.model)),
        *("--evaluation", str(work.data), "--output", str(work.out)),
        *("--workdir", str(work.ground.work)),
        environ=work.ground.environ(plan),
        seconds=240,
    )


def in_inspect(work: Work) -> Done:
    plan = work.ground.plan(DESCRIBE, attempts=CLOSED)
    return work.ground.run(
        *("-m", "mopt_cli.main", "inspect", str(work.model), "--verbose"),
        environ=work.ground.environ(plan) | {"TMPDIR": str(work.ground.work)},
    )


def in_compare(work: Work, program: Path) -> Done:
    plan = work.ground.plan(COMPARE, attempts=PROGRAMS)
    return work.ground.run(
        *("-m", "mopt_cli.main", "compare", str(program), "--verbose", "--seconds", "0"),
        *("--input", "input:2x4", "--strategy", "onnxruntime-fp32"),
        environ=work.ground.environ(plan) | {"TMPDIR": str(work.ground.work)},
        seconds=240,
    )


def in_compiled(work: Work, program: Path) -> Done:
    """The process of a variant that PyTorch compiles: it may start programs."""
    variant = {"name": "first", "runtime": "PyTorch", "precision": "FP32", "torchMode": "Compiled"}
    plan = work.ground.plan(
        VARIANT, attempts=PROGRAMS, folder_prefix="first-", behaviour="error", options=REFUSAL
    )
    model = {"uri": "s3://models/model.pt2", "sha256": "0" * 64, "format": "ExportedProgram"}
    resource = write_resource(
        work.ground.root / "resource.yaml",
        model=model,
        inputs=[{"name": "input", "shape": ["batch", 4]}],
        variants=[variant],
        quality=[],
    )
    return work.ground.run(
        *("-m", "mopt_cli.main", "run", str(resource), "--verbose", "--model", str(program)),
        *("--output", str(work.out), "--workdir", str(work.ground.work)),
        environ=work.ground.environ(plan),
        seconds=240,
    )


def in_engine(work: Work) -> Done:
    """The process that builds an engine, in a Job whose target only builds."""
    spec: dict[str, Any] = {
        "variants": [{"name": "first", "runtime": "TensorRT", "precision": "FP32"}],
        "data": {},
        "quality": [],
    }
    prepared = work.prepare(None, kind=TargetKind.BUILD_ONLY, **spec).summary
    assert prepared is not None
    plan = work.ground.plan(ENGINE, attempts=CLOSED, behaviour="error", options=REFUSAL)
    return work.measure(
        plan,
        str(getattr(prepared, "result", "")),
        kind=TargetKind.BUILD_ONLY,
        compute_capabilities=("8.9",),
        **spec,
    ).done


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear layer as a program."""
    import torch

    path = tmp_path_factory.mktemp("program") / "model.pt2"
    dynamic = torch.export.Dim("batch", min=1, max=8)
    module = torch.nn.Linear(4, 3).eval()
    exported = torch.export.export(module, (torch.rand(2, 4),), dynamic_shapes=({0: dynamic},))
    torch.export.save(exported, path)
    return path


@pytest.fixture(scope="module")
def attacked(grounds: Callable[[str], Ground], program: Path) -> Callable[[str], Attacked]:
    """Return what attacks a place, once."""

    @cache
    def run(name: str) -> tuple[Work, Done]:
        if name == "engine" and importlib.util.find_spec("tensorrt_rtx") is None:
            pytest.skip("TensorRT for RTX is not installed")
        work = Work(grounds(name))
        runs: dict[str, Callable[[], Done]] = {
            "run": lambda: in_run(work),
            "inspect": lambda: in_inspect(work),
            "compare": lambda: in_compare(work, program),
            "compiled": lambda: in_compiled(work, program),
            "engine": lambda: in_engine(work),
        }
        return work, runs[name]()

    @cache
    def attacked(place: str) -> Attacked:
        parent, module, _ = PLACES[place]
        work, done = run(parent)
        return Attacked(work, module, done)

    return attacked


PLACES: dict[str, tuple[str, str, list[str]]] = {
    "prepare": ("run", PREPARE, CLOSED),
    "variant": ("run", VARIANT, CLOSED),
    "data": ("run", DATA, [name for name in CLOSED if name != IN_FOLDER]),
    "peaks": ("run", PEAKS, CLOSED),
    "describe": ("inspect", DESCRIBE, CLOSED),
    "compare": ("compare", COMPARE, PROGRAMS),
    "compiled": ("compiled", VARIANT, PROGRAMS),
    "engine": ("engine", ENGINE, CLOSED),
}
"""By place: the parent's command, the module of the process, and the attempts there."""

CASES = [
    pytest.param(place, name, id=f"{place}-{name}", marks=known.marks(place, name))
    for place, (_, _, names) in PLACES.items()
    for name in names
]


@pytest.mark.parametrize(("place", "name"), CASES)
def test_attempt_is_refused(attacked: Callable[[str], Attacked], place: str, name: str) -> None:
    outcome = attacked(place).outcomes[name]
    assert outcome.refused is not None, f"got {outcome.got}"


@pytest.mark.parametrize("place", PLACES)
def test_parent_goes_on_unharmed(attacked: Callable[[str], Attacked], place: str) -> None:
    found = attacked(place)
    done, ground = found.done, found.work.ground
    assert not done.hung
    assert done.returncode == 0, done.err[-2000:]
    assert SECRET not in done.out + done.err
    assert "Traceback" not in done.err
    assert ground.changed() == []
    assert ground.left() == []
    assert list(ground.work.iterdir()) == []
    found.work.check_store()
