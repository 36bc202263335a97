"""A mask that calibration never saw in use is there when it is used."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from numpy.typing import NDArray

from mopt_optimizer.errors import ModelError, QuantizationError
from mopt_optimizer.onnx_files.verify import OnnxSession
from mopt_optimizer.onnx_quantization import (
    FloatType,
    Scheme,
    StaticOptions,
    convert_float,
    quantize_onnx_dynamic,
    quantize_onnx_static,
)
from mopt_optimizer.quality import cosine
from mopt_optimizer.runtimes.openvino import quantize_openvino_nncf

pytestmark = pytest.mark.optimizer

TOKENS, WIDTH, HEADS = 10, 32, 4

LAYER = """
    q0 = MatMul(x, wq) q1 = Add(q0, b) q2 = Reshape(q1, split) q = Transpose <perm=[0,2,1,3]> (q2)
    k0 = MatMul(x, wk) k1 = Add(k0, b) k2 = Reshape(k1, split) k = Transpose <perm=[0,2,3,1]> (k2)
    v0 = MatMul(x, wv) v1 = Add(v0, b) v2 = Reshape(v1, split) v = Transpose <perm=[0,2,1,3]> (v2)
    raw = MatMul(q, k) scores = Div(raw, root)
    {masked}
    share = Softmax <axis=-1> (sum)
    c0 = MatMul(share, v) c1 = Transpose <perm=[0,2,1,3]> (c0) c2 = Reshape(c1, join)
    c3 = MatMul(c2, wo) c4 = Add(c3, b) c5 = Add(c4, x)
    c = LayerNormalization <axis=-1> (c5, one, b)
    f0 = MatMul(c, wi) f1 = Relu(f0) f2 = MatMul(f1, wu) f3 = Add(f2, c)
    y = LayerNormalization <axis=-1> (f3, one, b)
"""
MASKED = {
    "additive": "m0 = Cast <to=1> (mask) m1 = Sub(unit, m0) m2 = Mul(m1, least) "
    "m = Unsqueeze(m2, axes) sum = Add(scores, m)",
    "additive, of ten thousand": "m0 = Cast <to=1> (mask) m1 = Sub(unit, m0) m2 = Mul(m1, much) "
    "m = Unsqueeze(m2, axes) sum = Add(scores, m)",
    "chosen": "m0 = Cast <to=9> (mask) m = Unsqueeze(m0, axes) sum = Where(m, scores, least)",
    "chosen, infinite": "m0 = Cast <to=9> (mask) m = Unsqueeze(m0, axes) "
    "sum = Where(m, scores, infinite)",
    "from what the sentence holds": "p0 = Slice(x, zero, end, last) p1 = Squeeze(p0, last) "
    "p2 = Greater(p1, pad) m0 = Cast <to=1> (p2) m1 = Sub(unit, m0) m2 = Mul(m1, least) "
    "i0 = Cast <to=1> (mask) i1 = Mul(i0, nothing) m3 = Add(m2, i1) "
    "m = Unsqueeze(m3, axes) sum = Add(scores, m)",
}


def _weights() -> dict[str, NDArray[Any]]:
    generator = np.random.default_rng(0)

    def matrix(rows: int, columns: int, gain: float = 1.0) -> NDArray[np.float32]:
        values = generator.standard_normal((rows, columns)) * gain / np.sqrt(rows)
        result: NDArray[np.float32] = values.astype(np.float32)
        return result

    lowest = np.finfo(np.float32).min
    causal = np.triu(np.full((TOKENS, TOKENS), -np.inf, np.float32), 1)[None, None]
    return {
        **{name: matrix(WIDTH, WIDTH, 1.5) for name in ("wq", "wk", "wv", "wo")},
        "wi": matrix(WIDTH, 2 * WIDTH),
        "wu": matrix(2 * WIDTH, WIDTH),
        "b": np.zeros(WIDTH, np.float32),
        "one": np.ones(WIDTH, np.float32),
        "split": np.array([0, 0, HEADS, WIDTH // HEADS]),
        "join": np.array([0, 0, WIDTH]),
        "root": np.array((WIDTH // HEADS) ** 0.5, np.float32),
        "unit": np.array(1, np.float32),
        "least": np.array(lowest),
        "much": np.array(-1e4, np.float32),
        "infinite": np.array(-np.inf, np.float32),
        "axes": np.array([1, 2]),
        "causal": causal,
        "causal_fill": np.maximum(causal, lowest),
        "pad": np.array(-2, np.float32),
        "nothing": np.array(0, np.float32),
        "zero": np.array([0]),
        "end": np.array([1]),
        "last": np.array([-1]),
    }


def _layer(folder: Path, masked: str) -> Path:
    body = LAYER.format(masked=masked)
    needs = ", int64[n,t] mask" if "(mask)" in body else ""
    text = (
        '<ir_version: 9, opset_import: ["" : 18]>\n'
        f"g (float[n,t,{WIDTH}] x{needs}) => (float[n,t,{WIDTH}] y) {{{body}}}"
    )
    model = onnx.parser.parse_model(text)
    read = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(v, k) for k, v in _weights().items() if k in read
    )
    path = folder / "layer.onnx"
    onnx.save(model, path)
    return path


def _sentences(number: int, *, masked: bool = True) -> list[dict[str, NDArray[Any]]]:
    """Return sentences without padding, of two lengths."""
    generator = np.random.default_rng(1)
    sentences: list[dict[str, NDArray[Any]]] = []
    for index in range(number):
        length = TOKENS if index % 2 or not masked else TOKENS - 2
        x = generator.standard_normal((1, length, WIDTH)).astype(np.float32)
        x[..., 0] = np.abs(x[..., 0])  # Below -2 it marks padding.
        mask = {"mask": np.ones((1, length), np.int64)} if masked else {}
        sentences.append({"x": x, **mask})
    return sentences


def _padded() -> dict[str, NDArray[Any]]:
    (sample,) = _sentences(2)[1:]
    sample["mask"] = np.array([[1] * 6 + [0] * 4])
    sample["x"][:, 6:] = np.where(np.arange(WIDTH) % 2, 2.5, -2.5)
    return sample


def _similarity(path: Path, form: Path, sample: dict[str, NDArray[Any]], tokens: int) -> float:
    (expected,), (found,) = (OnnxSession(file).run(sample) for file in (path, form))
    return cosine(expected[:, :tokens], found[:, :tokens])


def _static(path: Path, form: Path, samples: list[dict[str, NDArray[Any]]]) -> dict[str, str]:
    options = StaticOptions(scheme=Scheme.U8S8_REDUCED)  # Exact on every CPU.
    return dict(quantize_onnx_static(path, form, samples, options).kept)


def _tensorrt(path: Path, form: Path, samples: list[dict[str, NDArray[Any]]]) -> dict[str, str]:
    options = StaticOptions(scheme=Scheme.S8S8, layers_only=True, layer_outputs=False, biases=False)
    return dict(quantize_onnx_static(path, form, samples, options).kept)


def _nncf(path: Path, form: Path, samples: list[dict[str, NDArray[Any]]]) -> dict[str, str]:
    return dict(quantize_openvino_nncf(path, form, samples).kept)


def _dynamic(path: Path, form: Path, samples: list[dict[str, NDArray[Any]]]) -> dict[str, str]:
    quantize_onnx_dynamic(path, form)
    return {}


def _half(path: Path, form: Path, samples: list[dict[str, NDArray[Any]]]) -> dict[str, str]:
    return dict(convert_float(path, form, FloatType.FP16, samples).kept)


Make = Callable[[Path, Path, list[dict[str, NDArray[Any]]]], dict[str, str]]
CALIBRATED: list[Make] = [_static, _tensorrt, _nncf]


def _integer_matrices(form: Path) -> int:
    kind = onnx.TensorProto.INT8
    return sum(t.data_type == kind and len(t.dims) == 2 for t in onnx.load(form).graph.initializer)


@pytest.mark.parametrize(
    ("kind", "make"),
    # NNCF takes seconds for each.
    [
        *itertools.product(MASKED, [_static, _tensorrt]),
        *(("additive", _nncf), ("from what the sentence holds", _nncf)),
    ],
)
def test_mask_that_calibration_saw_unused_still_masks(
    tmp_path: Path, kind: str, make: Make
) -> None:
    path, form = _layer(tmp_path, MASKED[kind]), tmp_path / "int8.onnx"
    kept = make(path, form, _sentences(8))
    assert _similarity(path, form, _padded(), 6) >= 0.99
    assert _similarity(path, form, _sentences(2)[1], TOKENS) >= 0.99
    assert any("calibration samples" in reason for reason in kept.values())
    assert _integer_matrices(form) >= 6


@pytest.mark.parametrize("make", [_dynamic, _half])
@pytest.mark.parametrize("masked", MASKED.values(), ids=MASKED)
def test_forms_without_ranges_mask_too(tmp_path: Path, masked: str, make: Make) -> None:
    path, form = _layer(tmp_path, masked), tmp_path / "form.onnx"
    make(path, form, _sentences(8))
    assert _similarity(path, form, _padded(), 6) >= 0.99
    # A sentence of nothing but padding: what FP32 makes of it, NaN where that does.
    nothing = {**_padded(), "mask": np.zeros((1, TOKENS), np.int64)}
    (expected,), (found,) = (OnnxSession(file).run(nothing) for file in (path, form))
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))


@pytest.mark.parametrize(
    ("mask", "make"),
    [
        *itertools.product(["causal", "causal_fill"], [_static, _tensorrt, _dynamic, _half]),
        ("causal", _nncf),
    ],
)
def test_causal_mask_among_the_weights(tmp_path: Path, mask: str, make: Make) -> None:
    path, form = _layer(tmp_path, f"sum = Add(scores, {mask})"), tmp_path / "form.onnx"
    samples = _sentences(8, masked=False)
    make(path, form, samples)
    assert _similarity(path, form, samples[0], TOKENS) >= 0.99
    if make in CALIBRATED:
        assert _integer_matrices(form) >= 6


BRANCHES = {
    "scaled by an input": "a = MatMul(x, w) b = MatMul(x, v) c = Mul(b, gate) y = Add(a, c) }",
    "chosen by an input": "a = MatMul(x, w) b = MatMul(x, v) t = Cast <to=9> (gate) "
    "y = Where(t, b, a) }",
}


@pytest.mark.parametrize("make", CALIBRATED)
@pytest.mark.parametrize("body", BRANCHES.values(), ids=BRANCHES)
def test_branch_that_calibration_saw_switched_off(tmp_path: Path, body: str, make: Make) -> None:
    text = (
        '<ir_version: 9, opset_import: ["" : 18]>\n'
        "g (float[n,8] x, float[1] gate) => (float[n,8] y) {" + body
    )
    model = onnx.parser.parse_model(text)
    generator = np.random.default_rng(0)
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array((generator.standard_normal((8, 8)) * gain).astype("f"), name)
        for name, gain in (("w", 1), ("v", 20))
    )
    path, form = tmp_path / "model.onnx", tmp_path / "int8.onnx"
    onnx.save(model, path)
    off = np.zeros(1, np.float32)
    rows = generator.standard_normal((8, 4, 8)).astype(np.float32)
    make(path, form, [{"x": x, "gate": off} for x in rows])
    for gate in (off, off + 1):
        (expected,), (found,) = (
            OnnxSession(file).run({"x": rows[0], "gate": gate}) for file in (path, form)
        )
        assert cosine(expected, found) >= 0.999


def test_one_sample_and_one_image_leave_nothing_out(network: Path, tmp_path: Path) -> None:
    image = {"image": np.random.default_rng(0).random((1, 3, 16, 16), np.float32)}
    for samples in ([image], [image, image]):
        assert not quantize_onnx_static(network, tmp_path / "int8.onnx", samples).kept


def test_calibration_of_one_value_alone_says_so(network: Path, tmp_path: Path) -> None:
    gray = [{"image": np.full((1, 3, 16, 16), 0.5, np.float32)}] * 3
    for quantize in (quantize_onnx_static, quantize_openvino_nncf):
        with pytest.raises(QuantizationError, match=r"image is 0.5 in all 3 calibration samples"):
            quantize(network, tmp_path / "int8.onnx", gray)
    assert not (tmp_path / "int8.onnx").exists()


POOLED = {
    "padded by": "p = Pad(e, pads, infinite) m = MaxPool <kernel_shape=[3]> (p) "
    "r = ReduceMax(m, ax)",
    "never below": "m = Max(e, infinite) r = ReduceMean(m, ax)",
    "in place of padding": "z = Cast <to=1> (ids) t = Greater(z, none) u = Unsqueeze(t, one) "
    "m = Where(u, e, infinite) r = ReduceMax(m, ax)",
}


@pytest.mark.parametrize(
    ("pooled", "make"),
    [
        *itertools.product(POOLED, [_static, _tensorrt, _dynamic, _half]),
        ("padded by", _nncf),
    ],
)
def test_a_constant_may_hold_infinity(tmp_path: Path, pooled: str, make: Make) -> None:
    """As magika's model does: bytes in, pooled over what is no padding."""
    text = (
        '<ir_version: 9, opset_import: ["" : 18]>\n'
        "g (int64[n,16] ids) => (float[n,5] y) { a = Gather(table, ids) b = MatMul(a, w1) "
        f"c = Relu(b) e = Transpose <perm=[0,2,1]> (c) {POOLED[pooled]} "
        "s = Squeeze(r, ax) y = MatMul(s, w2) }"
    )
    generator = np.random.default_rng(0)
    weights = {
        "table": generator.standard_normal((32, 8)),
        "w1": generator.standard_normal((8, 24)),
        "w2": generator.standard_normal((24, 5)),
        "infinite": np.array(-np.inf),
        "none": np.array(0.5),
    }
    model = onnx.parser.parse_model(text)
    tensors = {name: array.astype(np.float32) for name, array in weights.items()}
    tensors |= {"pads": np.array([0, 0, 1, 0, 0, 1]), "ax": np.array([2]), "one": np.array([1])}
    read = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(array, name) for name, array in tensors.items() if name in read
    )
    path, form = tmp_path / "model.onnx", tmp_path / "form.onnx"
    onnx.save(model, path)
    texts = [{"ids": generator.integers(1, 32, (2, 16))} for _ in range(9)]
    make(path, form, texts[1:])
    texts[0]["ids"][:, 9:] = 0
    (expected,), (found,) = (OnnxSession(file).run(texts[0]) for file in (path, form))
    # Dynamic has 8-bit weights, whose products saturate in 16 bits on CPUs without VNNI.
    assert cosine(expected, found) >= (0.95 if make is _dynamic else 0.99)
    assert make is _half or _integer_matrices(form) >= 2


@pytest.mark.parametrize("operator", ["MatMul", "Gemm"])
def test_infinity_in_a_layers_weight_is_damage(tmp_path: Path, operator: str) -> None:
    text = (
        '<ir_version: 9, opset_import: ["" : 18]>\n'
        "g (float[n,4] x) => (float[n,4] y) "
        f"{{ t = Transpose <perm=[1,0]> (w) y = {operator}(x, t) }}"
    )
    model = onnx.parser.parse_model(text)
    weight = np.eye(4, dtype=np.float32)
    weight[1, 2] = np.inf
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    samples = [{"x": np.ones((1, 4), np.float32)}]
    for make in (_static, _nncf, _dynamic, _half):
        with pytest.raises(ModelError, match="weight 'w' holds 1 values of 16"):
            make(path, tmp_path / "form.onnx", samples)
