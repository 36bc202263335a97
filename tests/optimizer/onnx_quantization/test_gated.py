"""What a search for INT8 holds to: each output and part, all gates, and its budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from mopt_api.enums import QualityMetric
from mopt_api.spec import OutputSlice, QualityGate
from mopt_optimizer.errors import QuantizationError
from mopt_optimizer.onnx_files.verify import OnnxSession
from mopt_optimizer.onnx_quantization import Scheme, StaticOptions, quantize_onnx_static
from mopt_optimizer.onnx_quantization.budget import Budget, default_seconds
from mopt_optimizer.onnx_quantization.exclusions import fewest_exclusions
from mopt_optimizer.onnx_quantization.judging import Judge
from mopt_optimizer.onnx_quantization.sensitivity import divided
from mopt_optimizer.onnx_quantization.splitting import kept_for, split_samples
from mopt_optimizer.quality import cosine, sqnr

from .conftest import Samples

# Whose numbers are the same on every CPU: without VNNI 8-bit weights saturate.
ANYWHERE = StaticOptions(scheme=Scheme.U8S8_REDUCED)
SCORES = OutputSlice(name="scores", axis=1, range=[4, 84])
BOXES = OutputSlice(name="boxes", axis=1, range=[0, 4])

optimizer = pytest.mark.optimizer


class Detector:
    """Three convolutions, then boxes from 0 to 640 and eighty scores from 0 to 1."""

    def __init__(self) -> None:
        self.generator = np.random.default_rng(0)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, NDArray[Any]] = {"640": np.array(640, np.float32)}
        found = "image"
        for name, channels in (("a", 3), ("b", 16), ("c", 16)):
            found = self.activated("Relu", self.convolved(found, channels, 16, name))
        self.activated("Sigmoid", self.convolved(found, 16, 4, "corner"), "share")
        self.nodes.append(helper.make_node("Mul", ["share", "640"], ["boxes"], "grow"))
        self.activated("Sigmoid", self.convolved(found, 16, 80, "class"), "scores")

    def convolved(self, source: str, channels: int, outputs: int, name: str) -> str:
        values = self.generator.standard_normal((outputs, channels, 3, 3))
        self.weights[f"{name}.w"] = (values / np.sqrt(channels * 4.5)).astype(np.float32)
        self.nodes.append(
            helper.make_node("Conv", [source, f"{name}.w"], [name], name, pads=[1, 1, 1, 1])
        )
        return name

    def activated(self, operator: str, source: str, target: str = "") -> str:
        target = target or f"{source}.on"
        self.nodes.append(helper.make_node(operator, [source], [target], target))
        return target

    def joined(self) -> None:
        self.nodes.append(helper.make_node("Concat", ["boxes", "scores"], ["all"], "join", axis=1))

    def saved(self, path: Path, outputs: Sequence[str]) -> Path:
        graph = helper.make_graph(
            self.nodes,
            "graph",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, "h", "w"])],
            [helper.make_tensor_value_info(o, TensorProto.FLOAT, [None] * 4) for o in outputs],
            [numpy_helper.from_array(values, name) for name, values in self.weights.items()],
        )
        imports = [helper.make_opsetid("", 18)]
        onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), path)
        return path


@pytest.fixture
def joined(tmp_path: Path) -> Path:
    """Boxes and scores in one output."""
    detector = Detector()
    detector.joined()
    return detector.saved(tmp_path / "model.onnx", ["all"])


@pytest.fixture
def pictures() -> Samples:
    generator = np.random.default_rng(1)
    return [{"image": generator.random((1, 3, 12, 12), dtype=np.float32)} for _ in range(4)]


def outputs_of(path: Path, samples: Samples) -> Iterator[list[NDArray[Any]]]:
    session = OnnxSession(path)
    return (session.run(dict(sample)) for sample in samples)


@optimizer
@pytest.mark.parametrize(
    "gate",
    [
        QualityGate(metric=QualityMetric.COSINE, minimum=0.99),
        QualityGate(metric=QualityMetric.SQNR, minimum=18),
        QualityGate(metric=QualityMetric.COSINE, minimum=0.99, slice=SCORES),
    ],
    ids=["cosine", "sqnr", "slice"],
)
def test_scores_beside_boxes_are_held_to_the_gate(
    joined: Path, pictures: Samples, tmp_path: Path, gate: QualityGate
) -> None:
    def worst(path: Path) -> float:
        pairs = zip(outputs_of(joined, pictures), outputs_of(path, pictures), strict=True)
        return min(cosine(a[:, 4:], b[:, 4:]) for (a,), (b,) in pairs)

    plain, gated = tmp_path / "plain.onnx", tmp_path / "gated.onnx"
    quantize_onnx_static(joined, plain, pictures, ANYWHERE)
    # One scale for both: every score is 0.
    assert worst(plain) == 0.0
    report = quantize_onnx_static(joined, gated, pictures, replace(ANYWHERE, gates=(gate,)))
    assert report.gate_holds
    assert worst(gated) >= 0.99
    found = report.sensitivity
    assert found is not None
    # What joins them is enough: the layers stay INT8, and nothing else was tried.
    assert "join" in found.exclude
    assert (found.int8_mac_share, found.trials) == (1.0, 2)


@optimizer
def test_a_gate_on_a_slice_is_on_nothing_else(
    joined: Path, pictures: Samples, tmp_path: Path
) -> None:
    gate = QualityGate(metric=QualityMetric.SQNR, minimum=15, slice=BOXES)
    judge = Judge(onnx.load(joined), pictures, [gate])
    quantize_onnx_static(joined, tmp_path / "plain.onnx", pictures, ANYWHERE)
    judged = judge.judged(onnx.load(tmp_path / "plain.onnx"))
    assert judge.qualities(judged)[0] > 15
    # But scores that are all 0 are no scores.
    assert judged.fault is not None
    assert "is constant" in judged.fault
    assert judge.margin(judged) == -np.inf
    assert not judge.reaches(onnx.load(tmp_path / "plain.onnx"), -100)


@optimizer
def test_every_output_is_held_to_the_gate(pictures: Samples, tmp_path: Path) -> None:
    detector = Detector()
    detector.weights["small"] = np.array(1e-3, np.float32)
    # One channel is fifty times as large: eight bits for all are too coarse for the others.
    detector.weights["b.w"][0] *= 50
    detector.weights["c.w"][:, 0] /= 50
    detector.nodes.append(helper.make_node("Mul", ["c.on", "small"], ["features"], "shrink"))
    network = detector.saved(tmp_path / "model.onnx", ["boxes", "scores", "features"])
    gate = QualityGate(metric=QualityMetric.SQNR, minimum=30)
    out = tmp_path / "q.onnx"
    report = quantize_onnx_static(network, out, pictures, replace(ANYWHERE, gates=(gate,)))
    found = report.sensitivity
    assert found is not None
    assert found.quality_all_int8 < 30
    assert found.int8_mac_share > 0
    for expected, actual in zip(
        outputs_of(network, pictures), outputs_of(out, pictures), strict=True
    ):
        assert min(sqnr(a, b) for a, b in zip(expected, actual, strict=True)) >= 30


@optimizer
def test_all_gates_hold_at_once(joined: Path, pictures: Samples, tmp_path: Path) -> None:
    gates = (
        QualityGate(metric=QualityMetric.SQNR, minimum=23),
        QualityGate(metric=QualityMetric.MAX_ABS_ERROR, maximum=0.1, slice=SCORES),
        QualityGate(metric=QualityMetric.COSINE, minimum=0.9, slice=BOXES),
    )
    out = tmp_path / "q.onnx"
    report = quantize_onnx_static(joined, out, pictures, replace(ANYWHERE, gates=gates))
    assert report.gate_holds
    assert report.sensitivity is not None
    reached = [one.quality for one in report.sensitivity.gates]
    pairs = list(zip(outputs_of(joined, pictures), outputs_of(out, pictures), strict=True))
    scores = [(a[:, 4:], b[:, 4:]) for (a,), (b,) in pairs]
    boxes = [(a[:, :4], b[:, :4]) for (a,), (b,) in pairs]
    assert reached[0] == pytest.approx(min(sqnr(a, b) for a, b in (*scores, *boxes)), abs=0.01)
    assert reached[0] >= 23
    assert -reached[1] == pytest.approx(max(float(np.abs(a - b).max()) for a, b in scores))
    assert -reached[1] <= 0.1
    assert reached[2] == pytest.approx(min(cosine(a, b) for a, b in boxes))


def changed(path: Path, weight: str, values: NDArray[np.float32]) -> onnx.ModelProto:
    """Return a model with another weight."""
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.name == weight:
            tensor.CopyFrom(numpy_helper.from_array(values, weight))
    return model


@optimizer
def test_outputs_that_cannot_be_compared_are_a_fault(joined: Path, pictures: Samples) -> None:
    """Of a candidate: another one of the search may be right."""
    judge = Judge(
        onnx.load(joined),
        pictures,
        [
            QualityGate(metric=QualityMetric.COSINE, minimum=-1),
            QualityGate(metric=QualityMetric.MAX_ABS_ERROR, maximum=1e12),
        ],
    )
    broken = changed(joined, "640", np.array(np.nan, np.float32))
    judged = judge.judged(broken)
    assert judged.fault is not None
    assert "NaN" in judged.fault
    assert np.isfinite(judge.qualities(judged)).all()
    assert judge.margin(judged) == -np.inf
    assert not judge.reaches(broken, -1000)
    assert judge.margin(judge.judged(onnx.load(joined))) > 0


@optimizer
def test_what_only_fp32_computes_is_said(joined: Path, pictures: Samples, tmp_path: Path) -> None:
    gate = QualityGate(metric=QualityMetric.COSINE, minimum=1 - 1e-12)
    message = "only with every layer in FP32; with every layer in INT8, .*is constant.*in FP32"
    with pytest.raises(QuantizationError, match=message):
        quantize_onnx_static(
            joined, tmp_path / "q.onnx", pictures, replace(ANYWHERE, gates=(gate,))
        )


@optimizer
def test_a_search_without_time_takes_what_holds_or_says_so(
    joined: Path, pictures: Samples, tmp_path: Path
) -> None:
    hasty = replace(ANYWHERE, search_seconds=1e-9)
    easy = QualityGate(metric=QualityMetric.COSINE, minimum=0.99)
    out = tmp_path / "q.onnx"
    report = quantize_onnx_static(joined, out, pictures, replace(hasty, gates=(easy,)))
    assert report.gate_holds
    out.unlink()
    hard = QualityGate(metric=QualityMetric.SQNR, minimum=50)
    message = r"budget of 1e-09 s ended before .*; it reached SQNR .* raise searchBudgetSeconds"
    with pytest.raises(QuantizationError, match=message):
        quantize_onnx_static(joined, out, pictures, replace(hasty, gates=(hard,)))
    assert not out.exists()


@given(st.integers(1, 64), st.integers(2, 32))
def test_samples_are_divided_into_two_parts(total: int, most: int) -> None:
    samples: list[dict[str, Any]] = [{"x": index} for index in range(min(total, kept_for(most)))]
    split = split_samples(samples, most)
    both = [one["x"] for one in (*split.searched, *split.held_back)]
    assert len({*both}) == len(both)
    assert 1 <= len(split.searched) <= most
    assert (len(split.held_back) > 0) == (len(samples) >= 8)
    assert len(split.held_back) <= max(len(split.searched), 1)


class Ticking:
    """A clock that goes on by a second whenever it is read."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def test_a_budget_ends_once() -> None:
    budget = Budget(4.0, Ticking())
    assert [budget.used_up(0.5), budget.ended] == [False, False]
    assert [budget.used_up(0.5), budget.ended] == [True, True]
    assert [budget.used_up() for _ in range(3)] == [False, True, True]
    endless = Budget(None, Ticking())
    assert not any(endless.used_up() for _ in range(1000))
    assert not endless.ended


@pytest.mark.parametrize(
    ("run_seconds", "budget"), [(0.001, 60), (0.2, 120), (100.0, 1800)], ids=["least", "", "most"]
)
def test_the_budget_follows_from_the_models_time(run_seconds: float, budget: float) -> None:
    assert default_seconds(run_seconds) == pytest.approx(budget)


@optimizer
def test_the_model_is_timed_by_the_clock(joined: Path, pictures: Samples) -> None:
    assert Judge(onnx.load(joined), pictures, clock=Ticking()).run_seconds == 1 / len(pictures)


@given(st.integers(1, 100), st.integers(0, 100))
def test_exclusions_of_an_ended_search_hold(left: int, needed: int) -> None:
    """Cut short at any time, what it returns was tried, or is everything."""
    count = 100
    known: set[frozenset[int]] = set()
    asked = [0]

    def holds(out: frozenset[int]) -> bool:
        if len(out) >= needed:
            known.add(out)
        return len(out) >= needed

    def ended() -> bool:
        asked[0] += 1
        return asked[0] > left

    found = fewest_exclusions([*range(count)], [1] * count, holds, ended)
    assert len(found) == count or found in known


@given(st.integers(0, 50), st.integers(1, 200))
def test_a_group_is_divided_into_all_of_it(first: int, size: int) -> None:
    parts = divided(first, first + size)
    assert [index for start, stop in parts for index in range(start, stop)] == [
        *range(first, first + size)
    ]
    assert len(parts) == min(4, size)
    assert max(stop - start for start, stop in parts) <= -(-size // 4)
