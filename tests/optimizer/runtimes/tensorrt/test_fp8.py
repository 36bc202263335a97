"""Which layers become FP8, for which GPUs, and what is said of the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper

from mopt_api.enums import Precision
from mopt_optimizer.errors import CalibrationError, EngineBuildError, SpecError
from mopt_optimizer.machine.nvidia_gpus import Gpu
from mopt_optimizer.onnx_quantization import Calibration
from mopt_optimizer.runtimes.tensorrt import TensorRTConfig, TensorRTOptimizer, write_typed_model
from mopt_optimizer.runtimes.tensorrt.backends import Backend, BackendName
from mopt_optimizer.runtimes.tensorrt.building import build_engine, check_options
from mopt_optimizer.runtimes.tensorrt.fp8 import fp8_report, has_fp8, why_not_fp8
from mopt_optimizer.runtimes.tensorrt.layers import EngineLayer

Save = Callable[..., Path]
Samples = list[dict[str, NDArray[np.float32]]]
SHAPES = {"x": ((1, 3, 16, 16), (2, 3, 32, 32), (4, 3, 48, 48))}
FP8 = TensorRTConfig(backend="tensorrt_rtx", fp8_mode=True, compute_capabilities=("8.9", "12.0"))


class _Rtx:
    class ComputeCapability:
        __members__ = {"SM86": 86, "SM89": 89, "SM120": 120}


RTX = Backend(BackendName.TENSORRT_RTX, "1.7.1.116", _Rtx)
TENSORRT = Backend(BackendName.TENSORRT, "11.4.0.106", object())


def test_fp8_came_with_ada() -> None:
    assert [has_fp8(c) for c in ("7.5", "8.6", "8.9", "9.0", "10.0", "12.0")] == [
        False,
        False,
        True,
        True,
        True,
        True,
    ]


@pytest.mark.parametrize(
    ("backend", "capabilities", "gpus", "words"),
    [
        (
            RTX,
            ("8.9", "8.6"),
            [],
            "fp8_mode: compute_capabilities 8.6 has no FP8; FP8 is in GPUs of compute capability "
            "8.9, 12.0: use int8_mode",
        ),
        (TENSORRT, (), [Gpu("NVIDIA A10", "8.6")], r"the GPU here, NVIDIA A10 \(8.6\), has no FP8"),
        (RTX, (), [Gpu("NVIDIA A10", "8.6")], "the GPU here"),
    ],
)
def test_gpus_without_fp8_are_refused_before_any_work(
    backend: Backend, capabilities: tuple[str, ...], gpus: list[Gpu], words: str
) -> None:
    config = TensorRTConfig(fp8_mode=True, compute_capabilities=capabilities)
    with pytest.raises(SpecError, match=words):
        check_options(config, backend, gpus)


def test_gpus_with_fp8_are_taken() -> None:
    check_options(FP8, RTX, [Gpu("NVIDIA A10", "8.6")])
    check_options(TensorRTConfig(fp8_mode=True), TENSORRT, [Gpu("NVIDIA L4", "8.9")])
    check_options(TensorRTConfig(int8_mode=True), TENSORRT, [Gpu("NVIDIA A10", "8.6")])


def conv(name: str, x: str, y: str, weight: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node("Conv", [x, weight], [y], name, **attributes)


@pytest.fixture
def network(save: Save) -> Path:
    """A stem of 7x7, two layers that have FP8, one of them excluded below, and a transposed one."""
    generator = np.random.default_rng(0)

    def weight(*shape: int) -> NDArray[np.float32]:
        values = generator.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        result: NDArray[np.float32] = values.astype(np.float32)
        return result

    nodes = [
        conv("stem", "x", "a", "w7", pads=[3, 3, 3, 3]),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        conv("inner", "b", "c", "w3", pads=[1, 1, 1, 1]),
        conv("plain", "c", "d", "w1"),
        helper.make_node("ConvTranspose", ["d", "w2"], ["y"], "grow", strides=[2, 2]),
    ]
    weights = {
        "w7": weight(16, 3, 7, 7),
        "w3": weight(16, 16, 3, 3),
        "w1": weight(16, 16, 1, 1),
        "w2": weight(16, 3, 2, 2),
    }
    return save(nodes, weights)


@pytest.fixture
def samples() -> Samples:
    generator = np.random.default_rng(1)
    return [{"x": generator.standard_normal((1, 3, 24, 32), dtype=np.float32)} for _ in range(2)]


def test_what_has_no_fp8_is_known_before_building(network: Path) -> None:
    assert why_not_fp8(onnx.load(network)) == {
        "stem": "its kernel 7x7 has more than 32 weights",
        "grow": "TensorRT has no FP8 ConvTranspose",
    }


def test_without_a_listing_what_the_file_says_is_all(network: Path) -> None:
    found = fp8_report(onnx.load(network), ())
    assert found.layers is None
    assert set(found.missed) == {"stem", "inner", "plain", "grow"}
    listed = fp8_report(
        onnx.load(network), [EngineLayer("k", "gemm", ("FP8",), (), (), ("inner",))]
    )
    assert listed.layers == ("inner",)
    assert "excluded, or left out by the gate" in listed.missed["plain"]


@pytest.mark.tensorrt
@pytest.mark.parametrize("rest", ["FP32", "FP16"])
def test_fp8_reaches_what_it_can_and_the_report_tells_the_rest(
    network: Path, samples: Samples, tmp_path: Path, rest: str
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
    config = TensorRTConfig.of(
        "fp8" if rest == "FP32" else "fp8+fp16",
        backend="tensorrt_rtx",
        compute_capabilities=("8.9", "12.0"),
        calibration=Calibration.MIN_MAX,
        exclude=("plain",),
    )
    report = TensorRTOptimizer(config).optimize_from_onnx(
        network, tmp_path / "model.engine", SHAPES, samples
    )
    assert report.fp8 is not None
    assert report.fp8.layers == ("inner",)
    assert set(report.fp8.missed) == {"stem", "plain", "grow"}
    assert "7x7" in report.fp8.missed["stem"]
    assert report.fp8.quantized is not None
    assert report.fp8.quantized.quantized_nodes == 1
    assert report.int8 is None
    assert report.manifest.precision is Precision.FP8
    assert report.manifest.layer_datatypes["FP8"] == 1
    assert report.manifest.layer_datatypes[rest] >= 2


@pytest.mark.tensorrt
@pytest.mark.parametrize("capability", ["8.9", "12.0"])
@pytest.mark.parametrize("kernel", [(5, 6), (6, 6)])
def test_the_limit_of_kernels_is_tensorrts_own(
    save: Save, samples: Samples, tmp_path: Path, kernel: tuple[int, int], capability: str
) -> None:
    """The library is given Q/DQ in front of both: it takes the one and not the other."""
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
    from mopt_optimizer.onnx_quantization import Scheme, StaticOptions, quantize_onnx_static

    generator = np.random.default_rng(0)
    weight = generator.standard_normal((16, 3, *kernel)).astype(np.float32)
    path = save([conv("only", "x", "y", "w")], {"w": weight})
    typed = tmp_path / "typed.onnx"
    options = StaticOptions(
        scheme=Scheme.FP8, per_channel=False, layer_outputs=False, operators=("Conv",)
    )
    quantize_onnx_static(path, typed, samples, options)
    config = TensorRTConfig(
        backend="tensorrt_rtx", fp8_mode=True, compute_capabilities=(capability,)
    )
    report = TensorRTOptimizer(config).build_typed(typed, tmp_path / "model.engine", SHAPES)
    assert report.fp8 is not None
    assert report.fp8.layers == (("only",) if kernel == (5, 6) else ())
    assert set(report.fp8.missed) == set(why_not_fp8(onnx.load(typed)))


@pytest.mark.tensorrt
def test_a_file_with_fp8_does_not_build_for_older_gpus(
    network: Path, samples: Samples, tmp_path: Path
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
    typed = tmp_path / "typed.onnx"
    write_typed_model(network, typed, FP8, samples)
    older = TensorRTConfig(backend="tensorrt_rtx", compute_capabilities=("8.6",))
    backend = TensorRTOptimizer(older).backend()
    with pytest.raises(EngineBuildError, match=r"fp8_e4m3.*FP8 needs compute capability 8\.9"):
        build_engine(typed, SHAPES, older, backend)


def test_fp8_without_data_says_what_to_give(network: Path, tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"fp8_mode: model\.onnx has no Q/DQ nodes"):
        write_typed_model(network, tmp_path / "typed.onnx", FP8)
