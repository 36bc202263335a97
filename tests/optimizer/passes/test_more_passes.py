"""Passes on shapes and arithmetic: each fires, abstains and computes the same (the run checks)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx.parser
import pytest

from mopt_api.jobs.prepare_result import PassOutcome
from mopt_optimizer.errors import SpecError
from mopt_optimizer.passes import available_passes, named_passes
from mopt_optimizer.passes.running import optimize

if TYPE_CHECKING:
    from mopt_optimizer.progress import Log

    from .conftest import Cases, Run, Weights, Write

pytestmark = pytest.mark.optimizer

IMAGE = "g (float[n,3,8,8] x) => (float[n,4,6,6] y) "
ROWS = "g (float[n,3] x) => (float[n,3] y) "


def _normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(7).standard_normal(shape).astype(np.float32)


def _scalar(value: float) -> np.ndarray:
    return np.array(value, np.float32)


def _ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


CONV = {"w": _normal(4, 3, 3, 3), "b": _normal(4)}
CHANNELS = {"c": _normal(4, 1, 1)}

# pass, what the case is, graph, weights, operators after it
FIRES = [
    (
        "fuse_add_into_conv",
        "bias is added to",
        IMAGE + "{ a = Conv(x, w, b) y = Add(a, c) }",
        CONV | CHANNELS,
        ["Conv"],
    ),
    (
        "fuse_add_into_conv",
        "bias is made, other order",
        IMAGE + "{ a = Conv(x, w) y = Add(c, a) }",
        CONV | CHANNELS,
        ["Conv"],
    ),
    (
        "fuse_mul_into_conv",
        "with bias",
        IMAGE + "{ a = Conv(x, w, b) y = Mul(a, c) }",
        CONV | CHANNELS,
        ["Conv"],
    ),
    (
        "fuse_mul_into_conv",
        "scalar, no bias",
        IMAGE + "{ a = Conv(x, w) y = Mul(c, a) }",
        CONV | {"c": _scalar(0.1)},
        ["Conv"],
    ),
    (
        "fuse_pad_into_pool",
        "average",
        "g (float[n,3,8,8] x) => (float[n,3,5,5] y) "
        "{ a = Pad(x, pads) y = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (a) }",
        {"pads": _ints(0, 0, 1, 1, 0, 0, 1, 1)},
        ["AveragePool"],
    ),
    (
        "fuse_pad_into_pool",
        "maximum",
        "g (float[n,3,8,8] x) => (float[n,3,9,9] y) "
        "{ a = Pad(x, pads, low) y = MaxPool <kernel_shape = [2, 2]> (a) }",
        {"pads": _ints(0, 0, 1, 1, 0, 0, 1, 1), "low": _scalar(-np.inf)},
        ["MaxPool"],
    ),
    (
        "fuse_consecutive_concats",
        "inner first",
        "g (float[n,3] x) => (float[n,9] y) "
        "{ r = Relu(x) a = Concat <axis = 1> (x, r) y = Concat <axis = 1> (a, x) }",
        {},
        ["Relu", "Concat"],
    ),
    (
        "eliminate_squeeze_pairs",
        "unsqueeze first",
        ROWS + "{ a = Unsqueeze(x, axes) b = Squeeze(a, axes) y = Relu(b) }",
        {"axes": _ints(1)},
        ["Relu"],
    ),
    (
        "fuse_reduce_squeeze",
        "mean",
        "g (float[n,3,4] x) => (float[n,3] y) { a = ReduceMean(x, axes) y = Squeeze(a, axes) }",
        {"axes": _ints(2)},
        ["ReduceMean"],
    ),
    (
        "eliminate_noop_shape_changes",
        "concat, pad, reshape, sum",
        ROWS + "{ a = Concat <axis = 0> (x) b = Pad(a, none) c = Reshape(b, shape) d = Sum(c) "
        "y = Relu(d) }",
        {"none": _ints(0, 0, 0, 0), "shape": _ints(0, 3)},
        ["Relu"],
    ),
    (
        "fuse_clips",
        "clip after relu",
        ROWS + "{ a = Relu(x) y = Clip(a, low, high) }",
        {"low": _scalar(-1), "high": _scalar(0.5)},
        ["Clip"],
    ),
    (
        "fuse_min_max_into_clip",
        "min then max",
        ROWS + "{ a = Min(x, high) y = Max(a, low) }",
        {"low": _scalar(-0.5), "high": _scalar(0.5)},
        ["Clip"],
    ),
    (
        "fuse_hard_swish",
        "of mobilenet",
        ROWS + "{ a = Add(x, three) b = Clip(a, zero, six) c = Mul(x, b) y = Div(c, six) }",
        {"three": _scalar(3), "zero": _scalar(0), "six": _scalar(6)},
        ["HardSwish"],
    ),
    (
        "fuse_matmul_add_into_gemm",
        "rank two",
        "g (float[n,3] x) => (float[n,4] y) { a = MatMul(x, w) y = Add(a, b) }",
        {"w": _normal(3, 4), "b": _normal(4)},
        ["Gemm"],
    ),
    (
        "fuse_consecutive_casts",
        "to float and half",
        "g (float[n,3] x) => (float16[n,3] y) { a = Cast <to = 1> (x) y = Cast <to = 10> (a) }",
        {},
        ["Cast"],
    ),
    (
        "fuse_consecutive_reshapes",
        "to a matrix and back",
        "g (float[n,3,4] x) => (float[n,12] y) { a = Reshape(x, s) y = Reshape(a, t) }",
        {"s": _ints(-1, 4), "t": _ints(-1, 12)},
        ["Reshape"],
    ),
    (
        "fuse_consecutive_unsqueezes",
        "two axes",
        "g (float[n,3] x) => (float[n,1,1,3] y) { a = Unsqueeze(x, one) y = Unsqueeze(a, two) }",
        {"one": _ints(1), "two": _ints(2)},
        ["Unsqueeze"],
    ),
    (
        "eliminate_noop_slices",
        "of everything",
        ROWS + "{ a = Slice(x, zero, end, axis, one) y = Relu(a) }",
        {"zero": _ints(0), "end": _ints(2**63 - 1), "axis": _ints(1), "one": _ints(1)},
        ["Relu"],
    ),
    (
        "eliminate_expand",
        "the sum broadcasts anyway",
        "g (float[2,3] x) => (float[2,3] y) { a = Expand(c, shape) y = Add(a, x) }",
        {"c": _normal(1, 3), "shape": _ints(2, 3)},
        ["Add"],
    ),
    (
        "eliminate_reshapes_around_matmul",
        "of the batch",
        "g (float[2,3,4] x) => (float[2,3,5] y) { a = Reshape(x, s) b = Reshape(w, t) "
        "c = MatMul(a, b) y = Reshape(c, u) }",
        {
            "w": _normal(4, 5),
            "s": _ints(2, 3, 4),
            "t": _ints(4, 5),
            "u": _ints(2, 3, 5),
        },
        ["MatMul"],
    ),
    (
        "fuse_layer_norm",
        "as written out",
        "g (float[n,8] x) => (float[n,8] y) { m = ReduceMean <keepdims = 1> (x, last) "
        "d = Sub(x, m) q = Mul(d, d) v = ReduceMean <keepdims = 1> (q, last) e = Add(v, eps) "
        "s = Sqrt(e) z = Div(d, s) w = Mul(z, scale) y = Add(w, bias) }",
        {"last": _ints(-1), "eps": _scalar(1e-5), "scale": _normal(8), "bias": _normal(8)},
        ["LayerNormalization"],
    ),
    (
        "eliminate_noop_scatter",
        "of all rows",
        "g (float[3,4] x) => (float[3,4] y) { a = ScatterND(base, rows, x) y = Relu(a) }",
        {"base": _normal(3, 4), "rows": np.arange(3).reshape(3, 1)},
        ["Relu"],
    ),
]


def _ops(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize(
    ("name", "text", "weights", "after"),
    [pytest.param(n, t, w, a, id=f"{n}: {case}") for n, case, t, w, a in FIRES],
)
def test_pass_fires(run: Run, name: str, text: str, weights: Weights, after: list[str]) -> None:
    (one,) = named_passes([name])
    report, model = run(one, text, weights)
    assert report.outcome == PassOutcome.KEPT, report.message
    assert _ops(model) == after
    assert report.nodes_after == len(after) < report.nodes_before


ABSTAINS = [
    ("inline_functions", "none", ROWS + "{ y = Relu(x) }", {}),
    ("extract_constant_to_initializer", "none", ROWS + "{ y = Mul(x, w) }", {"w": _normal(3)}),
    (
        "fuse_consecutive_transposes",
        "relu between",
        "g (float[n,3] x) => (float[n,3] y) { a = Transpose(x) b = Relu(a) y = Transpose(b) }",
        {},
    ),
    (
        "eliminate_common_subexpressions",
        "other attribute",
        ROWS + "{ a = Elu <alpha = 1.0> (x) b = Elu <alpha = 2.0> (x) y = Add(a, b) }",
        {},
    ),
    ("deduplicate_initializers", "one only", ROWS + "{ y = Mul(x, w) }", {"w": _normal(3)}),
    (
        "fuse_add_into_conv",
        "value per column",
        IMAGE + "{ a = Conv(x, w, b) y = Add(a, c) }",
        CONV | {"c": _normal(6)},
    ),
    (
        "fuse_add_into_conv",
        "another reader",
        "g (float[n,3,8,8] x) => (float[n,4,6,6] y, float[n,4,6,6] z) "
        "{ a = Conv(x, w) y = Add(a, c) z = Relu(a) }",
        CONV | CHANNELS,
    ),
    (
        "fuse_mul_into_conv",
        "of two inputs",
        "g (float[n,3,8,8] x, float[4,1,1] c) => (float[n,4,6,6] y) "
        "{ a = Conv(x, w) y = Mul(a, c) }",
        CONV,
    ),
    (
        "fuse_pad_into_pool",
        "zeros before a maximum",
        "g (float[n,3,8,8] x) => (float[n,3,9,9] y) "
        "{ a = Pad(x, pads) y = MaxPool <kernel_shape = [2, 2]> (a) }",
        {"pads": _ints(0, 0, 1, 1, 0, 0, 1, 1)},
    ),
    (
        "fuse_pad_into_pool",
        "of the channels",
        "g (float[n,3,8,8] x) => (float[n,5,7,7] y) "
        "{ a = Pad(x, pads) y = AveragePool <kernel_shape = [2, 2]> (a) }",
        {"pads": _ints(0, 1, 0, 0, 0, 1, 0, 0)},
    ),
    (
        "fuse_consecutive_concats",
        "other axis",
        "g (float[n,3] x) => (float[m,6] y) "
        "{ a = Concat <axis = 0> (x, x) y = Concat <axis = 1> (a, a) }",
        {},
    ),
    (
        "eliminate_squeeze_pairs",
        "other axes",
        "g (float[1,3] x) => (float[3,1] y) { a = Squeeze(x, zero) y = Unsqueeze(a, one) }",
        {"zero": _ints(0), "one": _ints(1)},
    ),
    (
        "fuse_reduce_squeeze",
        "axes not kept",
        "g (float[1,3,4] x) => (float[3] y) "
        "{ a = ReduceMean <keepdims = 0> (x, two) y = Squeeze(a, zero) }",
        {"two": _ints(2), "zero": _ints(0)},
    ),
    (
        "eliminate_noop_shape_changes",
        "reshape to another shape",
        "g (float[n,4] x) => (float[m,2] y) { y = Reshape(x, shape) }",
        {"shape": _ints(-1, 2)},
    ),
    ("fuse_clips", "abs between", ROWS + "{ a = Relu(x) b = Abs(a) y = Relu(b) }", {}),
    (
        "fuse_min_max_into_clip",
        "vector bounds",
        ROWS + "{ a = Min(x, high) y = Max(a, low) }",
        {"low": _normal(3) - 3, "high": _normal(3) + 3},
    ),
    (
        "fuse_hard_swish",
        "other constants",
        ROWS + "{ a = Add(x, two) b = Clip(a, zero, six) c = Mul(x, b) y = Div(c, six) }",
        {"two": _scalar(2), "zero": _scalar(0), "six": _scalar(6)},
    ),
    (
        "fuse_matmul_add_into_gemm",
        "rank three",
        "g (float[n,2,3] x) => (float[n,2,4] y) { a = MatMul(x, w) y = Add(a, b) }",
        {"w": _normal(3, 4), "b": _normal(4)},
    ),
    (
        "fuse_consecutive_casts",
        "rounds in between",
        ROWS + "{ a = Cast <to = 6> (x) y = Cast <to = 1> (a) }",
        {},
    ),
    (
        "fuse_consecutive_reshapes",
        "another reader",
        "g (float[n,3,4] x) => (float[n,12] y, float[m,4] a) "
        "{ a = Reshape(x, s) y = Reshape(a, t) }",
        {"s": _ints(-1, 4), "t": _ints(-1, 12)},
    ),
    (
        "fuse_consecutive_unsqueezes",
        "relu between",
        "g (float[n,3] x) => (float[n,1,1,3] y) "
        "{ a = Unsqueeze(x, one) b = Relu(a) y = Unsqueeze(b, two) }",
        {"one": _ints(1), "two": _ints(2)},
    ),
    (
        "eliminate_noop_slices",
        "of one column less",
        "g (float[n,3] x) => (float[n,2] y) { a = Slice(x, one, end, axis, one) y = Relu(a) }",
        {"one": _ints(1), "end": _ints(2**63 - 1), "axis": _ints(1)},
    ),
    (
        "eliminate_expand",
        "the result is larger for it",
        "g (float[2,3] x) => (float[4,2,3] y) { a = Expand(x, shape) y = Add(a, c) }",
        {"c": _normal(1, 3), "shape": _ints(4, 2, 3)},
    ),
    (
        "eliminate_reshapes_around_matmul",
        "that change the product",
        "g (float[2,3,4] x) => (float[6,5] y) { a = Reshape(x, s) b = MatMul(a, w) "
        "y = Reshape(b, u) }",
        {"w": _normal(4, 5), "s": _ints(6, 4), "u": _ints(6, 5)},
    ),
    (
        "fuse_layer_norm",
        "mean over rows",
        "g (float[n,8] x) => (float[n,8] y) { m = ReduceMean <keepdims = 1> (x, first) "
        "d = Sub(x, m) q = Mul(d, d) v = ReduceMean <keepdims = 1> (q, first) e = Add(v, eps) "
        "s = Sqrt(e) z = Div(d, s) y = Mul(z, scale) }",
        {"first": _ints(0), "eps": _scalar(1e-5), "scale": _normal(8)},
    ),
    (
        "eliminate_noop_scatter",
        "of two rows",
        "g (float[2,4] x) => (float[3,4] y) { y = ScatterND(base, rows, x) }",
        {"base": _normal(3, 4), "rows": np.arange(2).reshape(2, 1)},
    ),
]


@pytest.mark.parametrize(
    ("name", "text", "weights"),
    [pytest.param(n, t, w, id=f"{n}: {case}") for n, case, t, w in ABSTAINS],
)
def test_pass_abstains(run: Run, name: str, text: str, weights: Weights) -> None:
    (one,) = named_passes([name])
    report, model = run(one, text, weights)
    assert (report.outcome, report.message) == (PassOutcome.NO_CHANGE, None)
    assert len(model.graph.node) == report.nodes_before == report.nodes_after


@pytest.mark.parametrize(
    ("name", "branch", "weights"),
    [
        ("fuse_clips", "b = Relu(x) a = Relu(b)", {}),
        ("fuse_add_into_conv", "u = Conv(x, w) a = Add(u, c)", CONV | CHANNELS),
        (
            "eliminate_squeeze_pairs",
            "u = Unsqueeze(x, axes) a = Squeeze(u, axes)",
            {"axes": _ints(0)},
        ),
    ],
)
def test_subgraphs_are_reached(run: Run, name: str, branch: str, weights: Weights) -> None:
    result = "float[n,4,6,6]" if "Conv" in branch else "float[n,3,8,8]"
    other = "d = Conv(x, w) e = Exp(d)" if "Conv" in branch else "e = Exp(x)"
    (one,) = named_passes([name])
    report, _ = run(
        one,
        f"g (float[n,3,8,8] x) => ({result} y) {{ flag = Greater(zero, one) y = If (flag) <"
        f"then_branch = t () => ({result} a) {{ {branch} }},"
        f"else_branch = f () => ({result} e) {{ {other} }}> }}",
        weights | {"zero": _scalar(0), "one": _scalar(1)},
    )
    assert report.outcome == PassOutcome.KEPT, report.message
    assert report.nodes_after < report.nodes_before


@pytest.mark.parametrize("shape", [(1, 4), (1, 1), (1,), ()])
def test_bias_of_each_row_has_one_axis(run: Run, shape: tuple[int, ...]) -> None:
    (one,) = named_passes(["fuse_matmul_add_into_gemm"])
    text = "g (float[n,3] x) => (float[n,4] y) { y = Gemm(x, w, b) }"
    report, model = run(one, text, {"w": _normal(3, 4), "b": _normal(*shape).reshape(shape)})
    assert report.outcome == PassOutcome.KEPT, report.message
    bias = model.graph.node[0].input[2]
    (dims,) = [[*t.dims] for t in model.graph.initializer if t.name == bias]
    assert dims == [4]


def test_functions_are_inlined(run: Run, write: Write, cases: Cases, log: Log) -> None:
    path = write(ROWS + "{ y = Relu(x) }")
    model = onnx.load(path)
    function = onnx.parser.parse_function(
        '<domain: "mine", opset_import: ["" : 18]> twice (a) => (c) { b = Add(a, a) c = Neg(b) }'
    )
    model.functions.append(function)
    model.opset_import.append(onnx.helper.make_opsetid("mine", 1))
    model.graph.node[0].CopyFrom(onnx.helper.make_node("twice", ["x"], ["y"], domain="mine"))
    onnx.save(model, path)
    (report,) = optimize(path, named_passes(["inline_functions"]), cases(path), log)
    assert report.outcome == PassOutcome.KEPT, report.message
    assert _ops(onnx.load(path)) == ["Add", "Neg"]
    assert not onnx.load(path).functions


def _old_file(path: Path) -> Path:
    """Make a file's weight an input too, as IR version 3 had it."""
    model = onnx.load(path)
    (weight,) = model.graph.initializer
    dims = list(weight.dims)
    model.graph.input.append(onnx.helper.make_tensor_value_info(weight.name, 1, dims))
    model.ir_version = 3
    onnx.save(model, path)
    return path


def test_weights_listed_as_inputs_become_constant(write: Write, cases: Cases, log: Log) -> None:
    path = write(ROWS + "{ y = Mul(x, w) }", {"w": _normal(3)})
    expected = cases(path)
    _old_file(path)
    (report,) = optimize(path, named_passes(["remove_weights_from_inputs"]), expected, log)
    assert report.outcome == PassOutcome.KEPT, report.message
    model = onnx.load(path)
    assert [value.name for value in model.graph.input] == ["x"]
    assert model.ir_version == 4
    (report,) = optimize(path, named_passes(["remove_weights_from_inputs"]), expected, log)
    assert report.outcome == PassOutcome.NO_CHANGE


def test_every_pass_is_shown_to_change_nodes() -> None:
    """Of the passes with tests of their own, two change weights only."""
    elsewhere = {
        "remove_weights_from_inputs",
        "inline_functions",
        "eliminate_identity",
        "fold_constants",
        "extract_constant_to_initializer",
        "eliminate_noop",
        "fuse_consecutive_transposes",
        "fuse_pad_into_conv",
        "fuse_bn_into_conv",
        "eliminate_common_subexpressions",
        "eliminate_dead_nodes",
        "deduplicate_initializers",
    }
    assert {name for name, *_ in FIRES} | elsewhere == set(available_passes())
    assert {name for name, *_ in ABSTAINS} >= {name for name, *_ in FIRES}


def test_passes_are_chosen_by_name() -> None:
    names = ["fuse_bn_into_conv", "eliminate_identity"]
    assert [p.name for p in named_passes(names)] == ["eliminate_identity", "fuse_bn_into_conv"]
    others = named_passes(exclude=names)
    assert len(others) == len(available_passes()) - 2
    with pytest.raises(SpecError, match="unknown pass fuse_everything; there are remove_weights"):
        named_passes(["fuse_everything"])
