"""Asks a server over HTTP: tensors as bytes, or as JSON where it takes no bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from mopt_api.text import one_line
from mopt_optimizer.errors import EndpointError
from mopt_optimizer.serving.datatypes import COMPUTE_PARAMETER, HEADER_LENGTH, QUEUE_PARAMETER

from .client import (
    MOST_BYTES,
    Answer,
    Array,
    Ask,
    Feeds,
    Metadata,
    Tensor,
    Times,
    array_of,
    datatype_of,
)

_REFUSED = range(400, 500)
_SHORT = 300


class _Tensor(BaseModel):
    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Any] | None = None
    data: list[Any] | None = None


class _Metadata(BaseModel):
    inputs: list[_Tensor]
    outputs: list[_Tensor]


class _Answer(BaseModel):
    outputs: list[_Tensor]
    parameters: dict[str, Any] | None = None


class _Models(BaseModel):
    models: list[str]


class HttpClient:
    """A client of one server, with one connection that is kept.

    Args:
        url: http:// or https:// and what comes before /v2.
        timeout: Seconds for one answer.
    """

    def __init__(self, url: str, timeout: float) -> None:
        self.where = url.rstrip("/")
        self._client = httpx.Client(timeout=timeout, trust_env=False)
        self._binary = True

    def models(self) -> Sequence[str]:
        """Return the names of its models; empty where it does not tell, as Triton."""
        response = self._ask("GET", "/v2/models")
        if not response.is_success:
            return ()
        try:
            return _Models.model_validate_json(response.content).models
        except ValidationError:
            return ()

    def metadata(self, model: str) -> Metadata:
        """Return a model's inputs and outputs; raises EndpointError."""
        response = self._ask("GET", _path(model))
        self._check(response)
        try:
            told = _Metadata.model_validate_json(response.content)
        except ValidationError as error:
            raise self._strange(f"the metadata of {model}", error) from error
        return Metadata(_tensors(told.inputs), _tensors(told.outputs))

    def asking(self, model: str, feeds: Feeds) -> Ask:
        """Return what asks for a model's outputs; raises EndpointError."""
        path = f"{_path(model)}/infer"
        requests = {True: _binary_request(feeds), False: _json_request(feeds)}

        def ask() -> Answer:
            response = self._ask("POST", path, *requests[self._binary])
            if self._binary and response.status_code in _REFUSED:
                refusal = response
                response = self._ask("POST", path, *requests[False])
                # It takes JSON alone; else the request itself is refused, in its own words.
                self._binary = not response.is_success
                response = response if response.is_success else refusal
            self._check(response)
            return self._answer(response)

        return ask

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    def _ask(
        self,
        method: str,
        path: str,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        try:
            request = self._client.build_request(
                method, f"{self.where}{path}", content=content, headers=headers
            )
            response = self._client.send(request, stream=True)
            return _read(response, self.where)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            why = one_line(str(error) or type(error).__name__, _SHORT)
            raise EndpointError(f"{self.where} does not answer: {why}") from error

    def _check(self, response: httpx.Response) -> None:
        if not response.is_success:
            said = one_line(_error_in(response), _SHORT)
            raise EndpointError(f"{self.where} answers {response.status_code}: {said}")

    def _strange(self, what: str, error: Exception) -> EndpointError:
        first = str(error).splitlines()[0]
        return EndpointError(f"{self.where}: {what} is not as the protocol has it: {first}")

    def _answer(self, response: httpx.Response) -> Answer:
        body = memoryview(response.content)
        end = len(body)
        length = response.headers.get(HEADER_LENGTH)
        if length is not None and length.isdecimal():
            end = min(int(length), end)
        try:
            answer = _Answer.model_validate_json(bytes(body[:end]))
        except ValidationError as error:
            raise self._strange("the answer", error) from error
        outputs: dict[str, Array] = {}
        for tensor in answer.outputs:
            content: object = tensor.data
            if tensor.data is None:
                size = (tensor.parameters or {}).get("binary_data_size")
                if not isinstance(size, int) or not 0 <= size <= len(body) - end:
                    raise EndpointError(f"{self.where}: an output has no data")
                content = body[end : end + size]
                end += size
            outputs[tensor.name] = array_of(tensor.name, tensor.datatype, tensor.shape, content)
        return Answer(outputs, times_of(answer.parameters or {}))


def times_of(parameters: Mapping[str, object]) -> Times | None:
    """Return what an answer says of the server's time. Pure."""
    queue, compute = (parameters.get(name) for name in (QUEUE_PARAMETER, COMPUTE_PARAMETER))
    if not isinstance(queue, int) or not isinstance(compute, int):
        return None
    return Times(queue, compute)


def _read(response: httpx.Response, where: str) -> httpx.Response:
    """Read a response that is not larger than it may be."""
    parts, size = [], 0
    try:
        for part in response.iter_bytes():
            size += len(part)
            if size > MOST_BYTES:
                raise EndpointError(f"{where} answers more than {MOST_BYTES} bytes")
            parts.append(part)
    finally:
        response.close()
    # It is whole and decoded now.
    headers = [(k, v) for k, v in response.headers.multi_items() if k != "content-encoding"]
    return httpx.Response(
        response.status_code, headers=headers, content=b"".join(parts), request=response.request
    )


def _error_in(response: httpx.Response) -> str:
    """Return what a server says of an error: in the protocol's form, else how its text begins."""
    try:
        said = json.loads(response.content)
    except (ValueError, RecursionError):
        return response.content[:_SHORT].decode(errors="replace") or response.reason_phrase
    return str(said.get("error", said)) if isinstance(said, dict) else str(said)


def _path(model: str) -> str:
    return f"/v2/models/{quote(model, safe='')}"


def _tensors(tensors: Sequence[_Tensor]) -> tuple[Tensor, ...]:
    return tuple(Tensor(each.name, each.datatype, tuple(each.shape)) for each in tensors)


def _described(name: str, array: Array) -> dict[str, object]:
    return {"name": name, "shape": list(array.shape), "datatype": datatype_of(array)}


def _binary_request(feeds: Feeds) -> tuple[bytes, dict[str, str]]:
    inputs = [
        _described(name, array) | {"parameters": {"binary_data_size": array.nbytes}}
        for name, array in feeds.items()
    ]
    header = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    body = b"".join([header, *(array.tobytes() for array in feeds.values())])
    headers = {HEADER_LENGTH: str(len(header)), "content-type": "application/octet-stream"}
    return body, headers


def _json_request(feeds: Feeds) -> tuple[bytes, dict[str, str]]:
    inputs = [
        _described(name, array) | {"data": array.reshape(-1).tolist()}
        for name, array in feeds.items()
    ]
    return json.dumps({"inputs": inputs}).encode(), {"content-type": "application/json"}
