"""One part in a process of its own: `python -m bench.gpu.worker PART --rows FILE ...`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import warnings
from functools import cache
from pathlib import Path

from mopt_api.enums import TargetKind

from .forms import BASELINES, Facts, forms_of
from .models import Bundle, open_program
from .reporting import ROWS_VARIABLE
from .rows import Writer
from .schedule import PARTS, Part, Work

ROOT = Path(__file__).resolve().parents[2]
# Without a GPU the forms of one that has all types are told.
NEWEST_CAPABILITY = "9.0"


def _figures(part: Part, bundle: Bundle, workdir: Path, write: Writer) -> None:
    from mopt_optimizer.machine.nvidia_gpus import visible_gpus

    from .figures import measure_figures, open_subject
    from .timing import Cuda

    assert part.model is not None  # noqa: S101 - such a part is about one
    subject = open_subject(part.model, bundle, workdir, Cuda())
    measure_figures(part.work, subject, visible_gpus()[0].compute_capability, write)


def _tests(rows: Path) -> None:
    """Run tests/gpu; each writes its row as it ends."""
    paths = [str(ROOT / place) for place in ("hack", "tests/support", "examples/super_resolution")]
    before = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-c", str(ROOT / "bench/gpu/pytest.ini")),
            *("--rootdir", str(ROOT), "-q", "-p", "no:cacheprovider", "-p", "bench.gpu.reporting"),
            *("-m", "gpu", str(ROOT / "tests/gpu")),
        ],
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join([str(ROOT), *paths, *before]), ROWS_VARIABLE: str(rows)},
        check=False,
    )


@cache
def _opened(path: Path, workdir: Path) -> tuple[list[str], str | None]:
    """Return the operators of a program, and why it is another one than the file's."""
    program, note = open_program(path, workdir)
    return [str(n.target) for n in program.graph.nodes if n.op == "call_function"], note


def _rehearse(part: Part, bundle: Bundle, workdir: Path, write: Writer) -> None:
    """Go as far as there is no GPU needed: open the model and the samples, make the plans."""
    if part.model is None:
        listed = sorted(path.stem for path in (ROOT / "tests/gpu").glob("test_*.py"))
        write("planned", what=f"tests/gpu: {', '.join(listed)}", details=[])
        return
    model = bundle.model(part.model)
    path = bundle.program_file(part.model, workdir)
    nodes, note = _opened(path, workdir)
    if note:
        write("note", model=part.model, text=note)
    samples = bundle.samples(part.model, workdir)
    if part.work is Work.STAGE:
        from .stage import plans_of

        told, _, _ = plans_of(part.model, bundle, workdir)
        details = [variant.name for variant in told.variants]
        what = f"{model.title}: prepare and measure as a GPU target"
    else:
        counts = [sum(n.startswith(kind) for n in nodes) for kind in ("aten.linear", "aten.conv")]
        forms, without = forms_of(part.work, Facts(NEWEST_CAPABILITY, *counts))
        details = [f"{form.name}{' (baseline)' * (form in BASELINES)}" for form in forms]
        details += [f"not {form.name}: {why}" for form, why in without]
        what = f"{model.title}: {len(samples)} samples, batches {model.batches}"
    write("planned", model=part.model, what=what, details=details)


def main() -> None:
    """Do the parts that are named, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="+")
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rehearse", action="store_true")
    told = parser.parse_args()
    # torch's own deprecations are not about what is measured.
    warnings.simplefilter("ignore")
    by_name = {part.name: part for part in PARTS}
    for name in told.parts:
        part, write = by_name[name], Writer(told.rows)
        bundle = Bundle.read(told.bundle)
        if told.rehearse:
            _rehearse(part, bundle, told.workdir, write)
        elif part.work is Work.TESTS:
            _tests(told.rows)
        elif part.work is Work.STAGE:
            from .stage import run_stage

            assert part.model is not None  # noqa: S101 - such a part is about one
            run_stage(part.model, bundle, told.workdir, told.out, write, TargetKind.GPU)
        else:
            _figures(part, bundle, told.workdir, write)


if __name__ == "__main__":
    main()
