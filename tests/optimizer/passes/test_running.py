"""Passes that are wrong, useless or broken cost nothing but themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from mopt_api.jobs.prepare_result import PassOutcome
from mopt_optimizer.passes import named_passes
from mopt_optimizer.passes.running import optimize
from mopt_optimizer.progress import Log

if TYPE_CHECKING:
    from .conftest import Cases, Write

pytestmark = pytest.mark.optimizer

Change = Callable[[ir.Model], bool]

TEXT = "g (float[n,3] x) => (float[n,3] y) { a = Mul(x, w) y = Relu(a) }"
WEIGHTS = {"w": np.array([1, -2, 3], np.float32)}


class _Pass:
    """A pass made from a function."""

    def __init__(self, name: str, change: Change) -> None:
        self.name = name
        self._change = change

    def run(self, model: ir.Model) -> bool:
        return self._change(model)


def _drops_relu(model: ir.Model) -> bool:
    node = next(n for n in model.graph if n.op_type == "Relu")
    node.op_type = "Neg"
    return True


def _breaks_graph(model: ir.Model) -> bool:
    next(iter(model.graph)).op_type = "NoSuchOperator"
    return True


def _raises(model: ir.Model) -> bool:
    _drops_relu(model)  # what it did before it failed must not stay either
    raise KeyError("lost")


def _bloats(model: ir.Model) -> bool:
    values = ir.tensor(np.zeros(100_000, np.float32), name="ballast")
    model.graph.register_initializer(ir.Value(name="ballast", const_value=values))
    return True


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_drops_relu, "output y differs by"),
        (_breaks_graph, "the result does not run"),
        (_raises, "it failed: KeyError: 'lost'"),
        (_bloats, "no fewer nodes, and"),
    ],
)
def test_bad_pass_is_rolled_back(
    write: Write, cases: Cases, log: Log, change: Change, message: str
) -> None:
    path = write(TEXT, WEIGHTS)
    before = path.read_bytes()
    (report,) = optimize(path, [_Pass("bad", change)], cases(path), log)
    assert report.outcome == PassOutcome.ROLLED_BACK
    assert message in (report.message or "")
    assert report.nodes_after == report.nodes_before == 2
    assert path.read_bytes() == before


def test_passes_after_a_bad_one_still_run(write: Write, cases: Cases, log: Log) -> None:
    path = write(
        "g (float[n,3] x) => (float[n,3] y) { a = Identity(x) b = Mul(a, w) y = Relu(b) }", WEIGHTS
    )
    reports = optimize(path, [_Pass("bad", _raises), *named_passes()], cases(path), log)
    outcomes = {report.name: report.outcome for report in reports}
    assert outcomes["bad"] == PassOutcome.ROLLED_BACK
    assert outcomes["eliminate_identity"] == PassOutcome.KEPT
    assert [n.op_type for n in onnx.load(path).graph.node] == ["Mul", "Relu"]


def test_wrong_at_one_size_only_is_rolled_back(write: Write, cases: Cases, log: Log) -> None:
    """A result that holds at the example's size and nowhere else."""

    def fixes_batch(model: ir.Model) -> bool:
        model.graph.inputs[0].shape = ir.Shape([1, 3])
        return True

    path = write(TEXT, WEIGHTS)
    (report,) = optimize(path, [_Pass("fixes batch", fixes_batch)], cases(path), log)
    assert report.outcome == PassOutcome.ROLLED_BACK


def test_nothing_to_do_is_reported_as_such(write: Write, cases: Cases, log: Log) -> None:
    path = write(TEXT, WEIGHTS)
    before = path.read_bytes()
    reports = optimize(path, named_passes(), cases(path), log)
    assert {r.outcome for r in reports} == {PassOutcome.NO_CHANGE}
    assert path.read_bytes() == before


def test_second_run_changes_nothing(write: Write, cases: Cases, log: Log, tmp_path: Path) -> None:
    path = write(
        "g (float[n,3] x) => (float[n,3] y) { a = Identity(x) b = Mul(a, w) y = Relu(b) }", WEIGHTS
    )
    optimize(path, named_passes(), cases(path), log)
    assert {r.outcome for r in optimize(path, named_passes(), cases(path), log)} == {
        PassOutcome.NO_CHANGE
    }


def test_sequences_inside_do_not_stop_the_passes(write: Write, cases: Cases, log: Log) -> None:
    # As torch.onnx writes chunk(): a sequence of parts, and each of them taken from it.
    text = """g (float[n,6] x) => (float[n,3] y) {
        parts = SplitToSequence <axis = 1> (x, size)
        one = SequenceAt (parts, first)
        two = SequenceAt (parts, second)
        same = Identity (one)
        y = Mul (same, two)
    }"""
    whole = {"size": np.array(3), "first": np.array(0), "second": np.array(1)}
    path = write(text, whole)
    records = optimize(path, named_passes(), cases(path), log)
    assert PassOutcome.ROLLED_BACK not in {record.outcome for record in records}
    assert {"Identity", "SequenceAt"}.isdisjoint(n.op_type for n in onnx.load(path).graph.node)
