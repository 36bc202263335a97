"""TensorRTConfig: what a combination of modes means, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from mopt_api.enums import Precision
from mopt_optimizer.errors import SpecError
from mopt_optimizer.onnx_quantization import Scheme
from mopt_optimizer.runtimes.tensorrt import HardwareCompatibility, TensorRTConfig
from mopt_optimizer.runtimes.tensorrt.backends import Backend, BackendName
from mopt_optimizer.runtimes.tensorrt.building import check_options
from mopt_optimizer.runtimes.tensorrt.typed_models import static_options


@pytest.mark.parametrize(
    ("name", "modes", "precision"),
    [
        ("fp32", {}, Precision.FP32),
        ("fp16", {"fp16_mode": True}, Precision.FP16),
        ("bf16", {"bf16_mode": True}, Precision.BF16),
        ("int8", {"int8_mode": True}, Precision.INT8),
        ("int8+fp16", {"int8_mode": True, "fp16_mode": True}, Precision.INT8),
        ("fp8", {"fp8_mode": True}, Precision.FP8),
        ("fp8+fp16", {"fp8_mode": True, "fp16_mode": True}, Precision.FP8),
    ],
)
def test_modes_and_names_mean_the_same(
    name: str, modes: dict[str, Any], precision: Precision
) -> None:
    assert TensorRTConfig.of(name) == TensorRTConfig(**modes)
    assert TensorRTConfig(**modes).precision is precision


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"bf16_mode": True, "fp16_mode": True}, "bf16_mode goes with none of fp16_mode"),
        ({"bf16_mode": True, "int8_mode": True}, "bf16_mode goes with none of"),
        ({"bf16_mode": True, "fp8_mode": True}, "bf16_mode goes with none of"),
        ({"int8_mode": True, "fp8_mode": True}, "int8_mode does not go with fp8_mode"),
        ({"workspace_bytes": 0}, "workspace_bytes 0: at least 1"),
        ({"optimization_level": 6}, "optimization_level 6 is not 0 to 5"),
        ({"optimization_level": -1}, "optimization_level -1"),
        ({"compute_capabilities": "8.9"}, "give a tuple"),
        ({"compute_capabilities": ("sm89",)}, "'sm89' is not of the form '8.9'"),
        ({"exclude": "conv"}, "exclude 'conv': give a tuple"),
    ],
)
def test_wrong_values_name_their_field(values: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        TensorRTConfig(**values)


def test_unknown_precision_and_option_are_refused() -> None:
    with pytest.raises(SpecError, match="precision 'int4' is none of fp32, fp16"):
        TensorRTConfig.of("int4")
    with pytest.raises(SpecError, match=r"\['workspace'\] are no options; there are tf32"):
        TensorRTConfig.of("fp16", workspace=1)


class _Targets:
    __members__ = {"SM86": 86, "SM89": 89}


class _Rtx:
    ComputeCapability = _Targets


RTX = Backend(BackendName.TENSORRT_RTX, "1.7.1.116", _Rtx)
TENSORRT = Backend(BackendName.TENSORRT, "11.4.0.106", object())


@pytest.mark.parametrize(
    ("backend", "config", "words"),
    [
        (
            TENSORRT,
            TensorRTConfig(compute_capabilities=("8.9",)),
            "TensorRT 11.4.0.106 builds for the GPU at hand only",
        ),
        (
            RTX,
            TensorRTConfig(compute_capabilities=("8.9", "9.0")),
            "compute_capabilities 9.0: TensorRT for RTX 1.7.1.116 builds for 8.6, 8.9",
        ),
        (RTX, TensorRTConfig(version_compatible=True), "version_compatible: TensorRT for RTX"),
        (
            RTX,
            TensorRTConfig(hardware_compatibility=HardwareCompatibility.AMPERE_PLUS),
            "hardware_compatibility AmperePlus: TensorRT for RTX 1.7.1.116 has compute_capab",
        ),
    ],
)
def test_what_a_backend_lacks_is_refused(
    backend: Backend, config: TensorRTConfig, words: str
) -> None:
    with pytest.raises(SpecError, match=words):
        check_options(config, backend)


def test_each_backend_takes_its_own_options() -> None:
    check_options(TensorRTConfig(compute_capabilities=("8.6", "8.9")), RTX)
    check_options(
        TensorRTConfig(
            version_compatible=True, hardware_compatibility=HardwareCompatibility.AMPERE_PLUS
        ),
        TENSORRT,
    )


@pytest.mark.parametrize(
    ("mode", "given", "expected"),
    [
        ("int8", None, True),
        ("int8", False, False),
        ("fp8", None, False),
        ("fp8", True, True),
    ],
)
def test_scales_per_channel_are_the_modes_own_unless_given(
    mode: str, given: bool | None, expected: bool
) -> None:
    options = static_options(TensorRTConfig.of(mode, per_channel=given))
    assert options.per_channel is expected
    assert options.scheme is (Scheme.FP8 if mode == "fp8" else Scheme.S8S8)
