"""PyTorch compiled by torch.compile (Inductor): an ExportedProgram, in any precision."""

from __future__ import annotations

import torch

# Registers quantize_per_tensor and related operators, which INT8 programs call.
import torch.ao.quantization.fx._decomposed

from mopt_optimizer.errors import QuantizationError, RuntimeFailure, first_line
from mopt_optimizer.opening.loading import SCRIPT_SUFFIX
from mopt_optimizer.runtimes.base import BoundCall, Feeds, Opening, failure
from mopt_optimizer.torch_quantization.config import Execution
from mopt_optimizer.torch_quantization.executing import Executor
from mopt_optimizer.torch_quantization.int8 import expand_weights

from .runner import NAME, PyTorchRunner


class CompiledRunner(PyTorchRunner):
    """A program that is compiled for the sizes of each call: at the first call, and in bind.

    There is no fallback to eager: if compilation fails, so does the call.
    """

    def __init__(self, opening: Opening) -> None:
        if opening.path.suffix == SCRIPT_SUFFIX:
            raise RuntimeFailure(f"{NAME} cannot compile TorchScript; it needs an ExportedProgram")
        super().__init__(opening)
        self._module.requires_grad_(False)
        if isinstance(self._module, torch.fx.GraphModule):
            expand_weights(self._module)
        self._executor = self._new_executor()

    def _new_executor(self) -> Executor:
        return Executor(self._module, Execution.COMPILE, "the program")

    def _call(self, tensors: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        return self._compiled_call(self._executor, tensors)

    def _compiled_call(
        self, executor: Executor, tensors: dict[str, torch.Tensor]
    ) -> list[torch.Tensor]:
        before = executor.compile_seconds
        try:
            return self._on_host(executor(tuple(self._on_device(tensors).values())))
        except (
            QuantizationError,
            RuntimeError,
            ValueError,
            AssertionError,
            TypeError,
            IndexError,
        ) as error:
            raise failure(f"{NAME} cannot run the model: {first_line(error)}") from error
        finally:
            self.compile_seconds += executor.compile_seconds - before

    def bind(self, feeds: Feeds) -> BoundCall:
        tensors = self._feed(feeds)
        # Its own executor: a shared one compiles only for the first few of many evaluated sizes.
        executor = self._new_executor()
        self._compiled_call(executor, tensors)

        def call() -> None:
            self._compiled_call(executor, tensors)

        return call
