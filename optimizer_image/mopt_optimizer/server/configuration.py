"""The model's configuration as the protocol's extension model_configuration has it. Pure.

It is Triton's (github.com/triton-inference-server/server): NVIDIA's perf_analyzer asks for it
before it sends a request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mopt_optimizer.serving.datatypes import triton_type

EXTENSION = "model_configuration"
_BACKEND = "mopt"

Metadata = Sequence[Mapping[str, Any]]


def model_configuration(
    name: str, inputs: Metadata, outputs: Metadata, batch: int
) -> dict[str, Any]:
    """Return a model's configuration.

    Args:
        inputs, outputs: As the protocol's metadata has them.
        batch: Most samples of a request along the first axis; 0 where that is no batch, and then
            the shapes are whole.
    """
    return {
        "name": name,
        "platform": "",
        "backend": _BACKEND,
        "max_batch_size": batch,
        "input": [_tensor(tensor, batch) for tensor in inputs],
        "output": [_tensor(tensor, batch) for tensor in outputs],
    }


def _tensor(tensor: Mapping[str, Any], batch: int) -> dict[str, Any]:
    return {
        "name": tensor["name"],
        "data_type": triton_type(tensor["datatype"]),
        "dims": list(tensor["shape"][1:] if batch else tensor["shape"]),
    }
