"""Static INT8: integer types by CPU, opsets, exclusions, the gate, and every refusal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from mopt_api.enums import Aggregate, QualityMetric
from mopt_api.spec import QualityGate
from mopt_optimizer.errors import CalibrationError, DiskError, ModelError, QuantizationError
from mopt_optimizer.onnx_files.verify import OnnxSession
from mopt_optimizer.onnx_quantization import (
    Calibration,
    Scheme,
    StaticOptions,
    StaticReport,
    analyze_sensitivity,
    quantize_onnx_static,
    scheme_for,
)
from mopt_optimizer.onnx_quantization.calibration import METHODS
from mopt_optimizer.onnx_quantization.observing import split_by_bytes
from mopt_optimizer.quality import psnr

pytestmark = pytest.mark.optimizer

Samples = list[dict[str, NDArray[np.float32]]]
U8S8 = StaticOptions(scheme=Scheme.U8S8)
# Whose numbers are the same on every CPU: without VNNI 8-bit weights saturate.
ANYWHERE = StaticOptions(scheme=Scheme.U8S8_REDUCED)
MINIMUM = 38.0
GATE = QualityGate(metric=QualityMetric.PSNR, minimum=MINIMUM, data_range=1.0)


def zero_points(path: Path) -> dict[str, NDArray[Any]]:
    return {
        t.name: numpy_helper.to_array(t)
        for t in onnx.load(path).graph.initializer
        if t.name.endswith("_zero_point")
    }


def weight_values(path: Path, name: str) -> NDArray[Any]:
    (found,) = [t for t in onnx.load(path).graph.initializer if t.name == f"{name}_quantized"]
    return numpy_helper.to_array(found)


@pytest.mark.parametrize(
    ("architecture", "features", "expected"),
    [
        ("x86_64", ["avx2", "avx_vnni"], Scheme.U8S8),
        ("x86_64", ["avx512f", "avx512_vnni"], Scheme.U8S8),
        ("AMD64", ["amx_int8"], Scheme.U8S8),
        ("x86_64", ["avx2", "avx512f"], Scheme.U8S8_REDUCED),
        ("aarch64", ["asimd", "asimddp"], Scheme.S8S8),
    ],
)
def test_integer_types_suit_the_cpu(
    architecture: str, features: list[str], expected: Scheme
) -> None:
    assert scheme_for(architecture, features) is expected


@pytest.mark.parametrize("scheme", [Scheme.U8S8, Scheme.U8S8_REDUCED, Scheme.S8S8])
def test_scheme_decides_types_symmetry_and_weight_bits(
    network: Path, samples: Samples, tmp_path: Path, scheme: Scheme
) -> None:
    out = tmp_path / "q.onnx"
    report = quantize_onnx_static(network, out, samples, StaticOptions(scheme=scheme))
    assert (report.scheme, report.samples, report.path) == (scheme, 4, out)
    point = zero_points(out)["c_zero_point"]
    assert point.dtype == (np.int8 if scheme is Scheme.S8S8 else np.uint8)
    assert (point == 0) == (scheme is Scheme.S8S8)
    largest = np.abs(weight_values(out, "w2").astype(int)).max()
    assert largest == (64 if scheme is Scheme.U8S8_REDUCED else 127)


def test_auto_is_what_suits_this_machine(network: Path, samples: Samples, tmp_path: Path) -> None:
    report = quantize_onnx_static(network, tmp_path / "q.onnx", samples)
    assert report.scheme is not Scheme.AUTO


@pytest.mark.parametrize("opset", [11, 12, 13, 21])
def test_old_opsets_are_converted(
    save: Callable[..., Path], samples: Samples, tmp_path: Path, opset: int
) -> None:
    weight = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    conv = helper.make_node("Conv", ["image", "w"], ["result"])
    path = save([conv], {"w": weight}, opset=opset)
    out = tmp_path / "q.onnx"
    quantize_onnx_static(path, out, samples)
    model = onnx.load(out)
    assert model.opset_import[0].version >= 13
    assert {t.dims[0] for t in model.graph.initializer if t.name == "w_scale"} == {4}
    assert OnnxSession(out).run(samples[0])[0].shape == (1, 4, 14, 22)


def test_samples_may_come_only_once(network: Path, samples: Samples, tmp_path: Path) -> None:
    def once() -> Iterator[dict[str, NDArray[np.float32]]]:
        yield from samples

    options = replace(U8S8, calibration=Calibration.BEST)
    report = quantize_onnx_static(network, tmp_path / "a.onnx", once(), options)
    quantize_onnx_static(network, tmp_path / "b.onnx", samples, options)
    assert (report.samples, report.calibration is Calibration.BEST) == (4, False)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_batches_and_order_change_nothing(save: Callable[..., Path], tmp_path: Path) -> None:
    weight = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    path = save([helper.make_node("Conv", ["image", "w"], ["result"])], {"w": weight})
    images = np.random.default_rng(1).random((6, 3, 12, 12), dtype=np.float32)
    for method in METHODS:
        written = set()
        for batches in (np.split(images, 6), np.split(images, 2), [images[::-1]]):
            out = tmp_path / "q.onnx"
            fed = [{"image": np.ascontiguousarray(batch)} for batch in batches]
            quantize_onnx_static(path, out, fed, replace(U8S8, calibration=method))
            written.add(out.read_bytes())
        assert len(written) == 1


def test_excluded_nodes_and_other_operators_stay(
    network: Path, samples: Samples, tmp_path: Path
) -> None:
    out = tmp_path / "q.onnx"
    options = replace(U8S8, exclude=("third",), operators=("Conv",))
    report = quantize_onnx_static(network, out, samples, options)
    names = {t.name for t in onnx.load(out).graph.initializer}
    assert "w3" in names
    assert {"w1_quantized", "w2_quantized", "w4_quantized"} <= names
    assert report.quantized_nodes == 3


def test_layer_outputs_are_quantized_only_where_asked(
    network: Path, samples: Samples, tmp_path: Path
) -> None:
    counts = []
    for layer_outputs in (True, False):
        out = tmp_path / "q.onnx"
        options = replace(U8S8, layer_outputs=layer_outputs, operators=("Conv",))
        quantize_onnx_static(network, out, samples, options)
        counts.append([n.op_type for n in onnx.load(out).graph.node].count("QuantizeLinear"))
    # Into each Conv, and out of each; one is both.
    assert counts == [8 - 1, 4]


def test_gate_leaves_the_layer_that_costs_quality_in_fp32(
    network: Path, samples: Samples, tmp_path: Path
) -> None:
    out = tmp_path / "q.onnx"
    evaluation: Samples = [
        {"image": np.random.default_rng(7).random((1, 3, 32, 32), dtype=np.float32)}
    ]
    plain = quantize_onnx_static(network, out, samples, ANYWHERE, evaluation=evaluation)
    assert plain.gate_holds is None
    report = quantize_onnx_static(
        network, out, samples, replace(ANYWHERE, gates=(GATE,)), evaluation=evaluation
    )
    found = report.sensitivity
    assert found is not None
    assert found.quality_all_int8 < MINIMUM <= found.quality
    assert found.required == MINIMUM + 0.5
    assert report.gate_holds
    assert 0 < len(found.exclude) < 5
    assert 0 < found.int8_mac_share < 1
    # What the report says is true of the file.
    expected = OnnxSession(network).run(evaluation[0])[0]
    written = OnnxSession(out).run(evaluation[0])[0]
    assert report.evaluation_quality == pytest.approx(psnr(expected, written, 1.0))
    names = {t.name for t in onnx.load(out).graph.initializer}
    excluded = {layer.name for layer in found.layers if layer.excluded}
    for layer, weight in {"first": "w1", "second": "w2", "third": "w3", "fourth": "w4"}.items():
        assert (weight in names) == (layer in excluded)


def test_gate_that_holds_leaves_everything_int8(
    even_network: Path, samples: Samples, tmp_path: Path
) -> None:
    easy = GATE.model_copy(update={"minimum": 1.0})
    report = quantize_onnx_static(
        even_network, tmp_path / "q.onnx", samples, replace(U8S8, gates=(easy,))
    )
    assert report.sensitivity is not None
    assert (report.sensitivity.exclude, report.sensitivity.trials) == ((), 1)
    assert report.sensitivity.int8_mac_share == 1
    quantize_onnx_static(even_network, tmp_path / "plain.onnx", samples, U8S8)
    assert (tmp_path / "q.onnx").read_bytes() == (tmp_path / "plain.onnx").read_bytes()


def test_gate_out_of_reach_is_refused(network: Path, samples: Samples, tmp_path: Path) -> None:
    high = GATE.model_copy(update={"minimum": 150.0})
    with pytest.raises(QuantizationError, match="only with every layer in FP32"):
        quantize_onnx_static(network, tmp_path / "q.onnx", samples, replace(U8S8, gates=(high,)))
    assert not (tmp_path / "q.onnx").exists()


@pytest.mark.parametrize("aggregate", Aggregate)
def test_gate_on_ssim(
    network: Path, samples: Samples, tmp_path: Path, aggregate: Aggregate
) -> None:
    gate = QualityGate(metric=QualityMetric.SSIM, minimum=0.995, aggregate=aggregate)
    options = replace(ANYWHERE, gates=(gate,))
    report = quantize_onnx_static(network, tmp_path / "q.onnx", samples, options)
    assert report.gate_holds
    assert report.sensitivity is not None
    assert report.sensitivity.quality >= 0.995


def test_gate_on_the_maximum_error(even_network: Path, samples: Samples, tmp_path: Path) -> None:
    def quantized(maximum: float) -> StaticReport:
        gate = QualityGate(metric=QualityMetric.MAX_ABS_ERROR, maximum=maximum)
        options = replace(U8S8, gates=(gate,))
        return quantize_onnx_static(even_network, tmp_path / "q.onnx", samples, options)

    easy = quantized(1e6)
    assert easy.sensitivity is not None
    assert (easy.gate_holds, easy.sensitivity.exclude) == (True, ())
    largest = -easy.sensitivity.quality
    assert largest > 0
    found = quantized(0.75 * largest)
    assert found.sensitivity is not None
    assert found.gate_holds
    assert found.sensitivity.exclude
    assert 0 < -found.sensitivity.quality <= 0.75 * largest


def test_analysis_finds_the_cause_and_writes_nothing(
    network: Path, samples: Samples, tmp_path: Path
) -> None:
    report = analyze_sensitivity(network, samples, U8S8)
    noisiest = max(report.layers, key=lambda layer: layer.noise_share)
    assert noisiest.name in ("second", "third")
    assert sum(layer.noise_share for layer in report.layers) == pytest.approx(1)
    assert report.exclude == ()
    assert [layer.name for layer in report.layers] == ["first", "second", "third", "fourth"]
    pixels = 16 * 24
    assert [layer.macs // pixels for layer in report.layers] == [216, 576, 576, 216]
    assert noisiest.name in report.table().splitlines()[1]
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([], "no calibration samples"),
        ([{"other": np.zeros((1, 3, 8, 8), np.float32)}], r"feeds the inputs \['other'\]"),
        ([{"image": np.zeros((1, 4, 8, 8), np.float32)}], r"\(1, 4, 8, 8\).*\(any, 3, any, any\)"),
        ([{"image": np.zeros((3, 8, 8), np.float32)}], r"shape \(3, 8, 8\)"),
        ([{"image": np.zeros((1, 3, 8, 8))}], "is float64, the model takes float32"),
        (
            [{"image": np.full((1, 3, 8, 8), np.nan, np.float32)}],
            "sample 1: input 'image' holds NaN",
        ),
        ([{"image": np.full((1, 3, 8, 8), 3e38, np.float32)}], "sample 1: tensor 'b1'|'a'|'b'"),
        ([{"image": np.zeros((0, 3, 8, 8), np.float32)}], "was empty in all 1 samples"),
    ],
    ids=["none", "name", "channels", "rank", "type", "nan", "overflow", "empty"],
)
def test_samples_that_do_not_fit(network: Path, tmp_path: Path, bad: Samples, message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        quantize_onnx_static(network, tmp_path / "q.onnx", bad)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_sample_the_model_fails_on_is_named(save: Callable[..., Path], tmp_path: Path) -> None:
    weight = np.ones((4, 3, 3, 3), np.float32)
    path = save([helper.make_node("Conv", ["image", "w"], ["result"])], {"w": weight})
    large = {"image": np.zeros((1, 3, 8, 8), np.float32)}
    small = {"image": np.zeros((1, 3, 1, 8), np.float32)}
    with pytest.raises(CalibrationError, match="sample 2: the model cannot run"):
        quantize_onnx_static(path, tmp_path / "q.onnx", [large, small])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weight_that_is_not_finite_is_named(
    network: Path, samples: Samples, tmp_path: Path, value: float
) -> None:
    model = onnx.load(network)
    weight = numpy_helper.to_array(model.graph.initializer[1]).copy()
    weight.flat[:2] = value
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(weight, "w2"))
    onnx.save(model, network)
    with pytest.raises(ModelError, match="weight 'w2' holds 2 values of 576"):
        quantize_onnx_static(network, tmp_path / "q.onnx", samples)


def test_float16_weights_are_refused(
    save: Callable[..., Path], samples: Samples, tmp_path: Path
) -> None:
    conv = helper.make_node("Conv", ["half", "w"], ["result"])
    cast = helper.make_node("Cast", ["image"], ["half"], to=TensorProto.FLOAT16)
    path = save(
        [cast, conv], {"w": np.ones((4, 3, 3, 3), np.float16)}, output_type=TensorProto.FLOAT16
    )
    with pytest.raises(QuantizationError, match="weight 'w' is FLOAT16"):
        quantize_onnx_static(path, tmp_path / "q.onnx", samples)


def test_quantized_model_is_refused(network: Path, samples: Samples, tmp_path: Path) -> None:
    quantize_onnx_static(network, tmp_path / "q.onnx", samples)
    with pytest.raises(QuantizationError, match="quantized already"):
        quantize_onnx_static(tmp_path / "q.onnx", tmp_path / "r.onnx", samples)


def test_model_without_anything_to_quantize(
    save: Callable[..., Path], samples: Samples, tmp_path: Path
) -> None:
    path = save([helper.make_node("Exp", ["image"], ["result"])], {})
    with pytest.raises(QuantizationError, match="no node that INT8 can speed up"):
        quantize_onnx_static(path, tmp_path / "q.onnx", samples)


def test_garbage_and_unknown_names(network: Path, samples: Samples, tmp_path: Path) -> None:
    (tmp_path / "garbage.onnx").write_bytes(b"\x00garbage")
    with pytest.raises(ModelError, match="not an ONNX model"):
        quantize_onnx_static(tmp_path / "garbage.onnx", tmp_path / "q.onnx", samples)
    with pytest.raises(QuantizationError, match="'nowhere'"):
        quantize_onnx_static(
            network, tmp_path / "q.onnx", samples, StaticOptions(exclude=("nowhere",))
        )


@pytest.mark.parametrize(
    "options", [{"percentile": 0.0}, {"percentile": 101.0}, {"search_samples": 0}]
)
def test_options_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        StaticOptions(**options)


def test_full_disk_leaves_what_was_there(
    network: Path, samples: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "q.onnx"
    out.write_bytes(b"before")

    def full(model: onnx.ModelProto, path: Path) -> None:
        with Path("/dev/full").open("wb", buffering=0) as file:
            file.write(b"x")

    monkeypatch.setattr(onnx, "save", full)
    with pytest.raises(DiskError, match="no space left"):
        quantize_onnx_static(network, out, samples)
    assert out.read_bytes() == b"before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "q.onnx"]


def test_tensors_are_fetched_in_parts_of_bounded_size() -> None:
    sizes = {"a": 3, "b": 4, "c": 9, "d": 1, "e": 1}
    assert split_by_bytes(sizes, 7) == [["a", "b"], ["c"], ["d", "e"]]
    assert split_by_bytes({}, 7) == []


def test_search_takes_fewer_samples_where_it_would_compute_too_much(
    network: Path, tmp_path: Path
) -> None:
    generator = np.random.default_rng(3)
    samples: Samples = [
        {"image": generator.random((1, 3, 16, 16), dtype=np.float32) * factor}
        for factor in (1, 50, 1, 50)
    ]
    free = replace(ANYWHERE, gates=(GATE.model_copy(update={"minimum": -1}),), margin_db=0)
    qualities = {}
    for bound in (None, 10**12, 1):
        options = replace(free, search_macs=bound)
        report = quantize_onnx_static(network, tmp_path / "q.onnx", samples, options)
        assert report.sensitivity
        qualities[bound] = report.sensitivity.quality_all_int8
    # Of four samples two are kept, the first and the third: the smaller ones.
    assert qualities[None] == qualities[10**12] < qualities[1] - 3


def test_form_without_a_layer_in_int8_is_refused(
    network: Path, samples: Samples, tmp_path: Path
) -> None:
    """A Relu and a Mul between Q/DQ nodes are slower than in FP32, and smaller by nothing."""
    convolutions = ("first", "second", "third", "fourth")
    with pytest.raises(QuantizationError, match="no layer with weights of it would compute in 8"):
        quantize_onnx_static(
            network, tmp_path / "q.onnx", samples, StaticOptions(exclude=convolutions)
        )
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
