"""NNCF's INT8 as ONNX: the best of its ways, and the layers that stay FP32 for a gate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from mopt_api.enums import QualityMetric
from mopt_api.spec import QualityGate
from mopt_optimizer.errors import QuantizationError
from mopt_optimizer.onnx_files.verify import OnnxSession
from mopt_optimizer.onnx_quantization.gated import Gating
from mopt_optimizer.quality import sqnr
from mopt_optimizer.runtimes.openvino import NncfOptions, NncfRanges, quantize_openvino_nncf
from mopt_optimizer.runtimes.openvino.nncf_onnx import candidates

pytestmark = pytest.mark.optimizer

Samples = list[dict[str, NDArray[np.float32]]]

HEADER = '<ir_version: 9, opset_import: ["" : 18]>'
DENSE = f"""{HEADER}
g (float[n,2,8,8] x) => (float[n,2,8,8] y) <float[2,2,1,1] w = {{1, 2, 3, 4}}> {{ y = Conv (x, w) }}
"""
DEPTHWISE = f"""{HEADER}
g (float[n,2,8,8] x) => (float[n,2,8,8] y) <float[2,1,1,1] w = {{1, 2}}> {{
    y = Conv <group = 2> (x, w)
}}"""
EASY = QualityGate(metric=QualityMetric.SQNR, minimum=1.0)


def worst(model: Path, out: Path, samples: Samples) -> float:
    """Return the SQNR of the worst sample."""
    sessions = [OnnxSession(path, optimized=False) for path in (model, out)]
    pairs = [[session.run(dict(sample))[0] for session in sessions] for sample in samples]
    return min(sqnr(*pair) for pair in pairs)


@pytest.fixture
def many() -> Samples:
    generator = np.random.default_rng(1)
    return [{"image": generator.random((1, 3, 16, 24), dtype=np.float32)} for _ in range(8)]


@pytest.mark.parametrize(("text", "corrections"), [(DENSE, [False]), (DEPTHWISE, [False, True])])
def test_what_is_tried(text: str, corrections: list[bool]) -> None:
    found = candidates(onnx.parser.parse_model(text), NncfOptions(best=True, exclude=("a",)))
    assert [(one.full_correction, one.ranges) for one in found] == [
        (full, ranges) for full in corrections for ranges in NncfRanges
    ]
    assert all((one.best, one.exclude) == (False, ("a",)) for one in found)


def test_the_best_is_one_of_the_ways_made_from_all_samples(
    model: Path, many: Samples, tmp_path: Path
) -> None:
    best, same = tmp_path / "best.onnx", tmp_path / "same.onnx"
    report = quantize_openvino_nncf(model, best, many, NncfOptions(best=True))
    assert not report.options.best
    quantize_openvino_nncf(model, same, many, report.options)
    assert best.read_bytes() == same.read_bytes()
    other = replace(
        report.options,
        ranges=next(one for one in NncfRanges if one is not report.options.ranges),
    )
    # From half of the samples, on the other half, as they were compared.
    qualities = []
    for options in (report.options, other):
        quantize_openvino_nncf(model, same, many[::2], options)
        qualities.append(worst(model, same, many[1::2]))
    assert qualities[0] >= qualities[1]


def test_of_few_samples_nothing_is_tried(model: Path, samples: Samples, tmp_path: Path) -> None:
    out = tmp_path / "a.onnx"
    report = quantize_openvino_nncf(model, out, samples, NncfOptions(best=True))
    assert report.options == NncfOptions()


def test_layers_stay_fp32_until_the_gate_holds(model: Path, many: Samples, tmp_path: Path) -> None:
    plain, gated = tmp_path / "plain.onnx", tmp_path / "gated.onnx"
    quantize_openvino_nncf(model, plain, many)
    missed = worst(model, plain, many) + 2.0
    gate = QualityGate(metric=QualityMetric.SQNR, minimum=missed)
    gating = Gating(gates=(gate,), margin_db=0.0, search_samples=4)
    report = quantize_openvino_nncf(model, gated, many, NncfOptions(gating=gating))
    found = report.sensitivity
    assert found is not None
    assert found.quality_all_int8 < missed <= found.quality
    assert 0 < found.int8_mac_share < 1
    assert set(found.exclude) < {"first", "relu", "second"}
    assert found.gates[0].held_back is not None
    assert worst(model, gated, many) > worst(model, plain, many) + 1.0
    assert report.fake_quantizers == 1
    assert set(OnnxSession(gated).outputs) == {"result"}


def test_what_leaves_int8_computes_as_if_nncf_had_ignored_it(
    model: Path, many: Samples, tmp_path: Path
) -> None:
    gated, ignored = tmp_path / "gated.onnx", tmp_path / "ignored.onnx"
    quantize_openvino_nncf(model, ignored, many)
    missed = worst(model, ignored, many) + 2.0
    gate = QualityGate(metric=QualityMetric.SQNR, minimum=missed)
    gating = Gating(gates=(gate,), margin_db=0.0)
    report = quantize_openvino_nncf(model, gated, many, NncfOptions(gating=gating))
    assert report.sensitivity is not None
    left_out = report.sensitivity.exclude
    assert left_out
    quantize_openvino_nncf(model, ignored, many, NncfOptions(exclude=left_out))
    assert worst(ignored, gated, many) > 80


def test_a_gate_that_only_fp32_reaches(model: Path, many: Samples, tmp_path: Path) -> None:
    gate = QualityGate(metric=QualityMetric.SQNR, minimum=150.0)
    options = NncfOptions(gating=Gating(gates=(gate,)))
    with pytest.raises(QuantizationError, match="only with every layer in FP32"):
        quantize_openvino_nncf(model, tmp_path / "a.onnx", many, options)
    assert not (tmp_path / "a.onnx").exists()


@pytest.mark.parametrize(
    "options", [NncfOptions(best=True), NncfOptions(gating=Gating(gates=(EASY,)))]
)
def test_an_xml_is_neither_chosen_nor_gated(
    model: Path, samples: Samples, tmp_path: Path, options: NncfOptions
) -> None:
    with pytest.raises(QuantizationError, match=r"only an \.onnx is chosen or gated"):
        quantize_openvino_nncf(model, tmp_path / "a.xml", samples, options)


@pytest.mark.parametrize(("narrow_sums", "peak"), [(True, 64), (False, 128)])
def test_for_narrow_sums_no_weight_has_more_than_seven_bits(
    model: Path, samples: Samples, tmp_path: Path, narrow_sums: bool, peak: int
) -> None:
    out = tmp_path / "q.onnx"
    quantize_openvino_nncf(model, out, samples, NncfOptions(narrow_sums=narrow_sums))
    kernels = [
        numpy_helper.to_array(tensor).astype(int)
        for tensor in onnx.load(out).graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) == 4
    ]
    assert len(kernels) == 2
    largest = max(int(np.abs(kernel).max()) for kernel in kernels)
    assert peak // 2 < largest <= peak
