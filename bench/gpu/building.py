"""Makes the forms of a program: what is called with a tensor on the device."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import fx

from mopt_optimizer.runtimes.pytorch.runner import placed
from mopt_optimizer.torch_quantization.capturing import quiet, tensors
from mopt_optimizer.torch_quantization.config import QuantizationType
from mopt_optimizer.torch_quantization.halves import narrowed
from mopt_optimizer.torch_quantization.linears import LinearType, narrow_linears

from .forms import Form, Mode, Type
from .models import open_program

Call = Callable[[torch.Tensor], list[torch.Tensor]]
_HALVES = {Type.FP16: QuantizationType.FP16, Type.BF16: QuantizationType.BF16}
_LINEAR = {Type.INT8: LinearType.INT8, Type.FP8: LinearType.FP8}


@dataclass(frozen=True)
class Layers:
    """How many layers of a program there are of the kinds that decide its forms."""

    linear: int
    convolutions: int


class Workshop:
    """Opens a program and makes its forms.

    Attributes:
        note: Why the program is another than the file's; None where it is that.
        layers: Of the program.
    """

    def __init__(self, path: Path, workdir: Path, device: torch.device) -> None:
        self._path = path
        self._workdir = workdir
        self._device = device
        program, self.note = open_program(path, workdir)
        targets = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
        self.layers = Layers(
            sum(target.startswith("aten.linear") for target in targets),
            sum(target.startswith("aten.conv") for target in targets),
        )
        self._inputs = [str(name) for name in program.graph_signature.user_inputs]
        with quiet():
            self._module = placed(program, device).module().requires_grad_(False)

    def form(self, form: Form, example: torch.Tensor) -> Call:
        """Return what computes a form; nothing is compiled before its first call.

        Args:
            example: One sample, on the host.

        Raises:
            OptimizerError: It cannot be made of this model.
            RuntimeError: torch, or the memory.
        """
        module = self._made(form, example)
        if form.channels_last:
            module = module.to(memory_format=torch.channels_last)
        if form.mode is Mode.EAGER:
            return _eager(module, channels_last=form.channels_last)
        return _compiled(module, form)

    def _made(self, form: Form, example: torch.Tensor) -> Any:
        if form.type in _LINEAR:
            program, _ = open_program(self._path, self._workdir)
            # A batch of 1 would be fixed to that.
            pair = torch.cat([example, example])
            made, _ = narrow_linears(program, _LINEAR[form.type], (pair,))
            with quiet():
                return placed(made, self._device).module().requires_grad_(False)
        module = copy.deepcopy(self._module)
        if form.type in _HALVES and isinstance(module, fx.GraphModule):
            module, _ = narrowed(module, _HALVES[form.type], self._inputs, ())
        return module


def _arranged(tensor: torch.Tensor, *, channels_last: bool) -> torch.Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if channels_last else tensor


def _eager(module: Any, *, channels_last: bool) -> Call:
    def call(tensor: torch.Tensor) -> list[torch.Tensor]:
        with torch.inference_mode():
            return tensors(module(_arranged(tensor, channels_last=channels_last)))

    return call


def _compiled(module: Any, form: Form) -> Call:
    # Of this form alone: what another left would count as a recompilation of it.
    torch._dynamo.reset()
    compiled: Any = torch.compile(module, dynamic=False, fullgraph=True, mode=form.mode.torch_mode)
    # The last call's outputs may be overwritten after it.
    next_call: Any = torch.compiler.cudagraph_mark_step_begin

    def call(tensor: torch.Tensor) -> list[torch.Tensor]:
        with torch.no_grad():
            if form.mode is not Mode.COMPILED:
                next_call()
            return tensors(compiled(_arranged(tensor, channels_last=form.channels_last)))

    return call
