"""How large what is opened may be: a file of kilobytes must not take minutes or gigabytes.

Each is far above what real models have, and is counted before a library opens the file.
"""

from __future__ import annotations

MAX_ONNX_BYTES = 2**31 - 1
"""A protobuf message cannot be larger; more needs files of weights beside it."""

MAX_NODES = 100_000
"""Nodes of a graph, with those of its subgraphs and of functions where each is called.

torch.export.load takes 2 to 5 ms for each, ONNX's tools 0.1 ms; large transformers have 10,000.
"""

MAX_NODE_RUNS = 10_000_000
"""Nodes that one inference runs for certain: those in loops of a fixed number, that many times."""

MAX_MESSAGES = 3_000_000
"""Protobuf messages and strings of an ONNX file: each takes some hundred bytes once parsed."""

MAX_JSON_BYTES = 64 * 1024 * 1024
"""Of one document in a .pt2; a node takes 1 to 4 kB in it."""

MAX_JSON_VALUES = 4_000_000
"""Values in a document, by its commas and brackets: each takes up to 100 bytes once parsed."""

MAX_CODE_BYTES = 2 * 1024 * 1024
"""TorchScript code of one file: 4,000 traced layers. Parsed, it takes up to 600 times as much."""

MAX_STATEMENTS = 500_000
"""Statements of a TorchScript function with those of all that it calls, each time it does."""

MAX_PICKLE_STEPS = 1_000_000
"""Opcodes of a pickle; a tensor takes 30."""

MAX_VALUES = 2**33
"""Values that one operator makes from constants alone: 32 GiB of float32."""

MAX_REPEATED_VALUES = 2**26
"""Values of a weight that stands in the file once for many places: 256 MiB of float32."""


def amount(number: int) -> str:
    """Return a number for people, however long it is: 1.2e+09, or 2**126 where it is longer."""
    return f"{number:.3g}" if number < 2**64 else f"2**{number.bit_length() - 1}"
