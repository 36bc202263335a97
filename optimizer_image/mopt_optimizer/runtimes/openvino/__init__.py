"""OpenVINO model formats: INT8 through NNCF.

Importing the package loads neither openvino nor nncf; the functions do.
"""

from __future__ import annotations

from .nncf_int8 import NncfOptions, NncfReport, quantize_openvino_nncf

__all__ = [
    "NncfOptions",
    "NncfReport",
    "quantize_openvino_nncf",
]
