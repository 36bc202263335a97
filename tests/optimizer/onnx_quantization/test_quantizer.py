"""What is kept of weights from form to form changes no form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from mopt_optimizer.onnx_files.float_models import open_float_model
from mopt_optimizer.onnx_quantization.qdq import QdqWriter, Scheme, quantizable_operators

from .conftest import Save

pytestmark = pytest.mark.optimizer


@pytest.fixture
def biased(save: Save) -> Path:
    """Two convolutions; the first one's bias overflows unless its weight's scale is raised."""
    generator = np.random.default_rng(0)
    weights = {
        "w1": generator.standard_normal((4, 3, 3, 3)).astype(np.float32) * np.float32(1e-9),
        "b1": np.full(4, 100, np.float32),
        "w2": generator.standard_normal((2, 4, 3, 3)).astype(np.float32),
        "offset": generator.standard_normal((2, 1, 1)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["image", "w1", "b1"], ["a"], "first"),
        helper.make_node("Conv", ["a", "w2"], ["b"], "second"),
        helper.make_node("Add", ["b", "offset"], ["result"], "add"),
    ]
    return save(nodes, weights)


@pytest.mark.parametrize("scheme", [Scheme.U8S8_REDUCED, Scheme.S8S8])
@pytest.mark.parametrize("per_channel", [True, False], ids=["channels", "tensors"])
def test_a_form_is_the_same_after_others(biased: Path, scheme: Scheme, per_channel: bool) -> None:
    model = open_float_model(biased)
    names = ("image", "a", "b", "result")
    ranges = dict.fromkeys(names, (-1.0, 2.0)) | {"image": (0.0, 1e-3)}

    def writer() -> QdqWriter:
        return QdqWriter(model, quantizable_operators(), scheme, per_channel)

    once = writer()
    for exclude in ((), ("second",), ("first", "add"), ("add",), ()):
        expected: onnx.ModelProto = writer().quantized(ranges, exclude)
        found = once.quantized(ranges, exclude)
        assert found.SerializeToString() == expected.SerializeToString()
    kept = {key[0]: scales for key, scales in once.scales.items() if isinstance(key, tuple)}
    assert kept.keys() >= {"w1", "w2", "offset"}
    # Raised in the form that is written, and not in what is kept for others.
    (scale,) = (t for t in expected.graph.initializer if t.name == "w1_scale")
    assert onnx.numpy_helper.to_array(scale).min() > 1e-6
    assert kept["w1"]["scale"].max() < 1e-9
