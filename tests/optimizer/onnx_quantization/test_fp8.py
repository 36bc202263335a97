"""FP8 Q/DQ: scales, stored weights and what ONNX Runtime computes from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from runners import opened

from mopt_api.enums import Precision, QualityMetric, Runtime
from mopt_api.spec import QualityGate
from mopt_optimizer.errors import QuantizationError
from mopt_optimizer.onnx_files.layers import WEIGHTED
from mopt_optimizer.onnx_files.verify import OnnxSession
from mopt_optimizer.onnx_quantization import (
    Calibration,
    Scheme,
    StaticOptions,
    narrow_quantized,
    quantize_onnx_static,
    quantize_onnx_with_ranges,
    raise_opset,
)
from mopt_optimizer.onnx_quantization.fp8 import LARGEST, fp8_scale
from mopt_optimizer.quality import sqnr

pytestmark = pytest.mark.optimizer

Save = Callable[..., Path]
Samples = list[dict[str, NDArray[np.float32]]]
OPTIONS = StaticOptions(
    scheme=Scheme.FP8,
    per_channel=False,
    layer_outputs=False,
    biases=False,
    layers_only=True,
    operators=WEIGHTED,
)


def initializers(path: Path) -> dict[str, onnx.TensorProto]:
    return {tensor.name: tensor for tensor in onnx.load(path).graph.initializer}


def outputs(path: Path, samples: Samples) -> list[NDArray[Any]]:
    session = OnnxSession(path)
    return [session.run(dict(sample))[0] for sample in samples]


def test_the_largest_value_stands_for_the_peak_and_zeros_divide_nothing() -> None:
    assert fp8_scale(np.array([448.0, 1.0, 0.0, 1e-44])).tolist() == [
        1.0,
        np.float32(1 / 448),
        1.0,
        1.0,
    ]


@pytest.mark.parametrize("per_channel", [False, True])
def test_the_file_is_valid_and_its_weights_are_what_quantizelinear_makes(
    network: Path, samples: Samples, tmp_path: Path, per_channel: bool
) -> None:
    out = tmp_path / "fp8.onnx"
    options = StaticOptions(**{**vars(OPTIONS), "per_channel": per_channel})
    report = quantize_onnx_static(network, out, samples, options)
    assert (report.scheme, report.quantized_nodes) == (Scheme.FP8, 4)
    model = onnx.load(out)
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version >= 19
    stored, source = initializers(out), initializers(network)
    for name in ("w1", "w2", "w3", "w4"):
        weight = numpy_helper.to_array(source[name])
        scale = numpy_helper.to_array(stored[f"{name}_scale"])
        peaks = np.abs(weight).max(axis=(1, 2, 3)) if per_channel else np.abs(weight).max()
        np.testing.assert_allclose(scale, peaks / LARGEST, rtol=1e-6)
        assert stored[f"{name}_quantized"].data_type == TensorProto.FLOAT8E4M3FN
        shape = (-1, 1, 1, 1) if per_channel else ()
        expected = (weight / scale.reshape(shape)).astype(ml_dtypes.float8_e4m3fn)
        found = np.frombuffer(stored[f"{name}_quantized"].raw_data, ml_dtypes.float8_e4m3fn)
        np.testing.assert_array_equal(found.reshape(weight.shape), expected)


def test_activations_have_one_scale_by_their_range(
    network: Path, samples: Samples, tmp_path: Path
) -> None:
    out = tmp_path / "fp8.onnx"
    quantize_onnx_static(network, out, samples, OPTIONS)
    stored = initializers(out)
    image = max(float(np.abs(sample["image"]).max()) for sample in samples)
    assert numpy_helper.to_array(stored["image_scale"]) == pytest.approx(image / LARGEST)
    kinds = {tensor.data_type for name, tensor in stored.items() if name.endswith("_zero_point")}
    assert kinds == {TensorProto.FLOAT8E4M3FN}


def test_fp8_holds_what_one_scale_for_eight_bits_of_integers_does_not(
    network: Path, samples: Samples, tmp_path: Path
) -> None:
    """A channel is 1000 times larger than the others: floats keep both."""
    expected, found = outputs(network, samples), {}
    for scheme in (Scheme.FP8, Scheme.S8S8):
        out = tmp_path / f"{scheme}.onnx"
        quantize_onnx_static(
            network, out, samples, StaticOptions(**{**vars(OPTIONS), "scheme": scheme})
        )
        pairs = zip(expected, outputs(out, samples), strict=True)
        found[scheme] = min(sqnr(a, b) for a, b in pairs)
    assert found[Scheme.FP8] > 15
    # Biases are corrected: what is left of the others is their mean.
    assert found[Scheme.S8S8] < 5


def test_known_ranges_give_the_same_outputs(
    network: Path, samples: Samples, tmp_path: Path
) -> None:
    calibrated, known = tmp_path / "calibrated.onnx", tmp_path / "known.onnx"
    quantize_onnx_static(network, calibrated, samples, OPTIONS)
    model = onnx.load(calibrated)
    scales = initializers(calibrated)
    ranges = {}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            peak = float(numpy_helper.to_array(scales[node.input[1]])) * LARGEST
            ranges[node.input[0]] = (-peak, peak)
    assert quantize_onnx_with_ranges(network, known, ranges, OPTIONS) == 4
    for sample in samples:
        np.testing.assert_allclose(
            OnnxSession(known).run(dict(sample))[0],
            OnnxSession(calibrated).run(dict(sample))[0],
            rtol=1e-3,
            atol=1e-3,
        )


def test_a_gate_keeps_layers_in_fp32(network: Path, samples: Samples, tmp_path: Path) -> None:
    out = tmp_path / "fp8.onnx"
    gate = QualityGate(metric=QualityMetric.SQNR, minimum=20)
    options = StaticOptions(
        **{**vars(OPTIONS), "gates": (gate,), "calibration": Calibration.MIN_MAX, "margin_db": 0.0}
    )
    report = quantize_onnx_static(network, out, samples, options)
    assert report.gate_holds
    assert report.sensitivity is not None
    assert 0 < report.quantized_nodes < 4
    pairs = zip(outputs(network, samples), outputs(out, samples), strict=True)
    assert min(sqnr(a, b) for a, b in pairs) >= 20


def test_the_rest_can_be_fp16(network: Path, samples: Samples, tmp_path: Path) -> None:
    raised, fp8, mixed = (tmp_path / f"{name}.onnx" for name in ("raised", "fp8", "mixed"))
    raise_opset(network, raised)
    quantize_onnx_static(raised, fp8, samples, OPTIONS)
    report = narrow_quantized(raised, fp8, mixed, samples)
    assert report.converted
    onnx.checker.check_model(onnx.load(mixed), full_check=True)
    pairs = zip(outputs(fp8, samples), outputs(mixed, samples), strict=True)
    # Values that land on the other side of a step: less than FP8's own noise.
    assert min(sqnr(a, b) for a, b in pairs) > 18


def test_onnx_runtime_computes_what_the_file_says(
    network: Path, samples: Samples, tmp_path: Path
) -> None:
    """Its optimizations leave out a Relu before FP8, as it may in integers: they are off.

    Both where files are verified and where a variant is evaluated.
    """
    out = tmp_path / "fp8.onnx"
    quantize_onnx_static(network, out, samples, OPTIONS)
    plain = OnnxSession(out, optimized=False)
    with opened(Runtime.ONNX_RUNTIME, Precision.FP8, out, threads=1) as runner:
        for sample, found in zip(samples, outputs(out, samples), strict=True):
            expected = plain.run(dict(sample))[0]
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
            (evaluated,) = runner.run(sample).values()
            np.testing.assert_allclose(evaluated, expected, rtol=1e-3, atol=1e-3)


def test_weights_in_other_files_are_refused(
    network: Path, samples: Samples, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.onnx"
    onnx.save(
        onnx.load(network), outside, save_as_external_data=True, size_threshold=0, location="w.bin"
    )
    with pytest.raises(QuantizationError, match="keeps weights in another file"):
        quantize_onnx_static(outside, tmp_path / "fp8.onnx", samples, OPTIONS)


def test_a_model_without_layers_is_refused(save: Save, samples: Samples, tmp_path: Path) -> None:
    path = save([helper.make_node("Relu", ["image"], ["result"], "relu")], {})
    with pytest.raises(QuantizationError, match="no node that FP8 can speed up"):
        quantize_onnx_static(path, tmp_path / "fp8.onnx", samples, OPTIONS)
