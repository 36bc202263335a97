"""The variants that Auto knows for targets that only build engines. Pure."""

from __future__ import annotations

from .nvidia import TENSORRT_FP8, TENSORRT_FP16, TENSORRT_INT8

BUILD_POOL = (TENSORRT_FP16, TENSORRT_INT8, TENSORRT_FP8)
