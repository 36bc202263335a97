"""Linear in INT8 or FP8 for NVIDIA GPUs: activations scaled per row on each call, weights before.

torchao's recipes Int8DynamicActivationInt8Weight and Float8DynamicActivationFloat8Weight (PerRow),
written out in torch's own operators. torchao itself decides by the device it runs on what a program
computes, refuses FP8 without the GPU, and its weights are no plain tensors, which a .pt2 without
pickles cannot hold. This file is made without a GPU, is the same for every GPU, and runs on a CPU
too, so that its numbers are known.

What is no Linear, convolutions above all, stays as it is: neither PyTorch nor torchao has kernels.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import fx, nn
from torch.export import ExportedProgram

from mopt_optimizer.errors import QuantizationError

from .capturing import capture, drop_unused_weights, float_copy, module_name
from .int8 import excluded_modules
from .sampling import Args

# torch._int_mm on CUDA takes no fewer than 17 rows: so many are added to whatever there is.
_ADDED_ROWS = 16
_LARGEST_INT8 = 127.0
_LARGEST_FP8 = 448.0
_TINIEST = torch.finfo(torch.float32).tiny


class LinearType(StrEnum):
    """What Linear multiplies."""

    INT8 = "INT8"
    FP8 = "FP8"

    @property
    def multiple(self) -> int:
        """What both sizes of a weight must be a multiple of, for the GPU's kernels."""
        return 8 if self is LinearType.INT8 else 16


@dataclass(frozen=True)
class LinearReport:
    """What became of a program's layers.

    Attributes:
        quantized: Modules of Linear in 8 bits, in graph order.
        kept: Those of Linear that stay FP32, each with the reason.
        others: Number of layers with weights that are no Linear.
    """

    quantized: tuple[str, ...]
    kept: dict[str, str]
    others: int


def _scaled(values: torch.Tensor, largest: float, *, per_row: bool) -> tuple[torch.Tensor, ...]:
    """Return a matrix divided by its scales, and these, of shape (rows, 1) or (1, 1)."""
    peaks = values.abs().amax(dim=1, keepdim=True) if per_row else values.abs().amax().reshape(1, 1)
    scales = (peaks / largest).clamp(min=_TINIEST)
    return values / scales, scales


class _Linear(nn.Module):
    """Base: x of (..., in) to (..., out), in FP32 outside."""

    weight: torch.Tensor
    scales: torch.Tensor
    bias: torch.Tensor | None

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor | None, *, per_channel: bool
    ) -> None:
        super().__init__()
        narrow, scales = self.narrowed(weight.float(), per_row=per_channel)
        self.register_buffer("weight", narrow)
        # One for each channel in any case: kernels take no mixture.
        self.register_buffer("scales", scales.expand(weight.shape[0], 1).t().contiguous())
        self.register_buffer("bias", None if bias is None else bias.float())

    def narrowed(self, values: torch.Tensor, *, per_row: bool) -> tuple[torch.Tensor, ...]:
        """Return a matrix in 8 bits, and its scales."""
        raise NotImplementedError

    def products(self, rows: torch.Tensor) -> torch.Tensor:
        """Return rows of FP32 times the weight, of shape (rows, out)."""
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the layer."""
        rows = x.reshape(-1, x.shape[-1])
        found = self.products(rows.float())
        if self.bias is not None:
            found = found + self.bias
        return found.reshape(*x.shape[:-1], self.weight.shape[0])


class Int8Linear(_Linear):
    """Products of integers, added up in 32 bits."""

    def narrowed(self, values: torch.Tensor, *, per_row: bool) -> tuple[torch.Tensor, ...]:
        """Return a matrix in 8 bits, and its scales."""
        scaled, scales = _scaled(values, _LARGEST_INT8, per_row=per_row)
        return scaled.round().clamp(-_LARGEST_INT8, _LARGEST_INT8).to(torch.int8), scales

    def products(self, rows: torch.Tensor) -> torch.Tensor:
        """Return rows of FP32 times the weight, of shape (rows, out)."""
        narrow, scales = self.narrowed(rows, per_row=True)
        padded = nn.functional.pad(narrow, (0, 0, 0, _ADDED_ROWS))
        sums = torch._int_mm(padded, self.weight.t())[: rows.shape[0]]
        return sums.float() * scales * self.scales


class Fp8Linear(_Linear):
    """Products of E4M3 floats; sums come back in BF16, the only type that such kernels give."""

    def narrowed(self, values: torch.Tensor, *, per_row: bool) -> tuple[torch.Tensor, ...]:
        """Return a matrix in 8 bits, and its scales."""
        scaled, scales = _scaled(values, _LARGEST_FP8, per_row=per_row)
        return scaled.clamp(-_LARGEST_FP8, _LARGEST_FP8).to(torch.float8_e4m3fn), scales

    def products(self, rows: torch.Tensor) -> torch.Tensor:
        """Return rows of FP32 times the weight, of shape (rows, out)."""
        narrow, scales = self.narrowed(rows, per_row=True)
        return torch._scaled_mm(
            narrow,
            self.weight.t(),
            scale_a=scales,
            scale_b=self.scales,
            out_dtype=torch.bfloat16,
            use_fast_accum=True,
        ).float()


_LAYERS: dict[LinearType, type[_Linear]] = {
    LinearType.INT8: Int8Linear,
    LinearType.FP8: Fp8Linear,
}
_OTHERS = ("conv",)


def narrow_linears(
    model: ExportedProgram,
    kind: LinearType,
    example: Args,
    *,
    per_channel: bool = True,
    exclude: tuple[str, ...] = (),
) -> tuple[ExportedProgram, LinearReport]:
    """Return a program whose Linear layers multiply in 8 bits.

    Args:
        example: Inputs to capture with; sizes stay free where the program leaves them.
        per_channel: A scale for each output channel of a weight.
        exclude: Patterns of modules that stay FP32, as QuantizationConfig has them.

    Raises:
        QuantizationError: No Linear that could be in 8 bits; says what there is.
        SpecError: A pattern that matches no module.
        NonFiniteWeight, ExportError.
    """
    module = float_copy(model)
    if not isinstance(module, fx.GraphModule):
        raise QuantizationError(f"torch gave a {type(module).__name__} instead of a graph")
    excluded = set(excluded_modules(module, exclude))
    quantized: dict[str, None] = {}
    kept: dict[str, str] = {}
    others = 0
    for node in list(module.graph.nodes):
        if _is_other(node):
            others += 1
        if node.op != "call_function" or node.target is not torch.ops.aten.linear.default:
            continue
        name = module_name(node) or node.name
        weight = _held(module, node.args[1])
        if reason := _why_kept(name, weight, kind, excluded):
            kept[name] = reason
            continue
        bias = node.args[2] if len(node.args) > 2 else None
        held = None if bias is None else _held(module, bias)
        assert weight is not None  # noqa: S101 - what is not held is kept
        _replace(module, node, _LAYERS[kind](weight, held, per_channel=per_channel))
        quantized[name] = None
    if not quantized:
        raise QuantizationError(_nothing_to_do(kind, kept, others))
    drop_unused_weights(module)
    program = capture(module, example, dynamic=True)
    return program, LinearReport(tuple(quantized), kept, others)


def _nothing_to_do(kind: LinearType, kept: dict[str, str], others: int) -> str:
    stay = "; ".join(f"{name} {why}" for name, why in list(kept.items())[:4])
    if stay:
        return f"no Linear can be in {kind}: {stay}"
    layers = f"; its convolutions, {others} of them, stay as they are" if others else ""
    return f"the model has no Linear, which alone PyTorch computes in {kind} on a GPU{layers}"


def _is_other(node: fx.Node) -> bool:
    return node.op == "call_function" and getattr(node.target, "__name__", "").startswith(_OTHERS)


def _held(module: fx.GraphModule, argument: object) -> torch.Tensor | None:
    """Return the tensor that an argument reads from the module; None where it is computed."""
    if not isinstance(argument, fx.Node) or argument.op != "get_attr":
        return None
    owner, _, leaf = str(argument.target).rpartition(".")
    value = getattr(module.get_submodule(owner), leaf)
    return value.detach() if isinstance(value, torch.Tensor) else None


def _why_kept(
    name: str, weight: torch.Tensor | None, kind: LinearType, excluded: set[str]
) -> str | None:
    if name in excluded:
        return "is excluded"
    if weight is None:
        return "computes its weight"
    if weight.dtype is not torch.float32:
        return f"has a weight of {weight.dtype}"
    if any(size % kind.multiple for size in weight.shape):
        sizes = " x ".join(map(str, weight.shape))
        return f"has a weight of {sizes}, which are no multiples of {kind.multiple}"
    return None


def _replace(module: fx.GraphModule, node: fx.Node, layer: nn.Module) -> None:
    name = f"_narrow_{node.name}"
    module.add_submodule(name, layer)
    with module.graph.inserting_before(node):
        call = module.graph.call_module(name, (node.args[0],))
    node.replace_all_uses_with(call)
    module.graph.erase_node(node)
