from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from own_forms import IS_NARROW

from mopt_api.enums import Calibrator, Fallback, QualityMetric, QuantizationMode
from mopt_api.jobs.aim import GateAim
from mopt_api.spec import QualityGate
from mopt_api.variants import Quantization
from mopt_optimizer.data.samples import Inputs
from mopt_optimizer.errors import QuantizationError, SpecError
from mopt_optimizer.forms.names import artifact_name
from mopt_optimizer.forms.qdq import quantize
from mopt_optimizer.onnx_files.verify import OnnxSession

pytestmark = pytest.mark.optimizer


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Two convolutions around a PRelu, weights of very unequal channels, dynamic sizes."""
    generator = np.random.default_rng(0)
    first = generator.standard_normal((8, 3, 3, 3)).astype(np.float32)
    first[0] *= 0.001
    weights = {
        "w1": first,
        "b1": generator.standard_normal(8).astype(np.float32),
        "slope": np.full((8, 1, 1), 0.25, np.float32),
        "w2": generator.standard_normal((3, 8, 3, 3)).astype(np.float32),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "w1", "b1"], ["a"], pads=[1, 1, 1, 1]),
            helper.make_node("PRelu", ["a", "slope"], ["b"]),
            helper.make_node("Conv", ["b", "w2"], ["result"], pads=[1, 1, 1, 1]),
        ],
        "graph",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, "h", "w"])],
        [helper.make_tensor_value_info("result", TensorProto.FLOAT, ["batch", 3, "h", "w"])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    path = tmp_path / "model.onnx"
    imports = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=9), path)
    return path


@pytest.fixture
def samples() -> list[Inputs]:
    """Images of different sizes: nothing may need them to be equal."""
    generator = np.random.default_rng(1)
    return [{"image": generator.random((1, 3, 16 + 8 * n, 24), dtype=np.float32)} for n in range(3)]


ALL_OPTIONS = [
    Quantization(calibrator=calibrator, per_channel=per_channel)
    for calibrator in Calibrator
    for per_channel in (True, False)
]


@pytest.mark.parametrize("options", ALL_OPTIONS, ids=artifact_name)
def test_result_is_smaller_in_explicit_int8_and_close(
    model: Path, samples: list[Inputs], tmp_path: Path, options: Quantization
) -> None:
    quantized = tmp_path / "quantized.onnx"
    quantize(model, quantized, options, samples)
    graph = onnx.load(quantized).graph
    kinds = [node.op_type for node in graph.node]
    assert kinds.count("Conv") == 2
    assert "QuantizeLinear" in kinds
    assert sum(t.data_type == TensorProto.INT8 and len(t.dims) == 4 for t in graph.initializer) == 2
    expected = OnnxSession(model).run(samples[0])[0]
    # Q/DQ as written: kernels without VNNI saturate with 8-bit weights.
    found = OnnxSession(quantized, optimized=False).run(samples[0])[0]
    noise = float(np.mean((found - expected) ** 2))
    signal = float(np.mean(expected**2))
    assert 10 * np.log10(signal / noise) > 25
    # More batch and another size than any sample.
    batch = np.concatenate([samples[0]["image"]] * 3)
    assert OnnxSession(quantized).run({"image": batch})[0].shape == (3, 3, 16, 24)


def test_weights_get_a_scale_per_channel_only_where_asked(
    model: Path, samples: list[Inputs], tmp_path: Path
) -> None:
    counts = {}
    for per_channel in (True, False):
        path = tmp_path / f"{per_channel}.onnx"
        quantize(model, path, Quantization(per_channel=per_channel), samples)
        (scale,) = [t for t in onnx.load(path).graph.initializer if t.name == "w1_scale"]
        counts[per_channel] = numpy_helper.to_array(scale).size
    assert counts == {True: 8, False: 1}


def test_percentile_drops_outliers_that_min_max_keeps(model: Path, tmp_path: Path) -> None:
    # One outlier in 27,648 values: fewer than the 0.01 % that are dropped.
    image = np.random.default_rng(1).random((1, 3, 96, 96), dtype=np.float32)
    image[0, 0, 0, 0] = 1000
    samples: list[Inputs] = [{"image": image}]
    scales = {}
    for calibrator in Calibrator:
        path = tmp_path / f"{calibrator}.onnx"
        quantize(model, path, Quantization(calibrator=calibrator), samples)
        (scale,) = [t for t in onnx.load(path).graph.initializer if t.name == "image_scale"]
        scales[calibrator] = float(numpy_helper.to_array(scale))
    assert scales[Calibrator.MIN_MAX] == pytest.approx(1000 / 255, rel=1e-3)
    assert scales[Calibrator.PERCENTILE] < 10 / 255


@pytest.mark.parametrize("options", ALL_OPTIONS, ids=artifact_name)
def test_same_samples_give_the_same_bytes(
    model: Path, samples: list[Inputs], tmp_path: Path, options: Quantization
) -> None:
    for name in ("a.onnx", "b.onnx"):
        quantize(model, tmp_path / name, options, samples)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


@pytest.mark.parametrize("options", ALL_OPTIONS[1:3], ids=artifact_name)
def test_one_sample_is_in_memory_at_a_time(
    model: Path, samples: list[Inputs], tmp_path: Path, options: Quantization
) -> None:
    class Lazy(list[Inputs]):
        """Gives copies, and counts how many of them are still held."""

        def __iter__(self) -> Iterator[Inputs]:
            return (self[index] for index in range(len(self)))

        def __getitem__(self, index: Any) -> Any:
            asked.append(index)
            gc.collect()
            alive.append(sum(reference() is not None for reference in references))
            values = super().__getitem__(index)["image"].copy()
            references.append(weakref.ref(values))
            return {"image": values}

    asked: list[int] = []
    alive: list[int] = []
    references: list[weakref.ref[np.ndarray]] = []
    lazy = Lazy(samples * 3)
    quantize(model, tmp_path / "q.onnx", options, lazy)
    assert asked[:9] == list(range(9))
    assert max(alive) <= 1


@pytest.mark.parametrize(
    "inputs",
    [
        {"other": np.zeros((1, 3, 8, 8), np.float32)},
        {"image": np.zeros((1, 4, 8, 8), np.float32)},
    ],
    ids=["name", "channels"],
)
def test_calibration_that_fails_says_why(model: Path, tmp_path: Path, inputs: Inputs) -> None:
    message = r"cannot be quantized: calibration sample 1.*input"
    with pytest.raises(QuantizationError, match=message):
        quantize(model, tmp_path / "q.onnx", Quantization(), [inputs])


def test_names_tell_options_apart() -> None:
    assert [artifact_name(options) for options in ALL_OPTIONS] == [
        "int8-minmax-perchannel",
        "int8-minmax-pertensor",
        "int8-percentile-perchannel",
        "int8-percentile-pertensor",
        "int8-entropy-perchannel",
        "int8-entropy-pertensor",
        "int8-mse-perchannel",
        "int8-mse-pertensor",
    ]


def test_names_tell_what_else_makes_another_file() -> None:
    dynamic = Quantization(mode=QuantizationMode.DYNAMIC)
    off = Quantization(fallback=Fallback.OFF)
    assert artifact_name(dynamic, [gate(40)]) == "int8-dynamic-perchannel"
    assert artifact_name(off, [gate(40)]) == artifact_name(off) == artifact_name(Quantization())
    assert artifact_name(Quantization(), [gate(40)]) == "int8-minmax-perchannel-gated"
    hasty = Quantization(search_budget_seconds=60)
    assert artifact_name(hasty, [gate(40)]) == "int8-minmax-perchannel-gated-60s"
    assert artifact_name(hasty) == artifact_name(Quantization())
    excluding = [
        artifact_name(Quantization(exclude=names))
        for names in ([], ["a"], ["a", "b"], ["a,b"], ["b", "a", "a"])
    ]
    assert len(set(excluding)) == 4
    assert excluding[2] == excluding[4]


def kinds(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def integer_convolutions(path: Path) -> int:
    """Return how many convolutions read weights that were 8-bit integers."""
    model = onnx.load(path)
    made = {node.output[0]: node for node in model.graph.node}
    return sum(
        node.op_type == "Conv" and made[node.input[1]].op_type == "DequantizeLinear"
        for node in model.graph.node
        if node.op_type == "Conv" and node.input[1] in made
    )


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A convolution, flattened and multiplied: 10 values come out."""
    generator = np.random.default_rng(0)
    weights = {
        "w1": generator.standard_normal((4, 3, 3, 3)).astype(np.float32),
        "w2": generator.standard_normal((64, 10)).astype(np.float32),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "w1"], ["a"], name="body", strides=[2, 2]),
            helper.make_node("Flatten", ["a"], ["b"]),
            helper.make_node("MatMul", ["b", "w2"], ["result"], name="head"),
        ],
        "graph",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 9, 9])],
        [helper.make_tensor_value_info("result", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    path = tmp_path / "mixed.onnx"
    imports = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=9), path)
    return path


DYNAMIC = Quantization(mode=QuantizationMode.DYNAMIC)


def test_dynamic_needs_no_samples_and_takes_matrix_products(mixed: Path, tmp_path: Path) -> None:
    out = tmp_path / "q.onnx"
    report = quantize(mixed, out, DYNAMIC)
    assert report.quantized_nodes == 1
    assert "MatMulInteger" in kinds(out)
    assert "Conv" in kinds(out)
    image = np.random.default_rng(1).random((2, 3, 9, 9), dtype=np.float32)
    expected, found = (OnnxSession(p).run({"image": image})[0] for p in (mixed, out))
    # Without VNNI the kernel saturates: then less is asked of it.
    share = 0.6 if IS_NARROW else 0.05
    assert 0 < np.abs(found - expected).max() < share * np.abs(expected).max()


@pytest.mark.parametrize("options", [DYNAMIC, Quantization()], ids=["dynamic", "static"])
def test_for_narrow_sums_weights_have_seven_bits(
    mixed: Path, tmp_path: Path, options: Quantization
) -> None:
    image = np.random.default_rng(1).random((2, 3, 9, 9), dtype=np.float32)
    expected = OnnxSession(mixed).run({"image": image})[0]
    for narrow_sums, peak in ((True, 64), (False, 127)):
        out = tmp_path / f"{narrow_sums}.onnx"
        quantize(mixed, out, options, [{"image": image}], narrow_sums=narrow_sums)
        weights = [
            numpy_helper.to_array(tensor).astype(int)
            for tensor in onnx.load(out).graph.initializer
            if tensor.data_type == TensorProto.INT8 and len(tensor.dims) > 1
        ]
        assert weights
        assert max(np.abs(weight).max() for weight in weights) in (peak, peak + 1)
        if narrow_sums:  # Which no CPU computes otherwise than its file says.
            found = OnnxSession(out).run({"image": image})[0]
            assert np.abs(found - expected).max() < 0.1 * np.abs(expected).max()


def test_dynamic_takes_convolutions_where_there_is_nothing_else(
    model: Path, mixed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "q.onnx"
    assert quantize(model, out, DYNAMIC).quantized_nodes == 2
    assert kinds(out).count("ConvInteger") == 2
    headless = DYNAMIC.model_copy(update={"exclude": ["head"]})
    assert quantize(mixed, out, headless).quantized_nodes == 1
    assert {"ConvInteger", "MatMul"} <= set(kinds(out))


@pytest.mark.parametrize(
    ("exclude", "integer"), [([], 2), (["Conv_0"], 1), (["PRelu", "Conv_2"], 1), (["PRelu"], 2)]
)
def test_excluded_nodes_and_operators_stay_float(
    model: Path, samples: list[Inputs], tmp_path: Path, exclude: list[str], integer: int
) -> None:
    quantize(model, tmp_path / "q.onnx", Quantization(exclude=exclude), samples)
    assert integer_convolutions(tmp_path / "q.onnx") == integer


@pytest.mark.parametrize("options", [Quantization(), DYNAMIC], ids=["static", "dynamic"])
def test_exclusion_that_matches_nothing_names_it_and_what_there_is(
    model: Path, samples: list[Inputs], tmp_path: Path, options: Quantization
) -> None:
    wrong = options.model_copy(update={"exclude": ["Conv", "Gemm"]})
    with pytest.raises(QuantizationError, match=r"'Gemm'.*operators are Conv, PRelu.*Conv_0"):
        quantize(model, tmp_path / "q.onnx", wrong, samples)
    assert not (tmp_path / "q.onnx").exists()


def test_exclusion_of_everything_is_told(
    model: Path, samples: list[Inputs], tmp_path: Path
) -> None:
    options = Quantization(exclude=["Conv", "PRelu"])
    with pytest.raises(QuantizationError, match="no node that INT8 can speed up"):
        quantize(model, tmp_path / "q.onnx", options, samples, [gate(10)])


def gate(minimum: float, metric: QualityMetric = QualityMetric.PSNR) -> QualityGate:
    return QualityGate(metric=metric, minimum=minimum)


def psnr_of_worst(model: Path, quantized: Path, samples: list[Inputs]) -> float:
    # Node by node where this CPU's kernels would saturate, as the search does it.
    sessions = [OnnxSession(path, optimized=not IS_NARROW) for path in (model, quantized)]
    pairs = [
        [session.run(dict(sample))[0].astype(np.float64) for session in sessions]
        for sample in samples
    ]
    return min(float(-10 * np.log10(np.mean((a - b) ** 2))) for a, b in pairs)


def test_layers_stay_float_until_the_gate_holds(
    model: Path, samples: list[Inputs], tmp_path: Path
) -> None:
    plain, gated = tmp_path / "plain.onnx", tmp_path / "gated.onnx"
    assert quantize(model, plain, Quantization(), samples).fallbacks == []
    reached = psnr_of_worst(model, plain, samples)
    wanted = gate(reached + 1)
    report = quantize(model, gated, Quantization(), samples, [wanted])
    (found,) = report.fallbacks
    assert found.quality_all_int8 == pytest.approx(reached, abs=0.05)
    assert psnr_of_worst(model, gated, samples) == pytest.approx(found.quality, abs=0.05)
    assert found.required is not None
    assert wanted.minimum is not None
    assert found.quality >= found.required == wanted.minimum + 0.5
    assert found.exclude
    assert 0 < found.int8_mac_share <= 1
    assert report.name == "int8-minmax-perchannel-gated"
    # As bytes the plain one, where nobody asks for more.
    off = Quantization(fallback=Fallback.OFF)
    assert quantize(model, gated, off, samples, [wanted]).fallbacks == []
    assert gated.read_bytes() == plain.read_bytes()


def test_gate_that_holds_anyway_leaves_all_in_int8(
    model: Path, samples: list[Inputs], tmp_path: Path
) -> None:
    plain, gated = tmp_path / "plain.onnx", tmp_path / "gated.onnx"
    quantize(model, plain, Quantization(), samples)
    # Below what saturating kernels reach, on CPUs without VNNI.
    report = quantize(model, gated, Quantization(), samples, [gate(-30)])
    assert [f.exclude for f in report.fallbacks] == [[]]
    assert gated.read_bytes() == plain.read_bytes()


def test_gate_on_the_largest_error_is_made_to_hold(
    model: Path, samples: list[Inputs], tmp_path: Path
) -> None:
    loose = QualityGate(metric=QualityMetric.MAX_ABS_ERROR, maximum=1e6)
    (easy,) = quantize(model, tmp_path / "a.onnx", Quantization(), samples, [loose]).fallbacks
    assert easy.exclude == []
    assert easy.quality > 0
    strict = QualityGate(metric=QualityMetric.MAX_ABS_ERROR, maximum=easy.quality * 0.95)
    (hard,) = quantize(model, tmp_path / "b.onnx", Quantization(), samples, [strict]).fallbacks
    assert hard.exclude
    assert hard.maximum == strict.maximum
    assert hard.required is not None
    assert 0 < hard.quality <= hard.required < easy.quality * 0.95


def test_second_search_holds_the_raised_gate_and_reports_the_gate(
    model: Path, samples: list[Inputs], tmp_path: Path
) -> None:
    first, second = tmp_path / "first.onnx", tmp_path / "second.onnx"
    quantize(model, first, Quantization(), samples)
    wanted = gate(psnr_of_worst(model, first, samples) - 1)
    similar = gate(-1, QualityMetric.SSIM)
    gates, aims = [wanted, similar], [GateAim.of(wanted, 3)]
    (before, _) = quantize(model, first, Quantization(), samples, gates).fallbacks
    (found, other) = quantize(model, second, Quantization(), samples, gates, aims).fallbacks
    assert wanted.minimum is not None
    assert (found.minimum, found.aim_decibels) == (wanted.minimum, 3)
    assert (before.aim_decibels, other.aim_decibels) == (None, None)
    assert found.required == pytest.approx(wanted.minimum + 3 + 0.5)
    assert psnr_of_worst(model, second, samples) >= wanted.minimum + 3
    assert len(found.exclude) > len(before.exclude) == 0
    # Both together take no more than one may.
    assert before.budget_seconds is not None
    assert found.budget_seconds is not None
    options = Quantization(search_budget_seconds=40)
    (limited, _) = quantize(model, second, options, samples, gates, aims).fallbacks
    assert limited.budget_seconds == 20
    assert found.seconds is not None
    assert 0 < found.seconds <= found.budget_seconds


def test_every_gate_is_made_to_hold(model: Path, samples: list[Inputs], tmp_path: Path) -> None:
    plain, gated = tmp_path / "plain.onnx", tmp_path / "gated.onnx"
    quantize(model, plain, Quantization(), samples)
    wanted = gate(psnr_of_worst(model, plain, samples) + 1)
    gates = [gate(-1, QualityMetric.SSIM), wanted]
    report = quantize(model, gated, Quantization(), samples, gates)
    easy, hard = report.fallbacks
    assert (easy.metric, hard.metric) == (QualityMetric.SSIM, QualityMetric.PSNR)
    assert easy.exclude == hard.exclude != []
    assert easy.required is not None
    assert easy.quality > easy.required
    assert easy.layers == []
    assert wanted.passes(psnr_of_worst(model, gated, samples))


def test_gate_that_only_float_reaches_fails_the_quantization(
    model: Path, samples: list[Inputs], tmp_path: Path
) -> None:
    with pytest.raises(QuantizationError, match="the gate holds only with every layer in FP32"):
        quantize(model, tmp_path / "q.onnx", Quantization(), samples, [gate(150)])


def test_similarity_of_what_is_no_image_is_an_error_of_the_spec(
    mixed: Path, tmp_path: Path
) -> None:
    image = np.random.default_rng(0).random((1, 3, 9, 9), np.float32)
    samples: list[Inputs] = [{"image": image}]
    gates = [gate(0.9, QualityMetric.SSIM)]
    with pytest.raises(SpecError, match=r"quality: .*leave SSIM out"):
        quantize(mixed, tmp_path / "q.onnx", Quantization(), samples, gates)
