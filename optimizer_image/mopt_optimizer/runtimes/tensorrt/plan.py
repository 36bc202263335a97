"""The TensorRT config of a variant, and the shapes of its inputs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mopt_api.enums import Precision
from mopt_api.inputs import DimensionRange, InputSpec
from mopt_optimizer.runtimes.shapes import ShapeRange

from .config import TensorRTConfig

_MODES = {
    Precision.FP32: "fp32",
    Precision.FP16: "fp16",
    Precision.BF16: "bf16",
    Precision.INT8: "int8+fp16",
    Precision.FP8: "fp8+fp16",
}


def engine_config(
    precision: Precision,
    *,
    backend: str | None = None,
    compute_capabilities: Sequence[str] = (),
) -> TensorRTConfig:
    """Return the engine config of a variant; the data types are the prepared file's own.

    Args:
        backend: As TensorRTConfig.
        compute_capabilities: Of target GPUs that are not here; empty builds for the local one.

    Raises:
        SpecError: As TensorRTConfig.
    """
    return TensorRTConfig.of(
        _MODES[precision], backend=backend, compute_capabilities=tuple(compute_capabilities)
    )


def engine_shapes(
    inputs: Sequence[InputSpec], dimensions: Mapping[str, DimensionRange]
) -> dict[str, ShapeRange]:
    """Return the smallest, most frequent and largest shape of each input."""

    def shape(spec: InputSpec, which: str) -> tuple[int, ...]:
        return tuple(
            getattr(dimensions[size], which) if isinstance(size, str) else size
            for size in spec.shape
        )

    return {
        spec.name: (shape(spec, "min"), shape(spec, "opt"), shape(spec, "max")) for spec in inputs
    }
