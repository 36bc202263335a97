"""Twenty architectures: one file, `mopt init`, and nothing edited up to verified forms."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from architectures import ARCHITECTURES, write, write_data
from whole_way import NNCF, QDQ, Made, far, initial, prepared, run

from mopt_api.enums import Precision, Runtime
from mopt_api.spec import ModelOptimizationSpec
from mopt_optimizer.onnx_files.verified_inputs import verified_inputs

pytestmark = pytest.mark.optimizer

QUICK = ("decoder", "nms")
ONE_LAYER = ("lstm", "gru")
"""With one layer beside the cells, which stay FP32: default gates may leave nothing in INT8."""
ALL_FP32 = (
    "model.onnx: the gate holds only with every layer in FP32; lower it, or use another precision"
)
CLOSE = 1e-3
"""Of the largest value: what runtimes differ by in FP32."""


def evaluated(made: Made, folder: Path) -> list[Mapping[str, np.ndarray]]:
    """Return the evaluation data, and noise at the sizes that init found."""
    samples = [dict(np.load(file)) for file in sorted(folder.iterdir())]
    noise = verified_inputs(made.spec.inputs, made.spec.every_dimension)
    return [*samples, *(one.inputs for one in noise)]


def check(name: str, folder: Path, *, int8: bool = True) -> ModelOptimizationSpec:
    """Go the whole way with one architecture."""
    kind = ARCHITECTURES[name]
    path = write(kind, folder / "model")
    calibration = write_data(kind, folder / "calibration", seed=1)
    evaluation = write_data(kind, folder / "evaluation", seed=2)
    spec = initial(path, folder)
    forms = ((QDQ, Runtime.ONNX_RUNTIME), (NNCF, Runtime.OPENVINO)) if int8 else ()
    made = prepared(
        path, spec, folder / "made", forms=[form for form, _ in forms], data=calibration
    )
    assert made.answer.exported is not None
    assert all(v.passed for v in made.answer.exported.verifications)
    source = (Runtime.ONNX_RUNTIME if kind.onnx else Runtime.PYTORCH, path)
    for feeds in evaluated(made, evaluation):
        expected = run(*source, feeds)
        for runtime in (Runtime.ONNX_RUNTIME, Runtime.OPENVINO):
            assert far(run(runtime, made.fp32, feeds), expected) <= CLOSE, runtime
    feeds = evaluated(made, evaluation)[0]
    for form, runtime in forms:
        refusal = made.refusal(form)
        if refusal is not None:
            assert (name in ONE_LAYER, form, refusal) == (True, QDQ, ALL_FP32)
            continue
        for output in run(runtime, made.form(form), feeds, Precision.INT8):
            assert np.isfinite(output).all()
    return spec


@pytest.mark.parametrize("name", QUICK)
def test_from_one_file(name: str, tmp_path: Path) -> None:
    spec = check(name, tmp_path, int8=name == "nms")
    if name == "decoder":
        # From the file alone: the mask is as long as the cache and what is new.
        assert spec.derived_dimensions["total"].sum_of == ["past", "length"]
        assert spec.dimensions["length"].min == 1


@pytest.mark.architectures
@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name not in QUICK])
def test_the_others_from_one_file(name: str, tmp_path: Path) -> None:
    check(name, tmp_path)
