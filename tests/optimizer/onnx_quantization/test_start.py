"""A search that begins with the layers that stayed FP32 with other weights of the graph."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from mopt_api.enums import QualityMetric
from mopt_api.spec import QualityGate
from mopt_optimizer.onnx_quantization import (
    SensitivityReport,
    StaticOptions,
    analyze_sensitivity,
    quantize_onnx_static,
)
from mopt_optimizer.onnx_quantization.exclusions import given_back

from .conftest import Samples, Save
from .test_search import ANYWHERE, GATE, deep

pytestmark = pytest.mark.optimizer

LAYERS = 12
OPTIONS = replace(ANYWHERE, gates=(GATE,))


@pytest.fixture
def folder(save: Save, tmp_path: Path) -> Path:
    """Two trainings of one chain of convolutions, of which one computes with an outlier."""
    model = onnx.load(deep(save, LAYERS, 5))
    onnx.save(model, tmp_path / "1.onnx")
    random = np.random.default_rng(0)
    for tensor in model.graph.initializer:
        if tensor.name != "swell":
            values = numpy_helper.to_array(tensor)
            changed = values * (1 + 0.02 * random.standard_normal(values.shape))
            tensor.CopyFrom(numpy_helper.from_array(changed.astype(np.float32), tensor.name))
    onnx.save(model, tmp_path / "2.onnx")
    return tmp_path


def samples() -> Samples:
    random = np.random.default_rng(2)
    return [{"image": random.random((1, 3, 16, 16), dtype=np.float32)} for _ in range(6)]


def searched(
    folder: Path, week: int, *start: str, options: StaticOptions = OPTIONS
) -> SensitivityReport:
    return analyze_sensitivity(folder / f"{week}.onnx", samples(), replace(options, start=start))


@pytest.fixture
def first(folder: Path) -> SensitivityReport:
    found = searched(folder, 1)
    assert found.exclude
    assert 0 < found.int8_mac_share < 1
    assert not found.from_start
    return found


def test_other_weights_start_where_the_last_ones_ended(
    folder: Path, first: SensitivityReport
) -> None:
    alone, warm = searched(folder, 2), searched(folder, 2, *first.exclude)
    assert alone.exclude
    assert warm.from_start
    assert {*warm.exclude} <= {*first.exclude}
    assert warm.trials < alone.trials
    for report in warm.gates:
        assert report.required is not None
        assert report.quality >= report.required


@pytest.mark.parametrize("start", ["conv0", "no such node"])
def test_too_little_is_searched_as_from_nothing(folder: Path, start: str) -> None:
    alone, found = searched(folder, 2), searched(folder, 2, start)
    assert not found.from_start
    assert found.exclude == alone.exclude


def test_more_than_is_needed_is_given_back(folder: Path) -> None:
    alone = searched(folder, 2)
    warm = searched(folder, 2, *alone.exclude, "conv0", "conv9")
    assert warm.from_start
    assert {"conv0", "conv9"}.isdisjoint(warm.exclude)
    assert warm.int8_mac_share >= alone.int8_mac_share


def test_nothing_in_int8_is_no_start(folder: Path) -> None:
    every = [f"conv{index}" for index in range(LAYERS)]
    assert not searched(folder, 2, "swell", *every).from_start


def test_what_holds_in_int8_needs_no_start(folder: Path, first: SensitivityReport) -> None:
    easy = replace(OPTIONS, gates=(QualityGate(metric=QualityMetric.SQNR, minimum=-100),))
    found = searched(folder, 2, *first.exclude, options=easy)
    assert (found.exclude, found.from_start) == ((), False)


def test_the_same_start_gives_the_same_bytes(
    folder: Path, tmp_path: Path, first: SensitivityReport
) -> None:
    options = replace(OPTIONS, start=first.exclude)
    for name in ("a.onnx", "b.onnx"):
        quantize_onnx_static(folder / "2.onnx", tmp_path / name, samples(), options)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_given_back_keeps_what_is_needed() -> None:
    needed = frozenset({1})
    found = given_back(frozenset({0, 1, 2}), [5, 9, 0, 1], lambda out: needed <= out)
    # The third has nothing that INT8 would speed up.
    assert found == {1, 2}
