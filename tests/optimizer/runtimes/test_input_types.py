"""Inputs of every element type, and scalars, in every runtime that runs here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from runners import opened

from mopt_api.enums import DType, Precision, Runtime
from mopt_api.inputs import DimensionRange, InputSpec
from mopt_optimizer.data.arrays import local_arrays
from mopt_optimizer.data.declared import declared_inputs
from mopt_optimizer.onnx_files.verified_inputs import verified_inputs
from mopt_optimizer.timing.interleave import batch_size, benchmark_feeds

pytestmark = pytest.mark.optimizer

INPUTS = ("x", "scale")
DIMENSIONS = {"n": DimensionRange(min=2, opt=3, max=4)}


def specs(dtype: DType) -> list[InputSpec]:
    return [
        InputSpec(name="x", dtype=dtype, shape=["n", 4]),
        InputSpec(name="scale", dtype=dtype, shape=[]),
    ]


def model(dtype: DType, path: Path) -> Path:
    """Write y = float(x) + float(scale), and z = x as it is."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype.value))
    nodes = [
        helper.make_node("Cast", ["x"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["scale"], ["one"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["wide", "one"], ["y"]),
        helper.make_node("Concat", ["x", "x"], ["z"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "types",
        [
            helper.make_tensor_value_info("x", kind, ["n", 4]),
            helper.make_tensor_value_info("scale", kind, []),
        ],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4]),
            helper.make_tensor_value_info("z", kind, ["n", 8]),
        ],
    )
    opsets = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


@pytest.mark.parametrize("runtime", [Runtime.ONNX_RUNTIME, Runtime.OPENVINO])
@pytest.mark.parametrize("dtype", list(DType))
def test_onnx_takes_every_type(dtype: DType, runtime: Runtime, tmp_path: Path) -> None:
    path = model(dtype, tmp_path / "model.onnx")
    with opened(runtime, Precision.FP32, path) as runner:
        for feeds in (one.inputs for one in verified_inputs(specs(dtype), DIMENSIONS)):
            assert feeds["scale"].shape == ()
            runner.bind(feeds)()
            y, z = runner.run(feeds).values()
            wanted = feeds["x"].astype(np.float32) + feeds["scale"].astype(np.float32)
            np.testing.assert_allclose(y, wanted, rtol=1e-3)
            assert z.dtype == feeds["x"].dtype
            np.testing.assert_array_equal(z, np.concatenate([feeds["x"]] * 2, axis=1))


@pytest.mark.parametrize("dtype", list(DType))
def test_pytorch_takes_every_type(dtype: DType, tmp_path: Path) -> None:
    import torch

    class Types(torch.nn.Module):
        def forward(self, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
            return x.float() + scale.float()

    kind = getattr(torch, dtype.value)
    example = (torch.ones(2, 4).to(kind), torch.ones(()).to(kind))
    program = torch.export.export(
        Types(), example, dynamic_shapes={"x": {0: torch.export.Dim.AUTO}, "scale": None}
    )
    torch.export.save(program, tmp_path / "model.pt2")
    with opened(Runtime.PYTORCH, Precision.FP32, tmp_path / "model.pt2") as runner:
        for feeds in (one.inputs for one in verified_inputs(specs(dtype), DIMENSIONS)):
            runner.bind(feeds)()
            (y,) = runner.run(feeds).values()
            wanted = feeds["x"].astype(np.float32) + feeds["scale"].astype(np.float32)
            np.testing.assert_allclose(y, wanted, rtol=1e-3)


@pytest.mark.parametrize("dtype", list(DType))
def test_arrays_of_every_type_are_data(dtype: DType, tmp_path: Path) -> None:
    feeds = verified_inputs(specs(dtype), DIMENSIONS)[0].inputs
    np.savez(tmp_path / "0.npz", x=feeds["x"], scale=feeds["scale"])
    (sample,) = local_arrays(tmp_path, declared_inputs(specs(dtype), DIMENSIONS))
    assert {name: sample[name].dtype.name for name in INPUTS} == dict.fromkeys(INPUTS, dtype.value)
    assert sample["scale"].shape == ()
    timed = benchmark_feeds(specs(dtype), {"n": 3}, [sample])
    assert [timed[name].shape for name in INPUTS] == [(3, 4), ()]
    assert timed["scale"] == sample["scale"]


def test_the_batch_is_that_of_an_input_with_axes() -> None:
    x, scale = specs(DType.FLOAT32)
    assert batch_size([scale, x], {"n": 3}) == 3
    assert batch_size([scale], {}) == 1
