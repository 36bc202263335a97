"""Cases of the CRD's rules on variants: runtimes, precisions, quantization."""

from __future__ import annotations

from spec_fields import (
    Case,
    int8,
    variant,
)

DYNAMIC = "quantization mode Dynamic needs runtime ONNXRuntime or PyTorch"
ALONE = "quantization mode WeightOnly needs runtime ONNXRuntime or OpenVINO"
NNCF = "quantization method NNCF needs runtime OpenVINO"
BUDGET = "searchBudgetSeconds is for the search of mode Static and fallback Auto"
BUDGET_FIELD = "spec.variants[0].quantization.searchBudgetSeconds"
VARIANTS: list[Case] = [
    (
        variant(precision="INT8", quantization={}),
        variant(quantization={}),
        "quantization belongs to precision INT8, and to TensorRT's FP8",
    ),
    (
        variant(runtime="TensorRT", precision="FP8", quantization={}),
        variant(runtime="PyTorch", precision="FP8", quantization={}),
        "quantization belongs to precision INT8, and to TensorRT's FP8",
    ),
    *(
        (
            variant(runtime=runtime, precision=good),
            variant(runtime=runtime, precision=bad),
            "supported: PyTorch and TensorRT FP32, FP16, BF16, INT8 and FP8; ONNXRuntime FP32, "
            "FP16 and INT8; OpenVINO FP32, BF16 and INT8",
        )
        for runtime, good, bad in (
            ("OpenVINO", "BF16", "FP16"),
            ("ONNXRuntime", "FP16", "BF16"),
            ("ONNXRuntime", "INT8", "FP8"),
        )
    ),
    (
        variant(runtime="ONNXRuntime", executionProvider="CUDA"),
        variant(runtime="TensorRT", executionProvider="CUDA"),
        "executionProvider belongs to runtime ONNXRuntime",
    ),
    (
        int8(mode="Dynamic", calibrator="MinMax"),
        int8(mode="Dynamic", calibrator="Entropy"),
        "calibrator belongs to mode Static; leave it out with Dynamic",
    ),
    (
        int8(mode="Static", calibrator="Entropy"),
        int8(mode="Dynamic", calibrator="Percentile"),
        "calibrator belongs to mode Static; leave it out with Dynamic",
    ),
    (
        int8(mode="WeightOnly", calibrator="MinMax"),
        int8(mode="WeightOnly", calibrator="MSE"),
        "calibrator belongs to mode Static; leave it out with Dynamic and WeightOnly",
    ),
    *(
        (good, int8(mode="Dynamic", runtime="OpenVINO"), DYNAMIC)
        for good in (
            int8(mode="Dynamic"),
            int8(mode="Dynamic", runtime="PyTorch"),
            int8(runtime="OpenVINO"),
        )
    ),
    *(
        (
            int8(mode="WeightOnly", runtime=runtime),
            int8(mode="WeightOnly", runtime="PyTorch"),
            ALONE,
        )
        for runtime in ("ONNXRuntime", "OpenVINO")
    ),
    *(
        (
            int8(mode="WeightOnly", weightBits=4),
            int8(mode=mode, weightBits=4),
            "weightBits belongs to mode WeightOnly; leave it out with Static and Dynamic",
        )
        for mode in ("Static", "Dynamic")
    ),
    *(
        (int8(runtime="OpenVINO", method="NNCF"), int8(runtime=runtime, method="NNCF"), NNCF)
        for runtime in ("ONNXRuntime", "PyTorch")
    ),
    *(
        (
            int8(runtime="OpenVINO", method="NNCF", **good),
            int8(runtime="OpenVINO", method="NNCF", **bad),
            "method NNCF is static and chooses ranges and scales itself",
        )
        for good, bad in (
            ({"mode": "Static"}, {"mode": "Dynamic"}),
            ({"calibrator": "MinMax"}, {"calibrator": "Percentile"}),
            ({"perChannel": True}, {"perChannel": False}),
        )
    ),
    *(
        (
            int8(runtime="OpenVINO", floatPrecision="BF16"),
            int8(runtime=runtime, floatPrecision="BF16"),
            "quantization floatPrecision BF16 needs runtime OpenVINO",
        )
        for runtime in ("ONNXRuntime", "PyTorch")
    ),
    (
        int8(runtime="PyTorch", calibrator="MinMax", perChannel=False),
        int8(runtime="PyTorch", calibrator="Entropy"),
        "runtime PyTorch chooses ranges itself: leave calibrator out",
    ),
    *(
        (int8(searchBudgetSeconds=60, **good), int8(searchBudgetSeconds=60, **bad), BUDGET)
        for good, bad in (
            ({"mode": "Static"}, {"mode": "Dynamic"}),
            ({"fallback": "Auto"}, {"fallback": "Off"}),
        )
    ),
    (
        int8(runtime="PyTorch"),
        int8(runtime="PyTorch", searchBudgetSeconds=60),
        "runtime PyTorch keeps no layers in FP32 for gates: leave searchBudgetSeconds out",
    ),
    *(
        (int8(searchBudgetSeconds=good), int8(searchBudgetSeconds=bad), BUDGET_FIELD)
        for good, bad in ((1, 0), (14400, 14401))
    ),
    (
        variant(runtime="PyTorch", torchMode="Eager"),
        variant(runtime="OpenVINO", torchMode="Eager"),
        "torchMode belongs to runtime PyTorch",
    ),
    (
        variant(runtime="PyTorch", precision="INT8", torchMode="Compiled"),
        variant(runtime="PyTorch", precision="INT8", torchMode="Eager"),
        "PyTorch runs INT8 only Compiled: leave torchMode out",
    ),
    (variant(name="base"), variant(name="baseline"), "the name baseline is reserved for"),
]
