"""forward's arguments as named tensors, and which of their axes are dynamic."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mopt_optimizer.errors import DimensionError, SpecError

if TYPE_CHECKING:
    import torch

DynamicAxes = Mapping[str, Mapping[int, str] | Sequence[int]]
"""torch.onnx's legacy form: {"image": {0: "batch", 2: "height"}} or {"image": [0, 2]}."""


@dataclass
class DynamicAxis:
    """One dynamic axis.

    Attributes:
        hint: Passed to torch.export: a Dim, or Dim.DYNAMIC.
        name: The caller's name of the size; None if it has none.
        required: Whether it is an error if the model fixes the axis; not for Dim.AUTO.
    """

    hint: Any
    name: str | None = None
    required: bool = True


@dataclass
class Leaf:
    """One tensor among forward's arguments."""

    name: str
    tensor: torch.Tensor
    axes: dict[int, DynamicAxis] = field(default_factory=dict)


@dataclass
class Signature:
    """forward's arguments, and the tensors in them by name, in order.

    Attributes:
        arguments: By parameter; tensors may be nested in lists, tuples and dicts.
        args, kwargs: As passed to forward.
    """

    leaves: list[Leaf]
    arguments: dict[str, Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def call_with(self, tensors: Mapping[str, torch.Tensor]) -> tuple[tuple[Any, ...], dict]:  # type: ignore[type-arg]
        """Return args and kwargs with the tensors replaced, by name."""
        by_id = {id(leaf.tensor): tensors[leaf.name] for leaf in self.leaves}

        def replaced(value: Any) -> Any:
            return _mapped(value, lambda tensor: by_id[id(tensor)])

        return replaced(self.args), replaced(self.kwargs)

    def dynamic_shapes(self) -> dict[str, Any]:
        """Return the dynamic axes in torch.export's form."""
        axes = {id(leaf.tensor): leaf.axes for leaf in self.leaves}

        def shape(tensor: torch.Tensor) -> dict[int, Any] | None:
            return {axis: dynamic.hint for axis, dynamic in axes[id(tensor)].items()} or None

        return {name: _mapped(value, shape, None) for name, value in self.arguments.items()}


_KEEP = object()


def _mapped(value: Any, change: Callable[[torch.Tensor], Any], other: Any = _KEEP) -> Any:
    """Map every tensor in nested containers; keep or replace the rest."""
    import torch

    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, list | tuple):
        return type(value)([_mapped(item, change, other) for item in value])
    if isinstance(value, dict):
        return {key: _mapped(item, change, other) for key, item in value.items()}
    return value if other is _KEEP else other


def bind(
    forward: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Signature:
    """Return the signature of a call to forward.

    Raises:
        SpecError: forward does not accept the arguments, or none is a tensor.
    """
    try:
        bound = inspect.signature(forward).bind(*args, **kwargs)
    except TypeError as error:
        raise SpecError(f"dummy_input does not fit forward: {error}") from error
    except ValueError as error:  # a built-in without a signature
        raise SpecError(f"forward has no readable signature: {error}") from error
    # Each tensor becomes its own object, since tensors are looked up by id.
    args = _mapped(args, lambda tensor: tensor.detach().view_as(tensor))
    keywords = _mapped(dict(kwargs), lambda tensor: tensor.detach().view_as(tensor))
    bound = inspect.signature(forward).bind(*args, **keywords)
    arguments: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        kind = bound.signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_KEYWORD:
            arguments |= value
        else:
            arguments[name] = value
    leaves: list[Leaf] = []
    for name, value in arguments.items():
        _collect(name, value, leaves)
    if not leaves:
        raise SpecError("dummy_input holds no tensor")
    return Signature(leaves, arguments, args, keywords)


def _collect(name: str, value: Any, leaves: list[Leaf]) -> None:
    import torch

    if isinstance(value, torch.Tensor):
        leaves.append(Leaf(name, value))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _collect(f"{name}_{index}", item, leaves)
    elif isinstance(value, dict):
        for key, item in value.items():
            _collect(f"{name}_{key}", item, leaves)


def apply_dynamic_axes(leaves: Sequence[Leaf], axes: DynamicAxes, outputs: Sequence[str]) -> None:
    """Mark axes given in torch.onnx's legacy form.

    Args:
        outputs: Names whose axes may also be given; they follow from the inputs'.

    Raises:
        DimensionError: An input or axis that does not exist.
    """
    from torch.export import Dim

    by_name = {leaf.name: leaf for leaf in leaves}
    for name, wanted in axes.items():
        if name not in by_name:
            if name in outputs:
                continue
            raise DimensionError(
                f"dynamic_axes names {name!r}; the inputs are {', '.join(by_name)}, "
                f"the outputs {', '.join(outputs)}"
            )
        pairs = wanted.items() if isinstance(wanted, Mapping) else ((a, None) for a in wanted)
        for axis, label in pairs:
            number = checked_axis(by_name[name], axis)
            by_name[name].axes[number] = DynamicAxis(Dim.DYNAMIC, label)


def checked_axis(leaf: Leaf, axis: object) -> int:
    """Return an axis as a non-negative index.

    Raises:
        DimensionError: The tensor lacks it.
    """
    rank = leaf.tensor.dim()
    if not isinstance(axis, int) or not -rank <= axis < rank:
        raise DimensionError(f"input {leaf.name} has no axis {axis!r}: its rank is {rank}")
    return axis % rank


def apply_dynamic_shapes(signature: Signature, shapes: Any) -> None:
    """Mark axes given as torch.export's dynamic_shapes; strings may also name sizes.

    Raises:
        DimensionError: It does not match forward's arguments.
    """
    names = list(signature.arguments)
    if isinstance(shapes, list | tuple):
        if len(shapes) != len(names):
            raise DimensionError(f"dynamic_shapes has {len(shapes)} entries for {len(names)}")
        shapes = dict(zip(names, shapes, strict=True))
    if unknown := set(shapes) - set(names):
        raise DimensionError(
            f"dynamic_shapes names {', '.join(map(str, unknown))}; forward takes "
            + ", ".join(names)
        )
    by_id = {id(leaf.tensor): leaf for leaf in signature.leaves}
    for name, spec in shapes.items():
        _apply(signature.arguments[name], spec, by_id, name)


def _apply(value: Any, spec: Any, by_id: Mapping[int, Leaf], where: str) -> None:
    import torch

    if spec is None:
        return
    if isinstance(value, torch.Tensor):
        leaf = by_id[id(value)]
        items = spec.items() if isinstance(spec, Mapping) else enumerate(spec)
        for axis, hint in items:
            if (dynamic := _dynamic(hint)) is not None:
                leaf.axes[checked_axis(leaf, axis)] = dynamic
        return
    try:
        if isinstance(value, dict):
            parts = [(value[key], spec[key]) for key in spec]
        else:
            parts = list(zip(value, spec, strict=True))
    except (KeyError, TypeError, ValueError) as error:
        raise DimensionError(f"dynamic_shapes of {where} does not match the argument") from error
    for item, item_spec in parts:
        _apply(item, item_spec, by_id, where)


def _dynamic(hint: Any) -> DynamicAxis | None:
    from torch.export import Dim

    if hint is None or isinstance(hint, int) or hint is Dim.STATIC:
        return None
    if isinstance(hint, str):
        return DynamicAxis(Dim.DYNAMIC, hint)
    return DynamicAxis(hint, getattr(hint, "__name__", None), required=hint is not Dim.AUTO)
