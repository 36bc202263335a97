"""OpenVINO model formats: INT8 through NNCF.

Importing the package loads neither openvino nor nncf; the functions do.
"""

from __future__ import annotations

from .nncf_int8 import quantize_openvino_nncf
from .nncf_options import NncfOptions, NncfRanges, NncfReport

__all__ = [
    "NncfOptions",
    "NncfRanges",
    "NncfReport",
    "quantize_openvino_nncf",
]
