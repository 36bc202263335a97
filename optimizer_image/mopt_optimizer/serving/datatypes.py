"""The Open Inference Protocol's names of element types. Pure."""

from __future__ import annotations

DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
}
"""By numpy's name; of numbers."""
TEXT_DATATYPE = "BYTES"
"""Of text."""

QUEUE_PARAMETER, COMPUTE_PARAMETER = "queue_us", "compute_us"
"""Parameters of the answers of `mopt serve`: microseconds waited, and computed."""
HEADER_LENGTH = "inference-header-content-length"
"""HTTP header of the extension for binary data: bytes of the JSON that come first."""
