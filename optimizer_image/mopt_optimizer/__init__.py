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
    from ._errors import OptimizerError
    from .array_samples import local_arrays
    from .comparing import compare_strategies
    from .exporter import (
        ModelInfo,
        ONNXExportConfig,
        ONNXExporter,
        benchmark_onnx,
        export_onnx,
        model_info,
    )
    from .images import local_images
    from .manager import LoadedModel, ModelManager, load_optimized_model
    from .onnx_quantization import (
        StaticOptions,
        analyze_sensitivity,
        convert_float,
        quantize_onnx_dynamic,
        quantize_onnx_static,
    )
    from .openvino_models import quantize_openvino_nncf
    from .passes import available_passes
    from .preprocessing import Preprocessing
    from .quality import (
        Metric,
        cosine,
        evaluate,
        max_abs_error,
        psnr,
        sqnr,
        ssim,
        top1_agreement,
    )
    from .quantizer import (
        ModelQuantizer,
        QuantizationConfig,
        QuantizationType,
        QuantizedModel,
        available_backends,
        quantize_model,
    )
    from .strategy_table import StrategyTable
    from .tensorrt_engines import TensorRTConfig, TensorRTOptimizer, optimize_tensorrt

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
    "_errors": ("OptimizerError",),
    "array_samples": ("local_arrays",),
    "comparing": ("compare_strategies",),
    "exporter": (
        "ModelInfo",
        "ONNXExportConfig",
        "ONNXExporter",
        "benchmark_onnx",
        "export_onnx",
        "model_info",
    ),
    "images": ("local_images",),
    "manager": ("LoadedModel", "ModelManager", "load_optimized_model"),
    "onnx_quantization": (
        "StaticOptions",
        "analyze_sensitivity",
        "convert_float",
        "quantize_onnx_dynamic",
        "quantize_onnx_static",
    ),
    "openvino_models": ("quantize_openvino_nncf",),
    "passes": ("available_passes",),
    "preprocessing": ("Preprocessing",),
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
    "quantizer": (
        "ModelQuantizer",
        "QuantizationConfig",
        "QuantizationType",
        "QuantizedModel",
        "available_backends",
        "quantize_model",
    ),
    "strategy_table": ("StrategyTable",),
    "tensorrt_engines": ("TensorRTConfig", "TensorRTOptimizer", "optimize_tensorrt"),
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
