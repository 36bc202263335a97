"""Dynamic INT8: which weights become integers, of which type, and every refusal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from mopt_optimizer.errors import ModelError, QuantizationError
from mopt_optimizer.onnx_files.verify import OnnxSession
from mopt_optimizer.onnx_quantization import DynamicOptions, quantize_onnx_dynamic
from mopt_optimizer.quality import sqnr

pytestmark = pytest.mark.optimizer

Samples = list[dict[str, NDArray[np.float32]]]


@pytest.fixture
def matrices(save: Callable[..., Path]) -> Path:
    """Two matrix products, the first with columns of very unequal size."""
    generator = np.random.default_rng(0)
    first = generator.standard_normal((24, 16)).astype(np.float32)
    first[:, 0] *= 1000
    weights = {"w1": first, "w2": generator.standard_normal((16, 8)).astype(np.float32)}
    return save(
        [
            helper.make_node("MatMul", ["image", "w1"], ["a"], "first"),
            helper.make_node("Relu", ["a"], ["b"], "relu"),
            helper.make_node("MatMul", ["b", "w2"], ["result"], "second"),
        ],
        weights,
        shape=("batch", 24),
        rank=2,
    )


def integer_weights(path: Path) -> dict[str, int]:
    """Return the element type of each quantized weight."""
    return {
        t.name.removesuffix("_quantized"): t.data_type
        for t in onnx.load(path).graph.initializer
        if t.name.endswith("_quantized")
    }


@pytest.mark.parametrize("per_channel", [True, False])
def test_matrices_become_signed_integers(matrices: Path, tmp_path: Path, per_channel: bool) -> None:
    out = tmp_path / "q.onnx"
    report = quantize_onnx_dynamic(matrices, out, DynamicOptions(per_channel=per_channel))
    assert (report.path, report.weight_type, report.quantized_nodes) == (out, "QInt8", 2)
    assert integer_weights(out) == dict.fromkeys(("w1", "w2"), TensorProto.INT8)
    (scale,) = [t for t in onnx.load(out).graph.initializer if t.name == "w1_scale"]
    assert list(scale.dims) == ([16] if per_channel else [])
    feeds = {"image": np.random.default_rng(1).random((5, 24), dtype=np.float32)}
    assert sqnr(OnnxSession(matrices).run(feeds)[0], OnnxSession(out).run(feeds)[0]) > 20


def test_convolutions_only_where_asked_and_unsigned(
    network: Path, samples: Samples, tmp_path: Path
) -> None:
    with pytest.raises(QuantizationError, match="convolutions=True would take its Conv"):
        quantize_onnx_dynamic(network, tmp_path / "q.onnx")
    out = tmp_path / "q.onnx"
    # The third works on values that 8 bits cannot hold side by side.
    options = DynamicOptions(convolutions=True, exclude=("third",))
    report = quantize_onnx_dynamic(network, out, options)
    assert (report.weight_type, report.quantized_nodes) == ("QUInt8", 3)
    assert set(integer_weights(out).values()) == {TensorProto.UINT8}
    assert sqnr(OnnxSession(network).run(samples[0])[0], OnnxSession(out).run(samples[0])[0]) > 20


def test_excluded_node_keeps_its_weight(matrices: Path, tmp_path: Path) -> None:
    out = tmp_path / "q.onnx"
    assert quantize_onnx_dynamic(matrices, out, DynamicOptions(exclude=("first",))).quantized_nodes
    assert set(integer_weights(out)) == {"w2"}


def test_same_model_gives_the_same_bytes(matrices: Path, tmp_path: Path) -> None:
    for name in ("a.onnx", "b.onnx"):
        quantize_onnx_dynamic(matrices, tmp_path / name)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_matrix_product_without_a_weight_is_refused(
    save: Callable[..., Path], tmp_path: Path
) -> None:
    node = helper.make_node("MatMul", ["image", "image"], ["result"])
    path = save([node], {}, shape=("n", "n"), rank=2)
    with pytest.raises(QuantizationError, match="none of its 1 candidates"):
        quantize_onnx_dynamic(path, tmp_path / "q.onnx")
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


def test_garbage_is_refused(tmp_path: Path) -> None:
    (tmp_path / "garbage.onnx").write_bytes(b"garbage")
    with pytest.raises(ModelError, match="not an ONNX model"):
        quantize_onnx_dynamic(tmp_path / "garbage.onnx", tmp_path / "q.onnx")
