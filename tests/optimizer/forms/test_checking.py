"""A form that computes something else than FP32 is not stored, whatever it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from numpy.typing import NDArray

from mopt_optimizer.errors import QuantizationError
from mopt_optimizer.forms.checking import Beside, gross
from mopt_optimizer.forms.form import Form
from mopt_optimizer.forms.make import make
from mopt_optimizer.forms.material import Material
from mopt_optimizer.forms.registry import MAKERS, FormKind, MadeFrom, Maker
from mopt_optimizer.onnx_files import reference_cases

pytestmark = pytest.mark.optimizer

NOISE = {"x": np.random.default_rng(0).random((2, 4), np.float32)}
ONE = "(float[n,4] x) => (float[n,4] y)"
GUARDED = f"{ONE} {{ a = Relu(x) b = Add(a, tiny) y = Log(b) }}"


def _written(path: Path, graph: str, tiny: float = 1e-10) -> Path:
    model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 18]>\ng {graph}')
    if "tiny" in graph:
        tensor = onnx.numpy_helper.from_array(np.array(tiny, np.float32), "tiny")
        model.graph.initializer.append(tensor)
    onnx.save(model, path)
    return path


def _check(tmp_path: Path, fp32: str, form: str, samples: Any = ()) -> None:
    files = (_written(tmp_path / f"{n}.onnx", g) for n, g in (("fp32", fp32), ("form", form)))
    Beside(NOISE, samples).check(*files)


@pytest.mark.parametrize(
    ("fp32", "form", "message"),
    [
        (
            GUARDED,
            f"{ONE} {{ a = Relu(x) y = Log(a) }}",
            "wrong on zeros: output y: 8 of 8 values are NaN or Inf, and FP32's are not",
        ),
        (f"{ONE} {{ y = Exp(x) }}", f"{ONE} {{ a = Exp(x) y = Neg(a) }}", "on noise: the error of"),
        (
            f"{ONE} {{ y = Exp(x) }}",
            "(float[n,4] x) => (double[n,4] y) { a = Exp(x) y = Cast <to=11> (a) }",
            "output y of the form is float64, FP32's is float32",
        ),
        (f"{ONE} {{ y = Exp(x) }}", "(float[n,4] x) => (float[n,4] z) { z = Exp(x) }", "are z; "),
        (
            "(float[n,4] x) => (float[n,4] y, float[n,4] z) { y = Exp(x) z = Neg(x) }",
            f"{ONE} {{ y = Exp(x) }}",
            "outputs are y; FP32's are y, z",
        ),
        (f"{ONE} {{ y = Exp(x) }}", "(float[n,5] x) => (float[n,5] y) { y = Exp(x) }", "not run"),
    ],
    ids=["not finite", "wrong", "dtype", "name", "number", "sizes"],
)
def test_wrong_form_is_named_with_its_input(
    tmp_path: Path, fp32: str, form: str, message: str
) -> None:
    with pytest.raises(QuantizationError, match=message):
        _check(tmp_path, fp32, form)


@pytest.mark.parametrize(
    ("fp32", "form"),
    [
        (GUARDED, GUARDED),
        # What FP32 makes infinite, such as the logarithm of silence, may be so.
        (f"{ONE} {{ y = Log(x) }}", f"{ONE} {{ y = Log(x) }}"),
        # A fifth off is for gates to judge.
        (f"{ONE} {{ y = Exp(x) }}", f"{ONE} {{ a = Exp(x) y = Sqrt(a) }}"),
        # Rows of detections may differ in number.
        ("(float[n,4] x) => (int64[r,m] y) { y = NonZero(x) }",) * 2,
    ],
    ids=["same", "infinite too", "worse", "rows"],
)
def test_right_form_passes(tmp_path: Path, fp32: str, form: str) -> None:
    _check(tmp_path, fp32, form)


def test_distance_is_judged_on_samples_where_there_are_some(tmp_path: Path) -> None:
    """Calibrated on 10 to 11, a form need not know what 0 to 1 gives."""
    files = [_written(tmp_path / "fp32.onnx", f"{ONE} {{ y = Exp(x) }}")]
    clipped = f"{ONE} {{ a = Max(x, tiny) y = Exp(a) }}"
    files.append(_written(tmp_path / "form.onnx", clipped, tiny=10))
    Beside(NOISE, [{"x": NOISE["x"] + 10}]).check(*files)
    with pytest.raises(QuantizationError, match="on sample 1: the error"):
        Beside(NOISE, [{"x": NOISE["x"] + 10}]).check(
            files[0], _written(tmp_path / "zero.onnx", f"{ONE} {{ a = Exp(x) y = Neg(a) }}")
        )


@pytest.mark.parametrize(
    ("expected", "found", "wrong"),
    [
        ([1.0, -1], [0.0, 0], False),
        ([1.0, -1], [-0.1, 0], True),
        ([0.0, 0], [1e-9, 0], False),
        ([np.inf, 1], [np.inf, 0.5], False),
        ([3, 4], [4, 3], False),
    ],
)
def test_wrong_is_what_zeros_would_be_closer_than(
    expected: list[float], found: list[float], wrong: bool
) -> None:
    before: NDArray[Any] = np.array(expected)
    assert gross(before, np.array(found, before.dtype)) is wrong


def make_wrong(name: str, form: Form, material: Material, target: Path) -> object:
    _written(target, f"{ONE} {{ a = Exp(x) y = Neg(a) }}")
    return object()


def test_nothing_is_left_of_a_form_that_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker = Maker(
        make=f"{__name__}:make_wrong",
        made_from=MadeFrom.FP32,
        suffix=".onnx",
        name=MAKERS[FormKind.ONNX_FP16].name,
        tools=("onnx",),
    )
    monkeypatch.setitem(MAKERS, FormKind.ONNX_FP16, maker)
    fp32, target = tmp_path / "fp32.onnx", tmp_path / "form.onnx"
    _written(fp32, f"{ONE} {{ y = Exp(x) }}")
    material = Material(fp32, fp32, [], [], [], Beside(NOISE))
    with pytest.raises(QuantizationError, match="the form is wrong on noise"):
        make(Form(kind=FormKind.ONNX_FP16), material, target)
    assert not target.exists()


def test_a_form_that_does_not_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop that a value ends, in a form whose value never comes there."""
    monkeypatch.setattr(reference_cases, "_LEAST_SECONDS", 0.3)
    loop = f"""{ONE} {{
      go = Constant <value = bool {{1}}> ()
      most = Constant <value = int64 {{9223372036854775807}}> ()
      y = Loop (most, go, x) <body = b (int64 i, bool c, float[n,4] v) => (bool d, float[n,4] w) {{
        one = Constant <value = float {{1.0}}> ()
        ten = Constant <value = float {{10.0}}> ()
        w = Add(v, one)
        largest = ReduceMax <keepdims = 0> (w)
        d = Less(largest, ten)
      }}>
    }}"""
    samples = [{"x": NOISE["x"] * 5}]
    _check(tmp_path, loop, loop, samples)
    with pytest.raises(QuantizationError, match=r"does not run: it did not end within 0\.3 s"):
        _check(tmp_path, loop, loop.replace("Add(v, one)", "Identity(v)"), samples)
