"""The process that builds one engine: a typed ONNX file in, the engine with its manifest out.

It has no credentials in its environment: TensorRT's parser and builder are native code, and read
what others made. Started by stage.py.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from mopt_api.base import Digest, ObservedModel
from mopt_api.enums import Precision
from mopt_api.inputs import AnyDimension, InputSpec
from mopt_optimizer.progress import Log
from mopt_optimizer.runtimes.tensorrt import BackendName, TensorRTOptimizer
from mopt_optimizer.runtimes.tensorrt.plan import engine_config, engine_shapes
from mopt_optimizer.sandbox import serve

ENGINE_FILE = "model.engine"


class EngineRequest(ObservedModel):
    """What to build.

    Attributes:
        onnx: Path of the typed file.
        source_digest: Of the FP32 model that it was made from.
        compute_capabilities: GPUs to build for.
    """

    onnx: str
    source_digest: Digest
    precision: Precision
    inputs: list[InputSpec]
    dimensions: dict[str, AnyDimension]
    compute_capabilities: list[str]


class EngineAnswer(ObservedModel):
    """The engine is ENGINE_FILE in the folder.

    Attributes:
        layer_datatypes: How many layers read each type.
    """

    layer_datatypes: dict[str, int] = {}
    warnings: list[str] = []
    seconds: float = 0.0


def handle(payload: dict[str, Any], workdir: Path, _log: Log) -> dict[str, Any]:
    """Build an engine.

    Raises:
        SpecError, DimensionError, ModelError, EngineBuildError, EngineOutOfMemory, DiskError: As
            build_typed.
    """
    request = EngineRequest.model_validate(payload)
    config = engine_config(
        request.precision,
        backend=BackendName.TENSORRT_RTX,
        compute_capabilities=request.compute_capabilities,
    )
    report = TensorRTOptimizer(config).build_typed(
        request.onnx,
        workdir / ENGINE_FILE,
        engine_shapes(request.inputs, request.dimensions),
        source_digest=request.source_digest,
    )
    return EngineAnswer(
        layer_datatypes=report.manifest.layer_datatypes,
        warnings=list(report.warnings),
        seconds=round(report.seconds, 3),
    ).to_api()


if __name__ == "__main__":
    sys.exit(serve(handle))
