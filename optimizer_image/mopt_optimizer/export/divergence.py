"""Finds where a graph first diverges from its reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mopt_optimizer.errors import RuntimeFailure
from mopt_optimizer.onnx_files.verify import Arrays, Case, OnnxSession, compare, difference

if TYPE_CHECKING:
    from torch.export import ExportedProgram

# Intermediate values held at once; each group costs one session and one run.
_GROUP = 32

Values = Callable[[Sequence[str]], Mapping[str, NDArray[Any]]]
"""Returns the named intermediate values, as far as the reference has them."""


@dataclass(frozen=True)
class Divergence:
    """The first node in graph order whose result differs from the reference."""

    node: str
    op_type: str
    value: str
    max_abs_error: float
    tolerance: float
    message: str


def first_divergence(path: str | Path, inputs: Arrays, reference: Values) -> Divergence | None:
    """Return the first node of the main graph whose output differs from the reference's.

    Values are matched by name, which passes and torch's exporter keep; nodes whose outputs the
    reference lacks are skipped.

    Raises:
        RuntimeFailure: The model does not run.
    """
    import onnx_ir as ir

    path = Path(path)
    model = ir.load(path)
    nodes = [node for node in model.graph if node.outputs and node.outputs[0].name]
    for start in range(0, len(nodes), _GROUP):
        group = {str(node.outputs[0].name): node for node in nodes[start : start + _GROUP]}
        expected = reference(list(group))
        found = intermediate_values(path, list(expected), inputs)
        for name, node in group.items():
            if name not in expected:
                continue
            result = difference(name, found[name], expected[name])
            if not result.passed:
                return Divergence(
                    str(node.name or name),
                    node.op_type,
                    name,
                    result.max_abs_error,
                    result.tolerance,
                    result.message.removeprefix("output "),
                )
    return None


def intermediate_values(
    path: Path, names: Sequence[str], inputs: Arrays
) -> dict[str, NDArray[Any]]:
    """Return intermediate values of a graph, computed without ONNX Runtime's optimizations.

    Raises:
        RuntimeFailure: The model does not run.
    """
    import onnx

    if not names:
        return {}
    model = onnx.load(path, load_external_data=False)
    had = {value.name for value in model.graph.output}
    for name in names:
        if name not in had:
            model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    # Next to the model, where its external data is found.
    with TemporaryDirectory(dir=path.parent) as folder:
        shown = Path(folder) / "shown.onnx"
        for tensor in model.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    link = Path(folder) / entry.value
                    if not link.exists():
                        link.hardlink_to(path.parent / entry.value)
        onnx.save(model, shown)
        session = OnnxSession(shown, optimized=False)
        found = dict(zip(session.outputs, session.run(inputs), strict=True))
    return {name: found[name] for name in names}


def onnx_values(path: str | Path, inputs: Arrays) -> Values:
    """Return the intermediate values of another ONNX file as the reference."""
    import onnx

    path = Path(path)
    model = onnx.load(path, load_external_data=False)
    known = {name for node in model.graph.node for name in node.output if name}

    def values(names: Sequence[str]) -> Mapping[str, NDArray[Any]]:
        return intermediate_values(path, [name for name in names if name in known], inputs)

    return values


def program_values(program: ExportedProgram, inputs: Arrays) -> Values:
    """Return the intermediate values of PyTorch eager as the reference.

    torch's exporter names values after the program's nodes. The program is rerun for each group, so
    that only that group's values are held.

    Args:
        inputs: In the program's order.
    """
    import torch

    program = program.run_decompositions({})
    tensors = [torch.from_numpy(array) for array in inputs.values()]

    def values(names: Sequence[str]) -> Mapping[str, NDArray[Any]]:
        wanted, found = set(names), {}

        class Recorder(torch.fx.Interpreter):
            def run_node(self, n: torch.fx.Node) -> Any:
                result = super().run_node(n)
                if n.name in wanted and isinstance(result, torch.Tensor):
                    found[n.name] = np.array(result.detach().numpy())
                return result

        module = program.module()
        with torch.no_grad():
            Recorder(module).run(*tensors)
        return found

    return values


def explain(path: Path, cases: Sequence[Case], model: Any) -> str:
    """Return the node where an export first diverges, as the end of a message; "" if unknown."""
    import torch

    if not isinstance(model, torch.export.ExportedProgram):
        return ""
    try:
        session = OnnxSession(path)
        for case in cases:
            if all(d.passed for d in compare(session, case)):
                continue
            found = first_divergence(path, case.inputs, program_values(model, case.inputs))
            if found is not None:
                return f"; first at node {found.node} ({found.op_type}): {found.message}"
            return "; no single node differs before ONNX Runtime's own optimizations"
    except RuntimeFailure as error:
        return f"; it does not run at other sizes either: {error}"
    return ""
