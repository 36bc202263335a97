"""Conv+BatchNorm folded, ReLU in place behind Conv and Linear: found by torch.fx, then checked."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.export import ExportedProgram
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mopt_optimizer.errors import CalibrationError, first_line
from mopt_optimizer.onnx_files.verify import difference

from .capturing import (
    CALL_FAILURES,
    float_copy,
    input_names,
    module_name,
    quiet,
    run_sample,
    torchao,
)
from .reports import Fusion, FusionReport, Pattern
from .sampling import Args, positional

_NORMS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv1d: nn.BatchNorm1d,
    nn.Conv2d: nn.BatchNorm2d,
    nn.Conv3d: nn.BatchNorm3d,
}
_RELU_FUNCTIONS = (nn.functional.relu, torch.relu, torch.relu_, nn.functional.relu_)
_RELU_METHODS = ("relu", "relu_")
# What tracing a forward that was not written for it may raise: it runs on proxies.
_TRACE_FAILURES = (
    fx.proxy.TraceError,
    *CALL_FAILURES,
    AttributeError,
    NameError,
    NotImplementedError,
)


@dataclass(frozen=True)
class _Match:
    """Nodes of one traced module, by name, that can be fused."""

    path: str
    pattern: Pattern
    producer: str
    norm: str | None
    relu: str | None
    fusion: Fusion


def fuse_modules(
    model: nn.Module | ExportedProgram, example_inputs: Any
) -> tuple[nn.Module, FusionReport]:
    """Return a copy of the model with its batch norms folded and its ReLUs in place.

    The whole model is traced; where that fails, the largest parts of it that can be. A fusion acts
    where the first module's output goes nowhere else and each module is called once. Outputs are
    compared before and after; fusions that change them are rolled back one by one.

    Args:
        model: Is not changed. For inference: batch norm as in eval().
        example_inputs: A tensor, or a tuple or mapping of them, that the model takes.

    Raises:
        CalibrationError: The model does not take the example.
        NonFiniteWeight: A parameter holds NaN or infinity.
    """
    work = float_copy(model)
    names, _ = input_names(work)
    return fuse(work, positional(example_inputs, names, "the example"))


def fuse(work: nn.Module, args: Args) -> tuple[nn.Module, FusionReport]:
    """Return the fused model; see fuse_modules. `work` may be changed."""
    reference = run_sample(work, args, "the example")
    if _is_captured(work):
        return _fuse_captured(work, args, reference)
    untraceable: dict[str, str] = {}
    parts = dict(_traceable(work, "", untraceable))
    matches = [match for path, part in parts.items() for match in _matches(path, part, work)]
    if not matches:
        return work, FusionReport(untraceable=untraceable)
    candidate = _apply(work, parts, matches)
    error = _error(candidate, args, reference)
    rolled_back: list[_Match] = []
    if error is None:
        kept: list[_Match] = []
        candidate, error = work, 0.0
        for match in matches:
            attempt = _apply(work, parts, [*kept, match])
            attempt_error = _error(attempt, args, reference)
            if attempt_error is None:
                rolled_back.append(match)
            else:
                kept.append(match)
                candidate, error = attempt, attempt_error
        matches = kept
    return candidate, FusionReport(
        fused=tuple(match.fusion for match in matches),
        rolled_back=tuple(match.fusion for match in rolled_back),
        untraceable=untraceable,
        max_abs_error=error,
    )


def _error(module: nn.Module, args: Args, reference: Sequence[torch.Tensor]) -> float | None:
    """Return the largest difference of any output; None where they are no longer the same."""
    try:
        outputs = run_sample(module, args, "the example")
    except CalibrationError:
        return None
    if len(outputs) != len(reference):
        return None
    worst = 0.0
    for index, (found, expected) in enumerate(zip(outputs, reference, strict=True)):
        if not expected.is_floating_point():
            if not torch.equal(found, expected):
                return None
            continue
        compared = difference(str(index), found.float().numpy(), expected.float().numpy())
        if not compared.passed:
            return None
        worst = max(worst, float(compared.max_abs_error))
    return worst


def _traceable(
    module: nn.Module, path: str, untraceable: dict[str, str]
) -> Iterator[tuple[str, fx.GraphModule]]:
    """Yield the largest parts that torch.fx can trace, each under its path."""
    if not list(module.children()):
        return
    with quiet():
        try:
            traced = fx.symbolic_trace(module)
        except _TRACE_FAILURES as error:
            reason = first_line(error)
        else:
            yield path, traced
            return
    if not isinstance(module, (nn.ModuleList, nn.ModuleDict)):
        untraceable[path] = reason
    for name, child in module.named_children():
        yield from _traceable(child, f"{path}.{name}" if path else name, untraceable)


def _matches(path: str, part: fx.GraphModule, root: nn.Module) -> Iterator[_Match]:
    modules: dict[str, nn.Module] = dict(part.named_modules())
    calls = [str(node.target) for node in part.graph.nodes if node.op == "call_module"]
    # Modules shared under two names, in this part or outside it, must stay as they are.
    owners = [id(module) for _, module in root.named_modules(remove_duplicate=False)]

    def module_of(node: fx.Node) -> nn.Module | None:
        if node.op != "call_module" or calls.count(str(node.target)) != 1:
            return None
        module = modules[str(node.target)]
        if owners.count(id(module)) > 1 or _has_hooks(module):
            return None
        return module

    def sole_user(node: fx.Node) -> fx.Node | None:
        users = list(node.users)
        takes_it_once = len(users) == 1 and users[0].all_input_nodes == [node]
        return users[0] if takes_it_once else None

    for node in part.graph.nodes:
        producer = module_of(node)
        norm_class = _NORMS.get(type(producer)) if producer is not None else None
        if norm_class is None and type(producer) is not nn.Linear:
            continue
        chain = [node]
        norm = None
        following = sole_user(node)
        if norm_class and following is not None:
            candidate = module_of(following)
            if type(candidate) is norm_class and candidate.track_running_stats:
                norm = following
                chain.append(norm)
                following = sole_user(norm)
        relu = following if following is not None and _is_relu(following, module_of) else None
        if relu is not None:
            chain.append(relu)
        if len(chain) == 1:
            continue
        words = ["Conv" if norm_class else "Linear", *(["BN"] if norm else [])]
        pattern: Any = "+".join([*words, *(["ReLU"] if relu else [])])
        names = tuple(_full_name(path, step) for step in chain)
        yield _Match(
            path=path,
            pattern=pattern,
            producer=node.name,
            norm=norm.name if norm else None,
            relu=relu.name if relu else None,
            fusion=Fusion(pattern=pattern, modules=names),
        )


def _full_name(path: str, node: fx.Node) -> str:
    name = str(node.target) if node.op == "call_module" else node.name
    return f"{path}.{name}" if path else name


def _has_hooks(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _is_relu(node: fx.Node, module_of: Any) -> bool:
    if node.op == "call_function":
        return node.target in _RELU_FUNCTIONS
    if node.op == "call_method":
        return node.target in _RELU_METHODS
    return type(module_of(node)) is nn.ReLU


def _apply(
    work: nn.Module, parts: Mapping[str, fx.GraphModule], matches: Sequence[_Match]
) -> nn.Module:
    """Return a copy of the model with these fusions."""
    result = copy.deepcopy(work)
    for path, part in parts.items():
        chosen = [match for match in matches if match.path == path]
        if not chosen:
            continue
        fused = copy.deepcopy(part)
        nodes = {node.name: node for node in fused.graph.nodes}
        for match in chosen:
            _fuse_one(fused, nodes, match)
        fused.graph.lint()
        fused.recompile()
        fused.delete_all_unused_submodules()
        if not path:
            return fused
        result.set_submodule(path, fused)
    return result


def _fuse_one(module: fx.GraphModule, nodes: Mapping[str, fx.Node], match: _Match) -> None:
    producer = nodes[match.producer]
    name = str(producer.target)
    if match.norm is not None:
        norm = nodes[match.norm]
        folded = fuse_conv_bn_eval(
            module.get_submodule(name),  # type: ignore[type-var]
            module.get_submodule(str(norm.target)),  # type: ignore[arg-type]
        )
        module.set_submodule(name, folded)
        norm.replace_all_uses_with(producer)
        module.graph.erase_node(norm)
    if match.relu is not None:
        relu = nodes[match.relu]
        # A module, not a function: the quantizer finds Conv and ReLU by their modules.
        target = str(relu.target) if relu.op == "call_module" else f"{name}_relu"
        module.set_submodule(target, nn.ReLU(inplace=True))
        with module.graph.inserting_after(producer):
            in_place = module.graph.call_module(target, (producer,))
        relu.replace_all_uses_with(in_place)
        module.graph.erase_node(relu)


def _is_captured(module: nn.Module) -> bool:
    """Return whether it is a graph of torch.export's: operators, no modules."""
    return isinstance(module, fx.GraphModule) and any(
        isinstance(node.target, torch._ops.OpOverload) for node in module.graph.nodes
    )


def _fuse_captured(
    work: nn.Module, args: Args, reference: Sequence[torch.Tensor]
) -> tuple[nn.Module, FusionReport]:
    """Fold the batch norms of a captured graph, all or none."""
    candidate = copy.deepcopy(work)
    if not isinstance(candidate, fx.GraphModule):
        return work, FusionReport()
    fusions = tuple(_captured_pairs(candidate))
    if not fusions:
        return work, FusionReport()
    with quiet():
        torchao("utils")._fuse_conv_bn_(candidate)
    error = _error(candidate, args, reference)
    if error is None:
        return work, FusionReport(rolled_back=fusions)
    return candidate, FusionReport(fused=fusions, max_abs_error=error)


def _captured_pairs(module: fx.GraphModule) -> Iterator[Fusion]:
    for node in module.graph.nodes:
        if str(node.target) != "aten.batch_norm.default":
            continue
        producer = node.args[0]
        if isinstance(producer, fx.Node) and str(producer.target).startswith("aten.conv"):
            names = (module_name(n) or n.name for n in (producer, node))
            yield Fusion(pattern="Conv+BN", modules=tuple(names))
