"""Small ONNX files for TensorRT, and engines of them by TensorRT for RTX."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from mopt_api.enums import Precision
from mopt_optimizer.digests import bytes_digest
from mopt_optimizer.runtimes.tensorrt.backends import Backend, BackendName
from mopt_optimizer.runtimes.tensorrt.manifest import EngineManifest, TensorEntry

Save = Callable[..., Path]
DATA = b"an engine"


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Return what writes a graph with an input, `x` by default, and the output `y`."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def write(
        nodes: Sequence[onnx.NodeProto],
        weights: Mapping[str, Any] | None = None,
        *,
        shape: Sequence[int | str] = ("batch", 3, "height", "width"),
        kind: int = TensorProto.FLOAT,
        opset: int = 18,
        domain: str = "",
        name: str = "x",
    ) -> Path:
        graph = helper.make_graph(
            list(nodes),
            "graph",
            [helper.make_tensor_value_info(name, kind, list(shape))],
            [helper.make_tensor_value_info("y", kind, [None] * len(shape))],
            [numpy_helper.from_array(values, key) for key, values in (weights or {}).items()],
        )
        opsets = [helper.make_opsetid("", opset)]
        if domain:
            opsets.append(helper.make_opsetid(domain, 1))
        path = tmp_path / "model.onnx"
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
        return path

    return write


@pytest.fixture
def manifest() -> EngineManifest:
    """What is beside an engine of DATA, built ahead of time for two GPUs."""
    return EngineManifest(
        digest=bytes_digest(DATA),
        size_bytes=len(DATA),
        backend=BackendName.TENSORRT_RTX,
        tensorrt_version="1.7.1.116",
        compute_capabilities=["8.6", "8.9"],
        precision=Precision.FP16,
        tf32=True,
        inputs=[
            TensorEntry(
                name="x",
                dtype="float32",
                shape=[-1, 3],
                minimum=[1, 3],
                optimum=[2, 3],
                maximum=[4, 3],
            )
        ],
        outputs=[TensorEntry(name="y", dtype="float32", shape=[-1, 3])],
        layer_datatypes={"FP16": 5},
        source_digest=bytes_digest(b"onnx"),
    )


@pytest.fixture
def rtx_stub() -> Backend:
    """A backend by name and version alone, for what needs no library."""
    return Backend(BackendName.TENSORRT_RTX, "1.7.1.116", object())
