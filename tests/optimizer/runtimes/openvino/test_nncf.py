"""INT8 through NNCF opens in our runner, stays dynamic and close, and never changes by itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from runners import opened
from super_resolution import tiles, write_network

from mopt_api.enums import Precision, Runtime
from mopt_optimizer.errors import CalibrationError, ModelError, QuantizationError
from mopt_optimizer.machine.threads import THREADS_VARIABLE
from mopt_optimizer.quality import sqnr
from mopt_optimizer.runtimes.openvino import NncfOptions, quantize_openvino_nncf
from mopt_optimizer.runtimes.openvino.nncf_call import _limited_sessions

pytestmark = pytest.mark.optimizer

Samples = list[dict[str, NDArray[np.float32]]]


def run(path: Path, feeds: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    with opened(Runtime.OPENVINO, Precision.INT8, path, 1) as runner:
        (output,) = runner.run(feeds).values()
    return output


@pytest.mark.parametrize(
    "options",
    [None, NncfOptions(symmetric=True), NncfOptions(bias_correction=False)],
    ids=["default", "symmetric", "uncorrected"],
)
def test_result_is_int8_and_close_at_other_sizes_too(
    model: Path, samples: Samples, tmp_path: Path, options: NncfOptions | None
) -> None:
    out = tmp_path / "int8.xml"
    report = quantize_openvino_nncf(model, out, samples, options)
    assert (report.path, report.samples, report.fake_quantizers) == (out, 3, 2)
    # Two weights of 8 x 3 x 3 x 3 in a byte each; in FP32 they alone would take 1728.
    assert (tmp_path / "int8.bin").stat().st_size < 1728
    feeds = {"image": np.random.default_rng(2).random((2, 3, 40, 24), dtype=np.float32)}
    assert 25 < sqnr(run(model, feeds), run(out, feeds)) < 80


def test_excluded_node_keeps_its_precision(model: Path, samples: Samples, tmp_path: Path) -> None:
    both, one = tmp_path / "both.xml", tmp_path / "one.xml"
    quantize_openvino_nncf(model, both, samples)
    report = quantize_openvino_nncf(model, one, samples, NncfOptions(exclude=("second",)))
    assert report.fake_quantizers == 1
    expected = run(model, samples[0])
    assert sqnr(expected, run(one, samples[0])) > sqnr(expected, run(both, samples[0]))


def test_biases_are_corrected_where_sizes_are_dynamic(
    model: Path, samples: Samples, tmp_path: Path
) -> None:
    weights = {}
    for corrected in (True, False):
        out = tmp_path / f"{corrected}.xml"
        quantize_openvino_nncf(model, out, samples, NncfOptions(bias_correction=corrected))
        weights[corrected] = out.with_suffix(".bin").read_bytes()
    assert weights[True] != weights[False]


def test_a_real_network_is_closer_to_fp32_for_it(tmp_path: Path) -> None:
    network = write_network(tmp_path)
    calibration = tiles({"astronaut.png": 2, "coffee.png": 2}, tmp_path / "calibration", 48)
    (sample,) = tiles({"chelsea.png": 1}, tmp_path / "evaluation", 48)
    expected, found = run(network, sample), {}
    for corrected in (True, False):
        out = tmp_path / f"{corrected}.xml"
        quantize_openvino_nncf(network, out, calibration, NncfOptions(bias_correction=corrected))
        found[corrected] = sqnr(expected, run(out, sample))
    assert found[True] > found[False]


def test_same_samples_give_the_same_bytes(model: Path, samples: Samples, tmp_path: Path) -> None:
    for name in ("a.xml", "b.xml"):
        quantize_openvino_nncf(model, tmp_path / name, samples)
    assert (tmp_path / "a.xml").read_bytes() == (tmp_path / "b.xml").read_bytes()
    assert (tmp_path / "a.bin").read_bytes() == (tmp_path / "b.bin").read_bytes()


def test_nothing_is_reported_to_the_vendor() -> None:
    # In a process of its own: under pytest NNCF reports nothing anyway.
    program = (
        "from mopt_optimizer.runtimes.openvino.nncf_call import _nncf; _nncf();"
        "from nncf.telemetry.wrapper import telemetry; print(type(telemetry).__name__)"
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith("NNCF")}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "MagicMock"


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([], "no calibration samples"),
        ([{"other": np.zeros((1, 3, 8, 8), np.float32)}], r"inputs \['other'\]"),
        ([{"image": np.zeros((1, 4, 8, 8), np.float32)}], r"shape \(1, 4, 8, 8\)"),
        ([{"image": np.zeros((1, 3, 8, 8))}], "is float64"),
        ([{"image": np.full((1, 3, 8, 8), np.inf, np.float32)}], "sample 1.*NaN or infinity"),
    ],
    ids=["none", "name", "shape", "type", "infinite"],
)
def test_samples_that_do_not_fit(model: Path, tmp_path: Path, bad: Samples, message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        quantize_openvino_nncf(model, tmp_path / "a.xml", bad)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_weights_that_are_not_finite(model: Path, samples: Samples, tmp_path: Path) -> None:
    proto = onnx.load(model)
    weight = numpy_helper.to_array(proto.graph.initializer[1]).copy()
    weight[0, 0, 0, 0] = np.nan
    proto.graph.initializer[1].CopyFrom(numpy_helper.from_array(weight, "w2"))
    onnx.save(proto, model)
    with pytest.raises(ModelError, match="'w2' holds 1 values of 216"):
        quantize_openvino_nncf(model, tmp_path / "a.xml", samples)


def test_wrong_suffix_and_unknown_node(model: Path, samples: Samples, tmp_path: Path) -> None:
    with pytest.raises(QuantizationError, match=r"neither in \.xml nor in \.onnx"):
        quantize_openvino_nncf(model, tmp_path / "a.bin", samples)
    for name in ("a.xml", "a.onnx"):
        with pytest.raises(QuantizationError, match="nowhere"):
            quantize_openvino_nncf(
                model, tmp_path / name, samples, NncfOptions(exclude=("nowhere",))
            )


def test_onnx_is_one_file_of_integers(model: Path, samples: Samples, tmp_path: Path) -> None:
    one, partly = tmp_path / "a.onnx", tmp_path / "b.onnx"
    report = quantize_openvino_nncf(model, one, samples)
    assert report.fake_quantizers == 2
    weights = [t for t in onnx.load(one).graph.initializer if len(t.dims) == 4]
    assert {t.data_type for t in weights} == {onnx.TensorProto.INT8}
    feeds = {"image": np.random.default_rng(2).random((2, 3, 40, 24), dtype=np.float32)}
    expected = run(model, feeds)
    assert 25 < sqnr(expected, run(one, feeds)) < 80
    kept = quantize_openvino_nncf(model, partly, samples, NncfOptions(exclude=("second",)))
    assert kept.fake_quantizers == 1


def test_its_sessions_get_the_threads_that_are_granted(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nncf.onnx.engine import ONNXEngine  # type: ignore[import-untyped]

    monkeypatch.setenv(THREADS_VARIABLE, "3")
    with _limited_sessions():
        limited = ONNXEngine(onnx.load(model)).sess.get_session_options()
    assert limited.intra_op_num_threads == 3
    # Only while NNCF is at work: 0 leaves the choice to ONNX Runtime.
    assert ONNXEngine(onnx.load(model)).sess.get_session_options().intra_op_num_threads == 0


def test_model_without_anything_in_int8_is_refused(tmp_path: Path) -> None:
    header = '<ir_version: 9, opset_import: ["" : 18]>\n'
    text = f"{header}g (float[n,3] x) => (float[n,3] y) {{ y = Exp(x) }}"
    onnx.save(onnx.parser.parse_model(text), tmp_path / "model.onnx")
    samples = [{"x": np.ones((1, 3), np.float32)}]
    with pytest.raises(QuantizationError, match="no node of the model would be INT8"):
        quantize_openvino_nncf(tmp_path / "model.onnx", tmp_path / "int8.onnx", samples)
    assert not (tmp_path / "int8.onnx").exists()
