"""Quantized and half-precision forms of PyTorch models: made, run, saved and compared.

    import mopt_optimizer.torch_quantization as tq

    config = tq.QuantizationConfig(quantization_type=tq.QuantizationType.STATIC)
    quantizer = tq.ModelQuantizer(config)
    quantized = quantizer.quantize(model, calibration_data)

The names are imported on first use: configuring needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .backends import available_backends
    from .config import Backend, Execution, QuantizationConfig, QuantizationType
    from .fusion import fuse_modules
    from .model_quantizer import ModelQuantizer, quantize_model
    from .quantized_model import QuantizedModel
    from .reports import Fusion, FusionReport, InputSignature, QuantizationReport

__all__ = [
    "Backend",
    "Execution",
    "Fusion",
    "FusionReport",
    "InputSignature",
    "ModelQuantizer",
    "QuantizationConfig",
    "QuantizationReport",
    "QuantizationType",
    "QuantizedModel",
    "available_backends",
    "fuse_modules",
    "quantize_model",
]

_HOMES = {
    "Backend": "config",
    "Execution": "config",
    "Fusion": "reports",
    "FusionReport": "reports",
    "InputSignature": "reports",
    "ModelQuantizer": "model_quantizer",
    "QuantizationConfig": "config",
    "QuantizationReport": "reports",
    "QuantizationType": "config",
    "QuantizedModel": "quantized_model",
    "available_backends": "backends",
    "fuse_modules": "fusion",
    "quantize_model": "model_quantizer",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
