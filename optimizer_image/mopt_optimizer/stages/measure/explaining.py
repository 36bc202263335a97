"""In a variant's process: what a call has to do at least, and what the runtime really executes."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from mopt_api.enums import Runtime
from mopt_api.jobs.limits import BF16, FP32
from mopt_api.variants import uses_bf16
from mopt_optimizer.errors import ModelError, RuntimeFailure
from mopt_optimizer.onnx_files.work import CountedWork, count_work, without_weights
from mopt_optimizer.opening.loading import onnx_file, open_onnx
from mopt_optimizer.runtimes import Feeds, Runner
from mopt_optimizer.runtimes.base import Opening
from mopt_optimizer.runtimes.executed import ExecutedGraph

from .messages import Explain, Explained


def explained(
    runner: Runner, opening: Opening, request: Explain, feeds: Feeds, workdir: Path
) -> Explained:
    """Return what is known of a form; what is not is no reason to fail.

    Args:
        runner: Has the file of the opening open.
        workdir: For the files of an archive.
    """
    counted = _counted(opening, request.points, workdir)
    first = counted.get(next(iter(request.points), ""))
    graph = _executed(runner, feeds)
    return Explained(
        work={point: found.work for point, found in counted.items()},
        executed=graph.report(first.layers if first else ()) if graph is not None else None,
    )


def _counted(
    opening: Opening, points: Mapping[str, Mapping[str, Sequence[int]]], workdir: Path
) -> dict[str, CountedWork]:
    if opening.runtime is Runtime.PYTORCH:  # Its file is a program.
        return {}
    floats = BF16 if uses_bf16(opening.precision, opening.float_precision) else FP32
    found: dict[str, CountedWork] = {}
    try:
        with tempfile.TemporaryDirectory(dir=workdir) as folder:
            file = onnx_file(opening.path, Path(folder) / "unpacked")
            model = without_weights(open_onnx(file))
        for point, shapes in points.items():
            sizes = {name: tuple(shape) for name, shape in shapes.items()}
            if (work := count_work(model, sizes, floats)) is not None:
                found[point] = work
    except ModelError:  # No ONNX, of a runtime that an extension adds.
        return {}
    return found


def _executed(runner: Runner, feeds: Feeds) -> ExecutedGraph | None:
    try:
        return runner.executed(feeds)
    except RuntimeFailure:
        return None
