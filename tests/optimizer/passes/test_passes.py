"""Each pass: fires where it should, abstains where it must, computes the same (the run checks)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

from mopt_api.jobs.prepare_result import PassOutcome
from mopt_optimizer.passes import available_passes
from mopt_optimizer.passes.deduplicate_initializers import DeduplicateInitializers
from mopt_optimizer.passes.eliminate_common_subexpressions import EliminateCommonSubexpressions
from mopt_optimizer.passes.eliminate_dead_nodes import EliminateDeadNodes
from mopt_optimizer.passes.eliminate_identity import EliminateIdentity
from mopt_optimizer.passes.eliminate_noop import EliminateNoop
from mopt_optimizer.passes.extract_constant_to_initializer import ExtractConstantToInitializer
from mopt_optimizer.passes.fold_constants import FoldConstants
from mopt_optimizer.passes.fuse_bn_into_conv import FuseBnIntoConv
from mopt_optimizer.passes.fuse_consecutive_transposes import FuseConsecutiveTransposes
from mopt_optimizer.passes.fuse_pad_into_conv import FusePadIntoConv
from mopt_optimizer.passes.running import Pass

if TYPE_CHECKING:
    from .conftest import Run, Weights

pytestmark = pytest.mark.optimizer


def _ops(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def _normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(7).standard_normal(shape).astype(np.float32)


CONV_BN_WEIGHTS = {
    "w": _normal(4, 3, 3, 3),
    "scale": np.abs(_normal(4)) + 0.5,
    "bias": _normal(4),
    "mean": _normal(4),
    "variance": np.abs(_normal(4)) + 0.5,
}


@pytest.mark.parametrize(
    ("one", "text", "weights", "after"),
    [
        pytest.param(
            EliminateIdentity(),
            "g (float[n,3] x) => (float[n,3] y) { a = Identity(x) y = Relu(a) }",
            {},
            ["Relu"],
            id="identity",
        ),
        pytest.param(
            FoldConstants(),
            "g (float[n,3] x) => (float[n,3] y) { c = Add(a, b) y = Mul(x, c) }",
            {"a": _normal(3), "b": _normal(3)},
            ["Mul"],
            id="constants",
        ),
        pytest.param(
            # As PyTorch's older exporter writes the amounts of F.pad.
            FoldConstants(),
            "g (float[n,3,8,8] x) => (float[n,3,10,10] y) { rest = ConstantOfShape "
            "<value = int64[1] {0}> (four) all = Concat <axis = 0> (sides, rest) "
            "pairs = Reshape(all, two) turned = Slice(pairs, last, first, axis, back) "
            "columns = Transpose <perm = [1, 0]> (turned) pads = Reshape(columns, flat) "
            "y = Pad(x, pads) }",
            {
                "four": np.array([4]),
                "sides": np.array([1, 1, 1, 1]),
                "two": np.array([-1, 2]),
                "last": np.array([-1]),
                "first": np.array([np.iinfo(np.int64).min + 1]),
                "axis": np.array([0]),
                "back": np.array([-1]),
                "flat": np.array([-1]),
            },
            ["Pad"],
            id="amounts of padding",
        ),
        pytest.param(
            ExtractConstantToInitializer(),
            "g (float[n,3] x) => (float[n,3] y) "
            "{ c = Constant <value = float[3] {1.0, 2.0, 3.0}> () y = Mul(x, c) }",
            {},
            ["Mul"],
            id="constant node",
        ),
        pytest.param(
            EliminateNoop(),
            "g (float[n,3] x) => (float[n,3] y) "
            "{ a = Cast <to = 1> (x) b = Mul(a, one) c = Add(b, zero) y = Relu(c) }",
            {"one": np.ones((), np.float32), "zero": np.zeros((), np.float32)},
            ["Relu"],
            id="no-op arithmetic",
        ),
        pytest.param(
            FuseConsecutiveTransposes(),
            "g (float[n,3,4,5] x) => (float[n,3,4,5] y) { a = Transpose <perm = [0, 2, 3, 1]> (x) "
            "b = Transpose <perm = [0, 3, 1, 2]> (a) y = Relu(b) }",
            {},
            ["Relu"],
            id="opposite transposes",
        ),
        pytest.param(
            FuseConsecutiveTransposes(),
            "g (float[n,3,4,5] x) => (float[n,5,3,4] y) { a = Transpose <perm = [0, 2, 3, 1]> (x) "
            "y = Transpose <perm = [0, 2, 3, 1]> (a) }",
            {},
            ["Transpose"],
            id="transposes in a row",
        ),
        pytest.param(
            FusePadIntoConv(),
            "g (float[n,3,8,8] x) => (float[n,4,8,8] y) { a = Pad(x, pads) y = Conv(a, w) }",
            {"w": _normal(4, 3, 3, 3), "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1])},
            ["Conv"],
            id="pad",
        ),
        pytest.param(
            FuseBnIntoConv(),
            "g (float[n,3,8,8] x) => (float[n,4,6,6] y) "
            "{ a = Conv(x, w) y = BatchNormalization(a, scale, bias, mean, variance) }",
            CONV_BN_WEIGHTS,
            ["Conv"],
            id="batch normalization",
        ),
        pytest.param(
            EliminateCommonSubexpressions(),
            "g (float[n,3] x) => (float[n,3] y) { a = Relu(x) b = Relu(x) y = Add(a, b) }",
            {},
            ["Relu", "Add"],
            id="computed twice",
        ),
        pytest.param(
            EliminateDeadNodes(),
            "g (float[n,3] x) => (float[n,3] y) { a = Exp(x) y = Relu(x) }",
            {},
            ["Relu"],
            id="unused node",
        ),
    ],
)
def test_pass_fires(run: Run, one: Pass, text: str, weights: Weights, after: list[str]) -> None:
    report, model = run(one, text, weights)
    assert report.outcome == PassOutcome.KEPT, report.message
    assert _ops(model) == after
    assert report.nodes_after == len(after) < report.nodes_before


@pytest.mark.parametrize(
    ("one", "text", "weights"),
    [
        pytest.param(
            EliminateIdentity(),
            "g (float[n,3] x) => (float[n,3] y) { y = Identity(x) }",
            {},
            id="identity from input to output",
        ),
        pytest.param(
            FoldConstants(),
            "g (float[n,3] x) => (float[n,3] y) { y = Mul(x, a) }",
            {"a": _normal(3)},
            id="one constant operand",
        ),
        pytest.param(
            FoldConstants(),
            "g (float[n,3] x) => (float[4096,n,3] y) { zeros = ConstantOfShape(size) "
            "y = Add(x, zeros) }",
            {"size": np.array([4096, 1, 1])},
            id="large constant of a shape",
        ),
        pytest.param(
            EliminateNoop(),
            "g (float[n,3] x) => (float[n,3] y) { a = Mul(x, two) y = Relu(a) }",
            {"two": np.full((), 2, np.float32)},
            id="factor two",
        ),
        pytest.param(
            EliminateNoop(),
            "g (float[n,3] x) => (float[4,n,3] y) { a = Add(x, zeros) y = Relu(a) }",
            {"zeros": np.zeros((4, 1, 1), np.float32)},
            id="zero that broadcasts",
        ),
        pytest.param(
            FusePadIntoConv(),
            "g (float[n,3,8,8] x) => (float[n,4,8,8] y) "
            '{ a = Pad <mode = "reflect"> (x, pads) y = Conv(a, w) }',
            {"w": _normal(4, 3, 3, 3), "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1])},
            id="reflecting pad",
        ),
        pytest.param(
            FuseBnIntoConv(),
            "g (float[n,3,8,8] x) => (float[n,4,6,6] y, float[n,4,6,6] z) "
            "{ a = Conv(x, w) y = BatchNormalization(a, scale, bias, mean, variance) "
            "z = Relu(a) }",
            CONV_BN_WEIGHTS,
            id="convolution read elsewhere",
        ),
        pytest.param(
            EliminateCommonSubexpressions(),
            "g (float[n,3] x) => (float[n,3] y) { a = Relu(x) b = Elu(x) y = Add(a, b) }",
            {},
            id="different operators",
        ),
        pytest.param(
            DeduplicateInitializers(),
            "g (float[n,3] x) => (float[n,3] y) { a = Mul(x, w) y = Add(a, v) }",
            {"w": _normal(3), "v": -_normal(3)},
            id="different weights",
        ),
        pytest.param(
            EliminateDeadNodes(),
            "g (float[n,3] x) => (float[n,3] y) { y = Relu(x) }",
            {},
            id="all used",
        ),
    ],
)
def test_pass_abstains(run: Run, one: Pass, text: str, weights: Weights) -> None:
    report, model = run(one, text, weights)
    before = report.nodes_before
    assert (report.outcome, report.nodes_after) == (PassOutcome.NO_CHANGE, before), report.message
    assert len(model.graph.node) == before


def test_equal_weights_are_stored_once(run: Run) -> None:
    weight = _normal(3)
    report, model = run(
        DeduplicateInitializers(),
        "g (float[n,3] x) => (float[n,3] y) { a = Mul(x, w) y = Add(a, v) }",
        {"w": weight, "v": weight.copy()},
    )
    assert report.outcome == PassOutcome.KEPT
    assert len(model.graph.initializer) == 1


def test_subgraphs_are_reached(run: Run) -> None:
    report, model = run(
        EliminateIdentity(),
        "g (float[n,3] x) => (float[n,3] y) { flag = Greater(zero, one) y = If (flag) <"
        "then_branch = t () => (float[n,3] a) { b = Identity(x) a = Relu(b) },"
        "else_branch = e () => (float[n,3] c) { c = Exp(x) }> }",
        {"zero": np.zeros((), np.float32), "one": np.ones((), np.float32)},
    )
    assert report.outcome == PassOutcome.KEPT
    assert (report.nodes_before, report.nodes_after) == (5, 4)
    (branch,) = [n for n in model.graph.node if n.op_type == "If"]
    assert [[n.op_type for n in a.g.node] for a in branch.attribute] in (
        [["Relu"], ["Exp"]],
        [["Exp"], ["Relu"]],
    )


def test_names_are_unique_and_say_what_the_pass_does() -> None:
    names = list(available_passes())
    assert len(set(names)) == len(names)
    for name in ("eliminate_identity", "fuse_bn_into_conv", "fold_constants"):
        assert name in names
