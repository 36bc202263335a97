"""OpenVINO on the CPU; it reads ONNX directly. How it is compiled: settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from mopt_optimizer.errors import RuntimeFailure
from mopt_optimizer.runtimes.base import BoundCall, Feeds, Opening, Outputs, Runner, select_feeds
from mopt_optimizer.runtimes.executed import ExecutedGraph

from .executed import executed_graph
from .messages import essence
from .settings import DEVICE, PRECISION_HINT, properties

_NAME = "OpenVINO"
# What the ONNX reader appends to an output's name.
_RESULT_SUFFIX = "/sink_port_0"
_TYPES = {"f32": ov.Type.f32, "bf16": ov.Type.bf16}


def _file_name(port: Any, operation: Any, default: str) -> str:
    """Return the file's name of an input or output.

    A port carries all names of its value, and any of them may come first: of an output behind an
    Identity also that of the Identity's input.
    """
    own: str = operation.get_friendly_name().removesuffix(_RESULT_SUFFIX)
    names: set[str] = port.get_names()
    return own if own in names else min(names, default=default)


def _writable(arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
    """Return arrays whose memory a tensor can share, which refuses read-only ones.

    A tensor does not keep them alive: whoever makes it does, for as long as it is read.
    """
    return [np.require(array, requirements="W") for array in arrays]


class OpenVinoRunner(Runner):
    """A compiled model, of one stream unless more are asked for, and one infer request."""

    def __init__(self, opening: Opening, streams: int = 1) -> None:
        """Compile the model.

        Args:
            streams: Calls that are computed at the same time, each with the opening's threads.
        """
        config = properties(opening.precision, opening.threads, streams, opening.float_precision)
        try:
            core = ov.Core()
            model = core.read_model(str(opening.path))
            self._compiled = core.compile_model(model, DEVICE, config)
            computed_in = self._compiled.get_property(PRECISION_HINT)
            self._request = self._compiled.create_infer_request()
        except RuntimeError as error:
            raise RuntimeFailure(f"{_NAME} cannot open the model: {essence(error)}") from error
        if computed_in != _TYPES[config[PRECISION_HINT]]:
            wanted = opening.float_precision or opening.precision
            raise RuntimeFailure(
                f"{_NAME} would compute in {computed_in}, not in {wanted}, on this CPU"
            )
        self._inputs = [
            _file_name(port, parameter, f"input_{index}")
            for index, (port, parameter) in enumerate(
                zip(model.inputs, model.get_parameters(), strict=True)
            )
        ]
        self._outputs = [
            _file_name(port, result, f"output_{index}")
            for index, (port, result) in enumerate(
                zip(model.outputs, model.get_results(), strict=True)
            )
        ]

    def _infer(self) -> None:
        try:
            self._request.infer()
        except RuntimeError as error:
            raise RuntimeFailure(f"{_NAME} cannot run the model: {essence(error)}") from error

    def _set_inputs(self, feeds: Feeds) -> None:
        self._fed = _writable(select_feeds(self._inputs, feeds, _NAME))
        try:
            for index, array in enumerate(self._fed):
                self._request.set_input_tensor(index, ov.Tensor(array, shared_memory=True))
        except RuntimeError as error:
            raise RuntimeFailure(f"{_NAME} refuses the inputs: {essence(error)}") from error

    def run(self, feeds: Feeds) -> Outputs:
        self._set_inputs(feeds)
        self._infer()
        return {
            name: np.array(self._request.get_output_tensor(index).data)
            for index, name in enumerate(self._outputs)
        }

    def executed(self, feeds: Feeds) -> ExecutedGraph:  # noqa: ARG002 - it is told without a run
        try:
            return executed_graph(self._compiled)
        except RuntimeError as error:
            raise RuntimeFailure(f"{_NAME} does not tell what it runs: {essence(error)}") from error

    def stream(self) -> Callable[[Feeds], None]:
        """Return a call of one thread's own: inference on inputs, in whichever stream is free."""
        request = self._compiled.create_infer_request()

        def infer(feeds: Feeds) -> None:
            fed = _writable(select_feeds(self._inputs, feeds, _NAME))
            try:
                for index, array in enumerate(fed):
                    request.set_input_tensor(index, ov.Tensor(array, shared_memory=True))
                # infer() would compute in the calling thread, beside the streams.
                request.start_async()
                request.wait()
            except RuntimeError as error:
                raise RuntimeFailure(f"{_NAME} cannot run: {essence(error)}") from error
            for index in range(len(self._outputs)):
                np.array(request.get_output_tensor(index).data)

        return infer

    def bind(self, feeds: Feeds) -> BoundCall:
        outputs = self.run(feeds)
        request = self._compiled.create_infer_request()
        held: list[Any] = []
        for index, array in enumerate(_writable(select_feeds(self._inputs, feeds, _NAME))):
            held += [array, ov.Tensor(array, shared_memory=True)]
            request.set_input_tensor(index, held[-1])
        for index, array in enumerate(outputs.values()):
            held += [array, ov.Tensor(array, shared_memory=True)]
            request.set_output_tensor(index, held[-1])

        def call(_held: list[Any] = held) -> None:
            try:
                request.infer()
            except RuntimeError as error:
                raise RuntimeFailure(f"{_NAME} cannot run: {essence(error)}") from error

        return call
