"""The optimizer: a library, and the Job entry point on top of it.

    import mopt_optimizer as mopt

    quantized = mopt.quantize_model(model, "static", calibration_data)
    mopt.ModelManager("models").load_optimized_model("upscaler", optimization="auto")

Every public name is loaded on first use (PEP 562): importing the package loads neither torch nor a
runtime.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .compare.strategies import compare_strategies
    from .compare.table import StrategyTable
    from .data.arrays import local_arrays
    from .data.images import local_images
    from .data.preprocessing import Preprocessing
    from .errors import OptimizerError
    from .export import (
        ModelInfo,
        ONNXExportConfig,
        ONNXExporter,
        export_onnx,
        model_info,
    )
    from .manager import LoadedModel, ModelManager, load_optimized_model
    from .onnx_quantization import (
        StaticOptions,
        analyze_sensitivity,
        convert_float,
        quantize_onnx_dynamic,
        quantize_onnx_static,
    )
    from .passes import available_passes
    from .quality import Metric, cosine, evaluate, max_abs_error, psnr, sqnr, ssim, top1_agreement
    from .runtimes.onnx_runtime.benchmark import benchmark_onnx
    from .runtimes.openvino import quantize_openvino_nncf
    from .runtimes.tensorrt import TensorRTConfig, TensorRTOptimizer, optimize_tensorrt
    from .torch_quantization import (
        ModelQuantizer,
        QuantizationConfig,
        QuantizationType,
        QuantizedModel,
        available_backends,
        quantize_model,
    )

__all__ = [
    "LoadedModel",
    "Metric",
    "ModelInfo",
    "ModelManager",
    "ModelQuantizer",
    "ONNXExportConfig",
    "ONNXExporter",
    "OptimizerError",
    "Preprocessing",
    "QuantizationConfig",
    "QuantizationType",
    "QuantizedModel",
    "StaticOptions",
    "StrategyTable",
    "TensorRTConfig",
    "TensorRTOptimizer",
    "analyze_sensitivity",
    "available_backends",
    "available_passes",
    "benchmark_onnx",
    "compare_strategies",
    "convert_float",
    "cosine",
    "evaluate",
    "export_onnx",
    "load_optimized_model",
    "local_arrays",
    "local_images",
    "max_abs_error",
    "model_info",
    "optimize_tensorrt",
    "psnr",
    "quantize_model",
    "quantize_onnx_dynamic",
    "quantize_onnx_static",
    "quantize_openvino_nncf",
    "sqnr",
    "ssim",
    "top1_agreement",
]

_HOMES = {
    "errors": ("OptimizerError",),
    "data.arrays": ("local_arrays",),
    "compare.strategies": ("compare_strategies",),
    "export": (
        "ModelInfo",
        "ONNXExportConfig",
        "ONNXExporter",
        "export_onnx",
        "model_info",
    ),
    "data.images": ("local_images",),
    "manager": ("LoadedModel", "ModelManager", "load_optimized_model"),
    "onnx_quantization": (
        "StaticOptions",
        "analyze_sensitivity",
        "convert_float",
        "quantize_onnx_dynamic",
        "quantize_onnx_static",
    ),
    "runtimes.onnx_runtime.benchmark": ("benchmark_onnx",),
    "runtimes.openvino": ("quantize_openvino_nncf",),
    "passes": ("available_passes",),
    "data.preprocessing": ("Preprocessing",),
    "quality": (
        "Metric",
        "cosine",
        "evaluate",
        "max_abs_error",
        "psnr",
        "sqnr",
        "ssim",
        "top1_agreement",
    ),
    "torch_quantization": (
        "ModelQuantizer",
        "QuantizationConfig",
        "QuantizationType",
        "QuantizedModel",
        "available_backends",
        "quantize_model",
    ),
    "compare.table": ("StrategyTable",),
    "runtimes.tensorrt": ("TensorRTConfig", "TensorRTOptimizer", "optimize_tensorrt"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME_OF[name]}", __name__), name)
    globals()[name] = value  # the next access finds it without this function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
