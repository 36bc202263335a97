"""OpenVINO's own forms of a model: INT8 through NNCF, and what this CPU computes natively.

Importing the package loads neither openvino nor nncf; the functions do.
"""

from __future__ import annotations

from .native import NativeSupport, native_support
from .nncf_int8 import NncfOptions, NncfReport, quantize_openvino_nncf

__all__ = [
    "NativeSupport",
    "NncfOptions",
    "NncfReport",
    "native_support",
    "quantize_openvino_nncf",
]
