"""Between the protocol's tensors and numpy; what a client gets wrong is told in one line."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from kserve import InferInput, InferOutput, InferRequest, InferResponse
from kserve.errors import InvalidInput
from kserve.protocol.infer_type import RequestedOutput
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from mopt_optimizer.data.declared import check_arrays
from mopt_optimizer.errors import DataError, DimensionError, UnservableForm, first_line
from mopt_optimizer.opening.inputs import ModelInput
from mopt_optimizer.serving.datatypes import DATATYPES, TEXT_DATATYPE
from mopt_optimizer.serving.description import DescribedTensor

Array = NDArray[Any]

_TEXT = "string"


def input_metadata(tensors: Sequence[DescribedTensor]) -> list[dict[str, Any]]:
    """Return inputs as the model's metadata has them: -1 is a size that varies.

    Raises:
        UnservableForm: A type that this server does not take.
    """
    return [_metadata(tensor, DATATYPES) for tensor in tensors]


def output_metadata(tensors: Sequence[DescribedTensor]) -> list[dict[str, Any]]:
    """Return outputs, which may be text, as input_metadata."""
    return [_metadata(tensor, DATATYPES | {_TEXT: TEXT_DATATYPE}) for tensor in tensors]


def _metadata(tensor: DescribedTensor, known: Mapping[str, str]) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "datatype": _datatype(tensor, known),
        "shape": [dim if isinstance(dim, int) else -1 for dim in tensor.dims],
    }


def _datatype(tensor: DescribedTensor, known: Mapping[str, str]) -> str:
    if tensor.dtype not in known:
        raise UnservableForm(
            f"{tensor.name} is {tensor.dtype}, a type that KServe's server does not have: choose a "
            "variant with another type there"
        )
    return known[tensor.dtype]


class _BinaryInput(BaseModel):
    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: list[Any] | None = None


class _BinaryOutput(BaseModel):
    name: str
    parameters: dict[str, Any] = {}


class _BinaryRequest(BaseModel):
    id: str | None = None
    parameters: dict[str, Any] = {}
    inputs: list[_BinaryInput]
    outputs: list[_BinaryOutput] | None = None


def binary_request(body: bytes, header_length: str, model: str) -> InferRequest:
    """Return a request whose tensors follow its JSON as bytes, see the extension for binary data.

    KServe's own reader turns each byte into a Python number.

    Raises:
        InvalidInput: Its parts do not fit together.
    """
    if not header_length.isdecimal() or int(header_length) > len(body):
        raise InvalidInput(
            f"Inference-Header-Content-Length is {header_length[:20]!r}, the body has "
            f"{len(body)} bytes"
        )
    end = int(header_length)
    try:
        request = _BinaryRequest.model_validate(json.loads(body[:end]))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise InvalidInput(f"the request's JSON: {where}: {first['msg']}") from error
    except ValueError as error:  # Neither UTF-8 nor JSON.
        raise InvalidInput(f"the request's JSON: {first_line(error)}") from error
    inputs = []
    for given in request.inputs:
        tensor = InferInput(given.name, given.shape, given.datatype, given.data)
        if given.data is None:
            size = given.parameters.get("binary_data_size")
            if not isinstance(size, int) or not 0 <= size <= len(body) - end:
                raise InvalidInput(
                    f"input {given.name}: binary_data_size is {size!r}, and "
                    f"{len(body) - end} bytes are left in the body"
                )
            tensor.data = np.frombuffer(body, np.uint8, size, end)
            end += size
        inputs.append(tensor)
    if end != len(body):
        raise InvalidInput(f"{len(body) - end} bytes of the body belong to no input")
    outputs = [RequestedOutput(each.name, each.parameters) for each in request.outputs or ()]
    return InferRequest(
        model_name=model,
        infer_inputs=inputs,
        request_id=request.id,
        parameters=request.parameters,
        request_outputs=outputs or None,
    )


def arrays_of(request: InferRequest, inputs: Sequence[ModelInput]) -> dict[str, Array]:
    """Return the arrays of a request by name, each as the model takes it.

    Raises:
        InvalidInput: An input that is missing, unknown or there twice; another type or shape, or
            data that do not make it; a size that was not measured.
    """
    known = {spec.name: spec for spec in inputs}
    names = [tensor.name for tensor in request.inputs]
    if sorted(names) != sorted(known):
        raise InvalidInput(
            f"the inputs are {', '.join(names) or 'none'}; the model's are {', '.join(known)}"
        )
    arrays = {t.name: _array(t, DATATYPES[known[t.name].dtype]) for t in request.inputs}
    try:
        check_arrays("the request", arrays, inputs, values=False)
    except (DataError, DimensionError) as error:
        raise InvalidInput(str(error)) from error
    return arrays


def _array(tensor: InferInput, datatype: str) -> Array:
    if tensor.datatype != datatype:
        raise InvalidInput(
            f"input {tensor.name} has datatype {tensor.datatype[:16]}, the model takes {datatype}"
        )
    if any(size < 0 for size in tensor.shape):
        raise InvalidInput(f"input {tensor.name} has shape {tensor.shape}: no size is negative")
    try:
        data = tensor.data
        if isinstance(data, np.ndarray):  # Bytes, see binary_request.
            found: Array = data.view(_dtype(datatype)).reshape(tensor.shape)
        else:
            found = tensor.as_numpy()
    except (ValueError, TypeError, OverflowError) as error:
        values = math.prod(tensor.shape)
        raise InvalidInput(
            f"input {tensor.name}: its data are not {values} values of {datatype}, as its shape "
            f"{tensor.shape} takes: {first_line(error)}"
        ) from error
    # PyTorch and OpenVINO compute on the memory itself.
    return np.require(found, requirements=("C", "W", "A"))


def _dtype(datatype: str) -> np.dtype[Any]:
    return np.dtype(next(name for name, known in DATATYPES.items() if known == datatype))


def wanted_outputs(request: InferRequest, names: Sequence[str]) -> list[str]:
    """Return the names of the outputs that are asked for, in the model's order.

    Raises:
        InvalidInput: One that the model does not have.
    """
    asked = [output.name for output in request.request_outputs or ()]
    if unknown := [name for name in asked if name not in names]:
        raise InvalidInput(f"the model has no output {unknown[0]}; it has {', '.join(names)}")
    return [name for name in names if not asked or name in asked]


def response_of(
    request: InferRequest, outputs: Mapping[str, Array], parameters: Mapping[str, int]
) -> InferResponse:
    """Return the answer to a request, encoded as it asks for."""
    return InferResponse(
        response_id=request.id or uuid.uuid4().hex,
        model_name=request.model_name,
        infer_outputs=[
            _output(name, array, as_bytes=request.from_grpc) for name, array in outputs.items()
        ],
        parameters=dict(parameters),
        from_grpc=request.from_grpc,
        use_binary_outputs=request.use_binary_outputs,
        requested_outputs=request.request_outputs,
    )


def _output(name: str, array: Array, *, as_bytes: bool) -> InferOutput:
    text = array.dtype.kind == "U"
    data = array.astype(np.object_) if text else array
    datatype = TEXT_DATATYPE if text else DATATYPES[array.dtype.name]
    output = InferOutput(name, list(array.shape), datatype, data=data)
    if as_bytes:  # KServe encodes arrays for HTTP only.
        output.set_data_from_numpy(data)
    return output
