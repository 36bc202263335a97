"""Where the server differs from KServe's: binary data, what it says of itself, a fixed model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from kserve import InferRequest
from kserve.errors import InvalidInput
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.model_repository_extension import ModelRepositoryExtension

from mopt_api.version import VERSION
from mopt_optimizer.serving.datatypes import HEADER_LENGTH

from .configuration import EXTENSION
from .tensors import binary_request

SERVER_NAME = "mopt"
_EXTENSIONS = ["binary_tensor_data", EXTENSION]


class Plane(DataPlane):  # type: ignore[misc]
    """KServe's data plane; tensors that come as bytes stay bytes."""

    def metadata(self) -> dict[str, Any]:
        """Return what the server says of itself."""
        return {"name": SERVER_NAME, "version": VERSION, "extensions": _EXTENSIONS}

    def decode_inference_request(
        self, body: object, headers: Mapping[str, str], model_name: str
    ) -> InferRequest:
        """Return a request that came over HTTP.

        Raises:
            InvalidInput
        """
        if not isinstance(body, bytes):
            return super().decode_inference_request(body, headers, model_name)
        length = headers.get(HEADER_LENGTH)
        if length is None:
            raise InvalidInput(
                "the body is neither JSON, with Content-Type application/json, nor binary data, "
                "with Inference-Header-Content-Length"
            )
        return binary_request(body, length, model_name)


class FixedModels(ModelRepositoryExtension):  # type: ignore[misc]
    """Whoever can send a request cannot take the model away."""

    async def load(self, model_name: str) -> NoReturn:
        """Raises InvalidInput."""
        raise InvalidInput(f"{model_name} is not loaded by requests: start mopt serve with it")

    async def unload(self, model_name: str) -> NoReturn:
        """Raises InvalidInput."""
        raise InvalidInput(f"{model_name} is not unloaded by requests")
