"""Programs with keyword, nested or constant inputs, made to take their tensors by position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mopt_optimizer.errors import ModelError

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram

# The argument that says whether an operator trains, by its name and place.
_TRAINING = {
    "aten.batch_norm.default": ("BatchNorm", "training", 5),
    "aten.dropout.default": ("Dropout", "train", 2),
    "aten.native_dropout.default": ("Dropout", "train", 2),
    "aten.feature_dropout.default": ("Dropout", "train", 2),
    "aten.alpha_dropout.default": ("Dropout", "train", 2),
}


def flatten_inputs(program: ExportedProgram) -> None:
    """Let a program take its input tensors by position, in the order of its user inputs.

    How it was exported (keywords, dicts, lists, constants) is how its Python caller wrote them
    down: the graph has one placeholder for each tensor anyway. Conditions on sizes are kept.
    """
    from torch.export.graph_signature import ConstantArgument, InputKind
    from torch.utils import _pytree as pytree

    entry = program.module_call_graph[0].signature
    if entry is None or entry.in_spec is None:
        return
    given = [s for s in program.graph_signature.input_specs if s.kind is InputKind.USER_INPUT]
    paths = _paths(entry.in_spec, entry.forward_arg_names or [])
    constants = [s for s in given if isinstance(s.arg, ConstantArgument)]
    names = [str(s.arg.name) for s in given if s not in constants]
    flat = pytree.tree_structure((tuple(names), {}))
    if not constants and entry.in_spec == flat:
        return
    for spec in constants:
        # What it was at export is in the graph already.
        program.graph_signature.input_specs.remove(spec)
        for node in program.graph.find_nodes(op="placeholder"):
            if node.name == spec.arg.name:
                program.graph.erase_node(node)
    program.graph_module.recompile()
    tensors = [
        (p, str(s.arg.name)) for p, s in zip(paths, given, strict=True) if s not in constants
    ]
    program._guards_code = [_renamed(guard, tensors) for guard in program._guards_code]
    entry.in_spec = flat
    entry.forward_arg_names = names


def _paths(in_spec: Any, names: Sequence[str]) -> list[str]:
    """Return what guards call each leaf of the inputs, such as L['batch']['ids']."""
    from torch.utils import _pytree as pytree

    args, kwargs = pytree.tree_unflatten(range(in_spec.num_leaves), in_spec)
    by_name = {**dict(zip(names, args, strict=False)), **kwargs}
    found = {
        leaf: f"L{pytree.keystr(path)}" for path, leaf in pytree.tree_leaves_with_path(by_name)
    }
    return [found.get(leaf, "") for leaf in range(in_spec.num_leaves)]


def _renamed(guard: str, tensors: Sequence[tuple[str, str]]) -> str:
    # The longest first: one may be how another begins.
    for path, name in sorted(tensors, key=lambda pair: -len(pair[0])):
        if path:
            guard = guard.replace(path, f"L['{name}']")
    return guard


def check_mode(program: ExportedProgram) -> None:
    """Refuse a program that was exported while it was training.

    Raises:
        ModelError: Names the first operator.
    """
    for node in program.graph.nodes:
        kind, argument, place = _TRAINING.get(str(node.target), ("", "", 0))
        if kind and _argument(node, argument, place) is True:
            raise ModelError(
                f"the program was exported in training mode: {node.name} is a {kind} that trains; "
                "call model.eval() before torch.export.export"
            )


def _argument(node: torch.fx.Node, name: str, place: int) -> Any:
    return node.kwargs.get(name, node.args[place] if len(node.args) > place else None)
