"""A form as KServe serves it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kserve import InferRequest, InferResponse, Model
from kserve.errors import InferenceError, InvalidInput, ModelNotReady

from mopt_optimizer.errors import OptimizerError
from mopt_optimizer.serving.datatypes import COMPUTE_PARAMETER, QUEUE_PARAMETER

from .computing import Busy, Instances
from .configuration import model_configuration
from .reading import Folder
from .tensors import arrays_of, input_metadata, output_metadata, response_of, wanted_outputs

_NS_PER_US = 1000


class ServedModel(Model):  # type: ignore[misc]
    """A form: its metadata, and its answers."""

    def __init__(self, name: str, folder: Folder, instances: Instances) -> None:
        """Raises UnservableForm where KServe's server lacks the type of an input or output."""
        super().__init__(name)
        described = folder.description
        self._inputs = folder.inputs
        self._outputs = [tensor.name for tensor in described.outputs]
        self._input_types = input_metadata(described.inputs)
        self._output_types = output_metadata(described.outputs)
        self._batch = described.batch
        self._instances = instances
        self.ready = True

    def get_input_types(self) -> list[dict[str, Any]]:
        """Return the inputs as the protocol's metadata has them."""
        return self._input_types

    def get_output_types(self) -> list[dict[str, Any]]:
        """Return the outputs as the protocol's metadata has them."""
        return self._output_types

    def configuration(self) -> dict[str, Any]:
        """Return what Triton's configuration of the model would say."""
        return model_configuration(self.name, self._input_types, self._output_types, self._batch)

    async def predict(
        self,
        payload: InferRequest,
        headers: Mapping[str, str] | None = None,  # noqa: ARG002 - as KServe calls it
        response_headers: Mapping[str, str] | None = None,  # noqa: ARG002
    ) -> InferResponse:
        """Return the answer to a request.

        Raises:
            InvalidInput: The client's fault.
            ModelNotReady: Too many requests wait.
            InferenceError: The runtime fails.
        """
        if not isinstance(payload, InferRequest):
            raise InvalidInput(f"ask by protocol v2: POST /v2/models/{self.name}/infer")
        wanted = wanted_outputs(payload, self._outputs)
        arrays = arrays_of(payload, self._inputs)
        try:
            found = await self._instances.compute(arrays)
        except Busy as error:
            raise ModelNotReady(self.name, str(error)) from error
        except OptimizerError as error:
            raise InferenceError(str(error)) from error
        outputs = dict(zip(self._outputs, found.outputs, strict=True))
        times = {QUEUE_PARAMETER: found.queue_ns, COMPUTE_PARAMETER: found.compute_ns}
        return response_of(
            payload,
            {name: outputs[name] for name in wanted},
            {name: ns // _NS_PER_US for name, ns in times.items()},
        )
