"""What noise does not show: an epsilon that a rewrite lost, and outputs of another type."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx.parser
import pytest
import torch

from mopt_api.inputs import DimensionRange, InputSpec
from mopt_api.jobs.prepare_result import PassOutcome
from mopt_optimizer.data.samples import Inputs
from mopt_optimizer.errors import BaselineError, ExportError
from mopt_optimizer.formats.exported_program import export_onnx, program_cases
from mopt_optimizer.formats.onnx import onnx_cases
from mopt_optimizer.onnx_files import reference_cases
from mopt_optimizer.onnx_files.reference_cases import with_made_up
from mopt_optimizer.onnx_files.verify import Case, OnnxSession, verify, verify_export
from mopt_optimizer.passes.running import optimize

if TYPE_CHECKING:
    import onnx_ir as ir

pytestmark = pytest.mark.optimizer

INPUTS = [
    InputSpec.model_validate({"name": "x", "shape": ["n", 4]}),
    InputSpec.model_validate({"name": "mask", "shape": ["n", 4], "dtype": "int64"}),
]
SIZES = {"n": DimensionRange.model_validate({"min": 1, "opt": 2, "max": 4})}
TEXT = """<ir_version: 9, opset_import: ["" : 18]>
g (float[n,4] x, int64[n,4] mask) => (float[n,4] y) {
  m = Cast <to=1> (mask) a = Relu(x) b = Mul(a, m) c = Add(b, tiny) y = Log(c)
}"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    model = onnx.parser.parse_model(TEXT)
    tiny = onnx.numpy_helper.from_array(np.array(1e-10, np.float32), "tiny")
    model.graph.initializer.append(tiny)
    onnx.save(model, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


@dataclass
class Drop:
    """A pass that takes an operator out."""

    name: str

    def run(self, model: ir.Model) -> bool:
        for node in [node for node in model.graph if node.op_type == self.name]:
            (value, *_) = node.inputs
            assert value is not None
            node.outputs[0].replace_all_uses_with(value)
            model.graph.remove(node, safe=True)
        return True


def _silent(step: str, message: str, **fields: object) -> None:
    pass


def test_pass_that_loses_an_epsilon_is_rolled_back(path: Path) -> None:
    cases = onnx_cases(path, INPUTS, SIZES)
    assert [case.name for case in cases[0].also] == ["noise, half masked", "zeros", "ones"]
    assert not any(case.also for case in cases[1:])
    lost, exact = optimize(path, [Drop("Add"), Drop("Identity")], cases, _silent)
    assert lost.outcome is PassOutcome.ROLLED_BACK
    assert "output y" in (lost.message or "")
    assert exact.outcome is not PassOutcome.ROLLED_BACK


NORMALIZED = """<ir_version: 9, opset_import: ["" : 18]>
g (float[n, 7] x, int64[1] last, float eps) => (float[n, 7] y) {
  m = ReduceMean <keepdims = 1> (x, last) d = Sub (x, m) q = Mul (d, d)
  v = ReduceMean <keepdims = 1> (q, last) e = Add (v, eps) r = Sqrt (e) y = Div (d, r)
}"""


@pytest.mark.parametrize(
    ("epsilon", "offset", "passes"),
    [
        pytest.param(1e-16, 0.0, True, id="rounding errors at full scale"),
        pytest.param(1e-16, 8.0, False, id="further than those go"),
        pytest.param(1e-2, 0.0, True, id="an epsilon that holds them down"),
        pytest.param(1e-2, 0.1, False, id="another value where there are none"),
    ],
)
def test_rounding_errors_that_a_model_brings_to_full_scale_are_no_difference(
    epsilon: float, offset: float, passes: bool, tmp_path: Path
) -> None:
    model = onnx.parser.parse_model(NORMALIZED)
    values = {"last": np.array([1]), "eps": np.array(epsilon, np.float32)}
    for name, value in values.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    path = tmp_path / "normalized.onnx"
    onnx.save(model, path)
    rows = np.random.default_rng(0).random((2, 7)).astype(np.float32)
    (expected,) = OnnxSession(path).run({"x": rows})
    # No row of equal values has anything to normalize, but for the rounding of its mean.
    equal = {"x": np.full((2, 7), 0.1, np.float32)}
    constant = Case({}, equal, (np.full((2, 7), offset, np.float32),), name="constants")
    _, failure = verify(path, [Case({}, {"x": rows}, (expected,), also=(constant,))])
    assert (failure is None) is passes


def test_inputs_that_the_source_fails_on_are_left_out() -> None:
    def reference(arrays: dict[str, np.ndarray]) -> tuple[np.ndarray, ...]:
        if not arrays["x"].any():
            raise ZeroDivisionError
        return (arrays["x"],)

    x = np.full((1, 2), 0.5, np.float32)
    (case,) = with_made_up([Case({}, {"x": x}, (x,))], reference, (ZeroDivisionError,))
    assert [other.name for other in case.also] == ["ones"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y: y.astype(np.float64), "output y is float32 instead of float64"),
        (lambda y: y + 1, r"output y differs by 1, more than .* at n 1"),
    ],
)
def test_export_of_another_type_or_value_is_refused(
    path: Path, change: Callable[[np.ndarray], np.ndarray], message: str
) -> None:
    (first, *_) = onnx_cases(path, INPUTS, SIZES)
    other = Case(first.sizes, first.inputs, tuple(map(change, first.expected)))
    with pytest.raises(ExportError, match=message):
        verify_export(path, [other])
    with pytest.raises(ExportError, match="it has 1 outputs instead of 2"):
        verify_export(path, [Case(first.sizes, first.inputs, first.expected * 2)])


class Typed(torch.nn.Module):
    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return x.argmax(-1), x.double() * 2, (x > 0.5) & (mask == 1), x


def test_programs_outputs_keep_their_types(tmp_path: Path) -> None:
    example = (torch.rand(2, 4), torch.ones(2, 4, dtype=torch.int64))
    batch = torch.export.Dim("n", min=1, max=4)
    program = torch.export.export(Typed(), example, dynamic_shapes=({0: batch}, {0: batch}))
    cases = program_cases(program, INPUTS, SIZES)
    assert [array.dtype.name for array in cases[0].expected] == [
        *("int64", "float64", "bool", "float32"),
    ]
    export_onnx(program, tmp_path / "model.onnx", {})
    assert all(found.passed for found in verify_export(tmp_path / "model.onnx", cases))


CHOSEN = """<ir_version: 9, opset_import: ["" : 18]>
g (float[n] x, int64[k] at) => (float[k] y) { y = Gather(x, at) }"""


def test_indices_are_the_users() -> None:
    """Noise is 0 and 1: with one of two values in x it is no index, and shows nothing of others."""
    model = onnx.parser.parse_model(CHOSEN)
    inputs = [
        InputSpec.model_validate({"name": "x", "shape": [5]}),
        InputSpec.model_validate({"name": "at", "shape": [2], "dtype": "int64"}),
    ]
    samples = [{"x": np.arange(5, dtype=np.float32), "at": np.array([4, 3])}]
    for value, size in zip((*model.graph.input, *model.graph.output), (5, 2, 2), strict=True):
        value.type.tensor_type.shape.dim[0].dim_value = size
    (case,) = _cases(model, inputs, {}, samples)
    assert case.expected[0].tolist() == [4, 3]
    assert [(other.name, other.expected[0].tolist()) for other in case.also] == [
        *(("zeros", [0, 0]), ("ones", [1, 1]), ("the samples' highest values", [4, 4])),
    ]


LOOP = """<ir_version: 9, opset_import: ["" : 18]>
g (float[n] x) => (float[n] y) {
  go = Constant <value = bool {1}> ()
  most = Constant <value = int64 {9223372036854775807}> ()
  y = Loop (most, go, x) <body = b (int64 i, bool c, float[n] v) => (bool again, float[n] w) {
    two = Constant <value = float {2.0}> ()
    ten = Constant <value = float {10.0}> ()
    w = Mul(v, two)
    largest = ReduceMax <keepdims = 0> (w)
    again = Less(largest, ten)
  }>
}"""
VECTOR = InputSpec.model_validate({"name": "x", "shape": ["n"]})


def _cases(
    model: onnx.ModelProto,
    inputs: list[InputSpec],
    sizes: dict[str, DimensionRange],
    samples: list[Inputs],
) -> list[Case]:
    with TemporaryDirectory() as folder:
        onnx.save(model, Path(folder) / "model.onnx")
        return onnx_cases(Path(folder) / "model.onnx", inputs, sizes, samples)


def test_a_loop_that_a_value_ends_goes_on_samples_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Doubled until it is 10: of zeros that takes forever."""
    monkeypatch.setattr(reference_cases, "_LEAST_SECONDS", 0.2)
    samples = [{"x": np.array([1, 3], np.float32)}, {"x": np.array([2, 6], np.float32)}]
    sizes = {"n": DimensionRange(min=2, opt=2, max=4)}
    cases = _cases(onnx.parser.parse_model(LOOP), [VECTOR], sizes, samples)
    assert [case.expected[0].tolist() for case in cases] == [[4, 12], [4, 12, 8], [4, 12]]
    assert [other.name for case in cases for other in case.also] == [
        *("ones", "the samples' highest values"),
    ]


def test_a_loop_that_does_not_end_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference_cases, "MOST_SECONDS", 0.2)
    text = LOOP.replace("Mul(v, two)", "Identity(v)")
    sizes = {"n": DimensionRange(min=2, opt=2, max=2)}
    said = "fails at n 2: it did not end within 0.2 s; a value says when Loop y ends"
    with pytest.raises(BaselineError, match=f"{said}; these inputs are noise: samples of data.cal"):
        _cases(onnx.parser.parse_model(text), [VECTOR], sizes, [])
    with pytest.raises(BaselineError, match="fails at n 2: it did not end"):
        _cases(onnx.parser.parse_model(text), [VECTOR], sizes, [{"x": np.ones(2, np.float32)}])
