"""How large what is opened may be."""

from __future__ import annotations

MAX_ONNX_BYTES = 2**31 - 1
"""A protobuf message cannot be larger; more needs files of weights beside it."""
