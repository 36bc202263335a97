"""The search for the layers that stay FP32: what it tries, and that what it finds holds."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import helper

from mopt_api.enums import Aggregate, QualityMetric
from mopt_api.spec import QualityGate
from mopt_optimizer.onnx_files.verify import OnnxSession
from mopt_optimizer.onnx_quantization import Scheme, StaticOptions, quantize_onnx_static
from mopt_optimizer.onnx_quantization.exclusions import fewest_exclusions
from mopt_optimizer.onnx_quantization.judging import Judge
from mopt_optimizer.onnx_quantization.splitting import split_samples
from mopt_optimizer.onnx_quantization.unseen import noise_gap
from mopt_optimizer.quality import sqnr

from .conftest import Samples, Save

# Whose numbers are the same on every CPU: without VNNI 8-bit weights saturate.
ANYWHERE = StaticOptions(scheme=Scheme.U8S8_REDUCED)
GATE = QualityGate(metric=QualityMetric.SQNR, minimum=20.0)


@given(st.lists(st.integers(0, 100), min_size=1, max_size=30), st.data())
def test_exclusions_are_enough_and_few(noises: list[int], data: st.DataObject) -> None:
    """Noise that adds up: the fewest of the order that hold, less some that were not needed."""
    allowed = data.draw(st.integers(0, sum(noises)))
    order = sorted(range(len(noises)), key=lambda index: -noises[index])
    tried = []

    def holds(excluded: frozenset[int]) -> bool:
        tried.append(excluded)
        return sum(n for index, n in enumerate(noises) if index not in excluded) <= allowed

    found = fewest_exclusions(order, [1] * len(noises), holds)
    assert len(found) == 1 or holds(found)
    assert len(tried) <= 5 + 8 + 1


def test_layers_that_gain_nothing_are_not_tried_again() -> None:
    tried: list[frozenset[int]] = []

    def holds(excluded: frozenset[int]) -> bool:
        tried.append(excluded)
        return len(excluded) >= 2

    assert fewest_exclusions([0, 1, 2], [1, 1000, 1], holds) == {0, 1}
    assert tried == [{0}, {0, 1}, {0}] or tried == [{0}, {0, 1}]


def deep(save: Save, convolutions: int, bad: int) -> Path:
    """Return a chain of convolutions; the values before one of them have a thousandfold outlier."""
    generator = np.random.default_rng(1)
    nodes, weights, name = [], {}, "image"
    channels = 3
    for index in range(convolutions):
        scale = 1 / np.sqrt(channels * 9)
        values = (generator.standard_normal((8, channels, 3, 3)) * scale).astype(np.float32)
        swell = np.ones((1, channels, 1, 1), np.float32)
        if index == bad:
            swell[0, 0] = 1000
            values[:, 0] *= 0.001
            weights["swell"] = swell
            nodes.append(helper.make_node("Mul", [name, "swell"], ["swollen"], "swell"))
            name = "swollen"
        weights[f"w{index}"] = values
        out = "result" if index == convolutions - 1 else f"t{index}"
        nodes.append(
            helper.make_node("Conv", [name, f"w{index}"], [out], f"conv{index}", pads=[1, 1, 1, 1])
        )
        name, channels = out, 8
    return save(nodes, weights)


@pytest.mark.optimizer
def test_the_noisy_layer_is_found_among_groups(save: Save, tmp_path: Path) -> None:
    network = deep(save, 12, 5)
    generator = np.random.default_rng(2)
    samples: Samples = [
        {"image": generator.random((1, 3, 16, 16), dtype=np.float32)} for _ in range(6)
    ]
    report = quantize_onnx_static(
        network, tmp_path / "q.onnx", samples, replace(ANYWHERE, gates=(GATE,))
    )
    found = report.sensitivity
    assert found is not None
    assert "conv5" in found.exclude or "conv4" in found.exclude
    assert report.gate_holds
    # With twelve layers one by one there would be more: two before, and six at most after that.
    assert found.trials < 2 + 12 + 6
    unlooked = [layer.quality_alone for layer in found.layers]
    assert len({*unlooked}) < len(unlooked)


def noisy(model: onnx.ModelProto, amount: float) -> onnx.ModelProto:
    """Return a model whose weights are off by a share."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for tensor in changed.graph.initializer:
        values: NDArray[Any] = onnx.numpy_helper.to_array(tensor) * np.float32(1 + amount)
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    return changed


@pytest.mark.optimizer
@pytest.mark.parametrize("aggregate", Aggregate)
def test_reaching_a_quality_is_having_it(save: Save, aggregate: Aggregate) -> None:
    model = onnx.load(deep(save, 2, 1))
    generator = np.random.default_rng(3)
    samples: Samples = [
        {"image": generator.random((1, 3, 8, 8), dtype=np.float32) * scale}
        for scale in (1.0, 5.0, 0.1, 2.0)
    ]
    gate = QualityGate(metric=QualityMetric.MAX_ABS_ERROR, maximum=1.0, aggregate=aggregate)
    judge = Judge(model, samples, [gate])
    for amount in (1e-4, 1e-3, 0.1, 1e-3, 0.1):
        changed = noisy(model, amount)
        margin = judge.margin(judge.judged(changed))
        for off in (-1e-6, 0.0, 1e-6):
            assert judge.reaches(changed, margin + off) is (off <= 0)
    assert judge.judged(changed, [1]).values == judge.judged(changed).values[1:2]
    assert judge.reaches(model, 100.0)


@pytest.mark.parametrize(
    ("seen", "unseen", "lost"),
    [(10.0, 8.0, 2.0), (8.0, 10.0, 0.0), (10.0, -10.0, 6.0), (math.inf, 10.0, 0.0)],
    ids=["lost", "won", "at most", "exact"],
)
def test_what_is_lost_on_unseen_data(seen: float, unseen: float, lost: float) -> None:
    assert noise_gap(seen, unseen) == pytest.approx(lost)


@pytest.mark.optimizer
def test_the_aim_is_above_the_gate_by_what_unseen_data_loses(save: Save, tmp_path: Path) -> None:
    """Every second sample reaches further than the ranges of the others."""
    network = deep(save, 3, bad=3)
    generator = np.random.default_rng(4)
    alike: Samples = [
        {"image": generator.random((1, 3, 16, 16), dtype=np.float32)} for _ in range(7)
    ]
    apart: Samples = [{"image": one["image"] * (1 + n % 2)} for n, one in enumerate(alike)]

    def aim(samples: Samples) -> float:
        gate = GATE.model_copy(update={"minimum": 1.0})
        options = replace(ANYWHERE, gates=(gate,))
        report = quantize_onnx_static(network, tmp_path / "q.onnx", samples, options)
        assert report.sensitivity is not None
        assert report.sensitivity.required is not None
        return report.sensitivity.required

    assert aim(alike) < aim(apart)
    assert aim(apart) > 2.0
    assert aim(apart[:3]) == 1.5


@pytest.mark.optimizer
def test_what_was_held_back_raises_the_aim(save: Save, tmp_path: Path) -> None:
    """Two of eight images are half as bright: the noise stays, and half the signal is gone."""
    network = deep(save, 8, bad=8)
    generator = np.random.default_rng(5)
    images: Samples = [
        {"image": generator.random((1, 3, 16, 16), dtype=np.float32)} for _ in range(8)
    ]
    faint = [images[index] for index in (3, 7)]
    for one in faint:
        one["image"] *= np.float32(0.5)
    bright = [one for one in images if not any(one is other for other in faint)]
    gate = QualityGate(metric=QualityMetric.SQNR, minimum=27.0)
    options = replace(ANYWHERE, gates=(gate,))
    out = tmp_path / "q.onnx"

    def worst_of_the_faint() -> float:
        quantized, exact = OnnxSession(out), OnnxSession(network)
        return min(sqnr(exact.run({**one})[0], quantized.run({**one})[0]) for one in faint)

    unaware = quantize_onnx_static(network, out, bright, options).sensitivity
    assert unaware is not None
    assert unaware.gates[0].held_back is None
    assert worst_of_the_faint() < 27
    split = split_samples(images, options.search_samples)
    assert [id(one) for one in split.held_back] == [id(one) for one in faint]
    found = quantize_onnx_static(network, out, images, options).sensitivity
    assert found is not None
    (reached,) = found.gates
    assert reached.held_back == pytest.approx(worst_of_the_faint(), abs=1e-3)
    assert worst_of_the_faint() >= 27
    assert reached.required is not None
    assert unaware.required is not None
    assert reached.required > unaware.required
    assert 0 < found.int8_mac_share < 1
