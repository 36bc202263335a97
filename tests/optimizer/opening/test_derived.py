"""Dimensions that are sums of others, wherever sizes are chosen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mopt_api.benchmark import Benchmark, BenchmarkPoint
from mopt_api.enums import DType, ModelFormat
from mopt_api.inputs import DerivedRange, DimensionRange, InputSpec
from mopt_api.jobs.plan import PreparePlan, benchmark_points, measure_plan, prepare_plan
from mopt_api.spec import ModelOptimizationSpec
from mopt_optimizer.data.declared import check_arrays, declared_inputs
from mopt_optimizer.errors import DimensionError
from mopt_optimizer.opening.inputs import input_shape, verified_sizes
from mopt_optimizer.runtimes.tensorrt.plan import engine_shapes

SPEC = ModelOptimizationSpec.model_validate(
    {
        "model": {"uri": "s3://models/m.onnx", "sha256": "0" * 64, "format": ModelFormat.ONNX},
        "inputs": [
            {"name": "ids", "dtype": "int64", "shape": ["batch", "new"]},
            {"name": "mask", "dtype": "int64", "shape": ["batch", "total"]},
            {"name": "past", "shape": ["batch", 2, "past", 4]},
        ],
        "dimensions": {
            "batch": {"min": 1, "opt": 1, "max": 2},
            "new": {"min": 1, "opt": 4, "max": 8},
            "past": {"min": 3, "opt": 16, "max": 64},
        },
        "derivedDimensions": {"total": {"sumOf": ["past", "new"], "plus": 1}},
    }
)
DIMENSIONS = SPEC.every_dimension


def test_bounds_follow() -> None:
    total = DIMENSIONS["total"]
    assert (total.min, total.opt, total.max) == (5, 21, 73)


def test_every_set_of_sizes_holds_the_sum() -> None:
    found = verified_sizes(SPEC.inputs, DIMENSIONS)
    assert len(found) == 3
    for sizes in found:
        assert sizes["total"] == sizes["past"] + sizes["new"] + 1
        mask = next(i for i in SPEC.inputs if i.name == "mask")
        assert input_shape(mask, sizes) == (sizes["batch"], sizes["total"])


def test_points_hold_the_sum() -> None:
    benchmark = Benchmark(points=[BenchmarkPoint(name="long", dimensions={"past": 50})])
    (point,) = benchmark_points(benchmark, DIMENSIONS)
    assert point.dimensions == {"batch": 1, "new": 4, "past": 50, "total": 55}


def test_plans_carry_the_sum_to_the_jobs() -> None:
    plan = prepare_plan(SPEC, "s3://out")
    read = PreparePlan.model_validate(plan.to_api())
    assert read == plan
    assert isinstance(read.dimensions["total"], DerivedRange)
    assert not isinstance(read.dimensions["past"], DerivedRange)
    measured = measure_plan(
        SPEC, target="default", prepared=f"sha256:{'0' * 64}", output_uri="s3://o"
    )
    assert measured.dimensions == plan.dimensions


def test_plain_dimensions_are_written_as_ever() -> None:
    spec = SPEC.model_copy(update={"derived_dimensions": {}, "inputs": SPEC.inputs[:1]})
    assert prepare_plan(spec, "s3://out").to_api()["dimensions"]["past"] == {
        "min": 3,
        "opt": 16,
        "max": 64,
    }


def test_engines_get_the_sum_of_each_bound() -> None:
    assert engine_shapes(SPEC.inputs, DIMENSIONS)["mask"] == ((1, 5), (1, 21), (2, 73))


@pytest.mark.parametrize(("total", "fits"), [(10, True), (9, False)])
def test_samples_are_held_to_the_sum(total: int, fits: bool) -> None:
    sample: dict[str, Any] = {
        "ids": np.ones((1, 2), np.int64),
        "mask": np.ones((1, total), np.int64),
        "past": np.ones((1, 2, 7, 4), np.float32),
    }
    inputs = declared_inputs(SPEC.inputs, DIMENSIONS)
    if fits:
        check_arrays("0.npz", sample, inputs)
        return
    with pytest.raises(DimensionError, match=r"0.npz: total is 9, but past \+ new \+ 1 is 10"):
        check_arrays("0.npz", sample, inputs)


def test_a_dimension_without_sums_is_as_it_is() -> None:
    only = {"n": DimensionRange(min=2, opt=3, max=4)}
    inputs = [InputSpec(name="x", dtype=DType.INT8, shape=["n"])]
    assert [s["n"] for s in verified_sizes(inputs, only)] == [2, 3]
