"""Hand-made graphs: written in ONNX's text form, run before and after."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from numpy.typing import NDArray

from mopt_api.jobs.prepare_result import PassReport
from mopt_optimizer.onnx_files.verify import Case, OnnxSession
from mopt_optimizer.passes import Pass, optimize
from mopt_optimizer.progress import Log

Weights = dict[str, NDArray[np.generic]]
Write = Callable[..., Path]
Cases = Callable[[Path], list[Case]]
Run = Callable[..., tuple[PassReport, onnx.ModelProto]]


def _quiet(step: str, message: str, **fields: object) -> None:
    pass


@pytest.fixture
def log() -> Log:
    return _quiet


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return what writes a graph given as text, with weights by name, to a file."""

    def write(text: str, weights: Weights | None = None, *, opset: int = 18) -> Path:
        header = f'<ir_version: 9, opset_import: ["" : {opset}]>\n'
        model = onnx.parser.parse_model(header + text)
        for name, values in (weights or {}).items():
            model.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
        onnx.checker.check_model(model)
        path = tmp_path / "model.onnx"
        onnx.save(model, path)
        return path

    return write


@pytest.fixture
def cases() -> Cases:
    """Return what runs a model, unoptimized, on random inputs of two sizes."""

    def cases(path: Path) -> list[Case]:
        session = OnnxSession(path, optimized=False)
        generator = np.random.default_rng(0)
        found = []
        for n in (1, 3):
            inputs = {}
            for value in onnx.load(path).graph.input:
                shape = [d.dim_value or n for d in value.type.tensor_type.shape.dim]
                inputs[value.name] = generator.standard_normal(shape).astype(np.float32)
            found.append(Case({"n": n}, inputs, tuple(session.run(inputs))))
        return found

    return cases


@pytest.fixture
def run(write: Write, cases: Cases, log: Log) -> Run:
    """Return what runs one pass on a graph given as text: its report and the graph after it."""

    def run(
        one: Pass, text: str, weights: Weights | None = None
    ) -> tuple[PassReport, onnx.ModelProto]:
        path = write(text, weights)
        (report,) = optimize(path, [one], cases(path), log)
        return report, onnx.load(path)

    return run
