"""What is kept of weights from form to form changes no form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from mopt_optimizer.onnx_files.float_models import open_float_model
from mopt_optimizer.onnx_files.verify import OnnxSession
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


def test_copy_of_a_shared_bias_takes_no_other_tensors_name(save: Save) -> None:
    """As basic-pitch has it: two layers share a bias, and an activation is called like it and a
    number. "Transpose: invalid attribute perm" was what ONNX Runtime said of the mix-up."""
    generator = np.random.default_rng(0)
    weights = {
        "w1": generator.standard_normal((4, 3, 3, 3)).astype(np.float32),
        "w2": generator.standard_normal((4, 3, 3, 3)).astype(np.float32),
        "bias": generator.standard_normal(4).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["image", "w1", "bias"], ["bias0"], "first"),
        helper.make_node("Conv", ["image", "w2", "bias"], ["bias1"], "second"),
        helper.make_node("Sub", ["bias0", "bias1"], ["bias2"], "sub"),
        helper.make_node("Transpose", ["bias2"], ["result"], "transpose", perm=[0, 2, 3, 1]),
    ]
    model = open_float_model(save(nodes, weights))
    ranges = dict.fromkeys(("image", "bias0", "bias1", "bias2", "result"), (-40.0, 40.0)) | {
        "image": (0.0, 1.0)
    }
    written = QdqWriter(model, quantizable_operators(), Scheme.U8S8_REDUCED, per_channel=True)
    form = written.quantized(ranges)
    image = {"image": generator.random((1, 3, 8, 8)).astype(np.float32)}
    expected, found = (OnnxSession(one.SerializeToString()).run(image)[0] for one in (model, form))
    assert np.abs(found - expected).max() < 0.1 * np.abs(expected).max()
