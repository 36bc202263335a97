"""What an engine is built with follows from the variant and the model's inputs."""

from __future__ import annotations

import pytest

from mopt_api.enums import DType, Precision
from mopt_api.inputs import DimensionRange, InputSpec
from mopt_optimizer.errors import SpecError
from mopt_optimizer.runtimes.tensorrt.plan import engine_config, engine_shapes


@pytest.mark.parametrize("precision", list(Precision))
def test_a_config_has_the_precision_of_its_variant(precision: Precision) -> None:
    assert engine_config(precision).precision is precision


def test_what_is_not_in_8_bits_is_in_16() -> None:
    assert engine_config(Precision.INT8).fp16_mode
    assert engine_config(Precision.FP8).fp16_mode


def test_a_config_names_the_gpus_that_are_elsewhere() -> None:
    config = engine_config(
        Precision.FP16, backend="tensorrt_rtx", compute_capabilities=["8.6", "8.9"]
    )
    assert config.compute_capabilities == ("8.6", "8.9")
    assert config.backend == "tensorrt_rtx"
    with pytest.raises(SpecError, match="8-9"):
        engine_config(Precision.FP16, compute_capabilities=["8-9"])


def test_shapes_range_over_named_dimensions_alone() -> None:
    inputs = [
        InputSpec(name="image", shape=["batch", 3, "side", "side"]),
        InputSpec(name="ids", shape=[1, 16], dtype=DType.INT64),
    ]
    dimensions = {
        "batch": DimensionRange(min=1, opt=2, max=8),
        "side": DimensionRange(min=64, opt=128, max=256),
    }
    assert engine_shapes(inputs, dimensions) == {
        "image": ((1, 3, 64, 64), (2, 3, 128, 128), (8, 3, 256, 256)),
        "ids": ((1, 16), (1, 16), (1, 16)),
    }
