"""Asks a server over gRPC, by the stubs of KServe's protocol."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import grpc

from mopt_api.text import one_line
from mopt_optimizer.errors import EndpointError

from .client import MOST_BYTES, Answer, Array, Ask, Feeds, Metadata, Tensor, array_of, datatype_of
from .http import times_of

_SHORT = 300
# Of an output that comes as numbers, not as bytes.
_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}


@contextmanager
def without_arguments() -> Iterator[None]:
    """Hide this process's arguments: KServe's package parses them when it is imported."""
    before = sys.argv[:]
    del sys.argv[1:]
    try:
        yield
    finally:
        sys.argv[:] = before


class GrpcClient:
    """A client of one server.

    Args:
        address: HOST:PORT.
        timeout: Seconds for one answer.
    """

    def __init__(self, address: str, timeout: float) -> None:
        with without_arguments():
            from kserve.protocol.grpc import grpc_predict_v2_pb2, grpc_predict_v2_pb2_grpc
        self.where = address
        self._messages: Any = grpc_predict_v2_pb2
        self._timeout = timeout
        options = [
            ("grpc.max_receive_message_length", MOST_BYTES),
            ("grpc.max_send_message_length", -1),
        ]
        self._channel = grpc.insecure_channel(address, options=options)
        self._stub = grpc_predict_v2_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    def models(self) -> Sequence[str]:
        """Return nothing: the protocol has no list of models over gRPC."""
        return ()

    def metadata(self, model: str) -> Metadata:
        """Return a model's inputs and outputs; raises EndpointError."""
        request = self._messages.ModelMetadataRequest(name=model)
        with self._answered():
            told = self._stub.ModelMetadata(request, timeout=self._timeout)
        return Metadata(_tensors(told.inputs), _tensors(told.outputs))

    def asking(self, model: str, feeds: Feeds) -> Ask:
        """Return what asks for a model's outputs; raises EndpointError."""
        kind = self._messages.ModelInferRequest
        request = kind(
            model_name=model,
            inputs=[
                kind.InferInputTensor(name=name, datatype=datatype_of(array), shape=array.shape)
                for name, array in feeds.items()
            ],
            raw_input_contents=[array.tobytes() for array in feeds.values()],
        )

        def ask() -> Answer:
            with self._answered():
                answer = self._stub.ModelInfer(request, timeout=self._timeout)
            return _answer(answer)

        return ask

    def close(self) -> None:
        """End the connection."""
        self._channel.close()

    @contextmanager
    def _answered(self) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as error:
            code, said = error.code(), one_line(str(error.details()), _SHORT)
            if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                raise EndpointError(f"{self.where} does not answer: {said}") from error
            raise EndpointError(f"{self.where} answers {code.name}: {said}") from error


def _tensors(tensors: Sequence[Any]) -> tuple[Tensor, ...]:
    return tuple(Tensor(each.name, each.datatype, tuple(each.shape)) for each in tensors)


def _answer(answer: Any) -> Answer:
    raw = list(answer.raw_output_contents)
    outputs: dict[str, Array] = {}
    for number, tensor in enumerate(answer.outputs):
        content: object = None
        if number < len(raw):
            content = raw[number]
        elif tensor.datatype in _CONTENTS:
            content = list(getattr(tensor.contents, _CONTENTS[tensor.datatype]))
        outputs[tensor.name] = array_of(tensor.name, tensor.datatype, tuple(tensor.shape), content)
    parameters = {name: value.int64_param for name, value in answer.parameters.items()}
    return Answer(outputs, times_of(parameters))
