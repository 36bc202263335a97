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
TRITON_ONLY = {"bfloat16": "BF16", "string": TEXT_DATATYPE}
"""What Triton takes besides, by numpy's name."""

QUEUE_PARAMETER, COMPUTE_PARAMETER = "queue_us", "compute_us"
"""Parameters of the answers of `mopt serve`: microseconds waited, and computed."""
HEADER_LENGTH = "inference-header-content-length"
"""HTTP header of the extension for binary data: bytes of the JSON that come first."""


def triton_type(datatype: str) -> str:
    """Return what Triton's model configuration calls a type of the protocol."""
    return "TYPE_STRING" if datatype == TEXT_DATATYPE else f"TYPE_{datatype}"
