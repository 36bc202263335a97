"""TensorRT engines: built from ONNX, checked, run and measured.

    from mopt_optimizer.runtimes.tensorrt import TensorRTConfig, TensorRTOptimizer

    optimizer = TensorRTOptimizer(TensorRTConfig(fp16_mode=True))
    optimizer.optimize_from_onnx("model.onnx", "model.engine", {"image": (1, 3, 128, 128)})

Works with either `tensorrt` or `tensorrt_rtx`; neither is loaded before it is needed. Names are
imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .backends import Backend, BackendName, find_backend
    from .calibration_cache import CalibrationCache, read_calibration_cache
    from .config import HardwareCompatibility, TensorRTConfig
    from .fp8 import Fp8Report
    from .layers import EngineLayer, datatype_counts, nodes_in
    from .loading import LoadedEngine, load_engine
    from .manifest import EngineManifest, read_manifest
    from .memory import DeviceMemory, TorchMemory
    from .optimizer import EngineReport, TensorRTOptimizer, optimize_tensorrt
    from .profiles import ShapeProfile
    from .pycuda_memory import PycudaMemory
    from .running import EngineRunner
    from .timing import EngineTiming, LatencySummary, benchmark_engine
    from .typed_models import TypedModel, write_typed_model

__all__ = [
    "Backend",
    "BackendName",
    "CalibrationCache",
    "DeviceMemory",
    "EngineLayer",
    "EngineManifest",
    "EngineReport",
    "EngineRunner",
    "EngineTiming",
    "Fp8Report",
    "HardwareCompatibility",
    "LatencySummary",
    "LoadedEngine",
    "PycudaMemory",
    "ShapeProfile",
    "TensorRTConfig",
    "TensorRTOptimizer",
    "TorchMemory",
    "TypedModel",
    "benchmark_engine",
    "datatype_counts",
    "find_backend",
    "load_engine",
    "nodes_in",
    "optimize_tensorrt",
    "read_calibration_cache",
    "read_manifest",
    "write_typed_model",
]

_NAMES = {
    "backends": ("Backend", "BackendName", "find_backend"),
    "calibration_cache": ("CalibrationCache", "read_calibration_cache"),
    "config": ("HardwareCompatibility", "TensorRTConfig"),
    "fp8": ("Fp8Report",),
    "layers": ("EngineLayer", "datatype_counts", "nodes_in"),
    "loading": ("LoadedEngine", "load_engine"),
    "manifest": ("EngineManifest", "read_manifest"),
    "memory": ("DeviceMemory", "TorchMemory"),
    "optimizer": ("EngineReport", "TensorRTOptimizer", "optimize_tensorrt"),
    "profiles": ("ShapeProfile",),
    "pycuda_memory": ("PycudaMemory",),
    "running": ("EngineRunner",),
    "timing": ("EngineTiming", "LatencySummary", "benchmark_engine"),
    "typed_models": ("TypedModel", "write_typed_model"),
}
_HOMES = {name: home for home, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
