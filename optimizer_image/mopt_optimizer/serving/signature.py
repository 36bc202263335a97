"""The signature of a model file: inputs and outputs as the file has them. Pure."""

from __future__ import annotations

from pydantic import Field

from mopt_api.base import ObservedModel
from mopt_optimizer.runtimes.tensorrt.backends import BackendName


class TensorSignature(ObservedModel):
    """An input or output.

    Attributes:
        dtype: As numpy names it; None where the format does not say.
        dims: Of each axis its size, the file's name of a dynamic one, or None for one without a
            name. None as a whole where the format does not even tell the rank.
    """

    name: str
    dtype: str | None = None
    dims: list[int | str | None] | None = None


class EngineSignature(ObservedModel):
    """What the manifest of a TensorRT engine says beside its inputs and outputs.

    Attributes:
        profiles: The (smallest, largest) shape of each input.
    """

    backend: BackendName
    tensorrt_version: str
    version_compatible: bool = False
    profiles: dict[str, tuple[list[int], list[int]]] = {}


class Signature(ObservedModel):
    """Inputs and outputs of a model file.

    Attributes:
        archive: Whether the file is an archive of an ONNX file with its weights, which no server
            opens.
        engine: Of a TensorRT engine.
    """

    inputs: list[TensorSignature] = Field(min_length=1)
    outputs: list[TensorSignature] = []
    archive: bool = False
    engine: EngineSignature | None = None
