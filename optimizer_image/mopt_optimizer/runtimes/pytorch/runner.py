"""PyTorch eager: the source model (ExportedProgram or TorchScript), or a 16-bit variant.

On a GPU PyTorch's defaults apply: convolutions in TF32, matrix products in FP32.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from mopt_optimizer.errors import RuntimeFailure, first_line
from mopt_optimizer.opening.loading import (
    SCRIPT_SUFFIX,
    load_exported_program,
    load_torchscript,
    script_parameters,
)
from mopt_optimizer.runtimes.base import (
    BoundCall,
    Feeds,
    Opening,
    Outputs,
    Runner,
    failure,
    select_feeds,
)

NAME = "PyTorch"


def _check_cuda() -> None:
    if not torch.cuda.is_available():
        built = torch.version.cuda
        what = f"built for CUDA {built}" if built else "built without CUDA"
        raise RuntimeFailure(f"{NAME} {torch.__version__} finds no NVIDIA GPU ({what})")


def placed(program: ExportedProgram, device: torch.device) -> ExportedProgram:
    """Return a program moved to a device, with the tensors that its graph creates."""
    if device.type == "cpu":
        return program
    from torch.export.passes import move_to_device_pass

    try:
        return move_to_device_pass(program, device)
    except RuntimeError as error:
        raise failure(f"{NAME} cannot open the model: {first_line(error)}") from error


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors of nested outputs, in order."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
    else:
        raise RuntimeFailure(f"{NAME}: the model returns a {type(value).__name__}, not a tensor")


class PyTorchRunner(Runner):
    """The program's or script's module, called in inference_mode.

    Eager PyTorch allocates each output anew; that is part of its latency.
    """

    _module: torch.nn.Module
    _inputs: list[str]
    _optional: frozenset[str] = frozenset()
    _by_name = False
    _device = torch.device("cpu")

    def __init__(self, opening: Opening) -> None:
        if opening.threads:
            torch.set_num_threads(opening.threads)
        self._device = torch.device("cuda" if opening.gpu else "cpu")
        if opening.gpu:
            _check_cuda()
        path = opening.path
        with tempfile.TemporaryDirectory(dir=opening.workdir) as folder:
            if path.suffix == SCRIPT_SUFFIX:
                self._module = load_torchscript(path, Path(folder))
                parameters = script_parameters(self._module)
                self._inputs = list(parameters)
                self._optional = frozenset(n for n, needed in parameters.items() if not needed)
                self._by_name = True
                if opening.gpu:
                    self._module.to(self._device)
            else:
                program = load_exported_program(path, Path(folder))
                self._inputs = [str(name) for name in program.graph_signature.user_inputs]
                self._module = placed(program, self._device).module()

    def _call(self, tensors: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        """Return the outputs on the host; copies in both directions are part of the call."""
        try:
            with torch.inference_mode():
                return self._on_host(self._computed(self._on_device(tensors)))
        # Shape guards raise AssertionError, operators RuntimeError or a subclass.
        except (RuntimeError, ValueError, AssertionError, TypeError, IndexError) as error:
            raise failure(f"{NAME} cannot run the model: {first_line(error)}") from error

    def _computed(self, tensors: dict[str, torch.Tensor]) -> Any:
        return self._module(**tensors) if self._by_name else self._module(*tensors.values())

    def _on_device(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: tensor.to(self._device) for name, tensor in tensors.items()}

    def _on_host(self, outputs: Any) -> list[torch.Tensor]:
        # A copy to the host waits for the computation.
        return [tensor.cpu() for tensor in _tensors(outputs)]

    def _feed(self, feeds: Feeds) -> dict[str, torch.Tensor]:
        names = [n for n in self._inputs if n in feeds or n not in self._optional]
        arrays = select_feeds(names, feeds, NAME)
        return {n: torch.from_numpy(a) for n, a in zip(names, arrays, strict=True)}

    def run(self, feeds: Feeds) -> Outputs:
        outputs = self._call(self._feed(feeds))
        return {f"output_{index}": t.numpy().copy() for index, t in enumerate(outputs)}

    def bind(self, feeds: Feeds) -> BoundCall:
        tensors = self._feed(feeds)

        def call() -> None:
            self._call(tensors)

        return call
