"""The ONNX standard's own test models, as onnx.backend.test ships them: no download."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test import loader

_DATA = Path(loader.__file__).parents[1] / "data"
FOLDERS = ("simple", "pytorch-converted", "pytorch-operator")
SUITES = ("node", *FOLDERS, "light")
# As onnx.backend.test.runner takes them where a case names none.
_RTOL, _ATOL = 1e-3, 1e-7

Values = list[Any]


@dataclass(frozen=True)
class SuiteCase:
    """A model, what is fed and what the standard expects of it, in order.

    Attributes:
        suite: Of SUITES. light holds the architectures of the real suite, their weights computed.
        sets: Inputs and outputs: arrays, lists of arrays for sequences, None for an absent value.
        rtol, atol: Tolerances of the outputs.
    """

    suite: str
    name: str
    model: onnx.ModelProto
    sets: list[tuple[Values, Values]]
    rtol: float = _RTOL
    atol: float = _ATOL

    @property
    def operators(self) -> list[str]:
        """Its operators, those of other domains with their domain."""
        return sorted({f"{n.domain}.{n.op_type}".lstrip(".") for n in self.model.graph.node})


@cache
def _node_tests() -> dict[str, Any]:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return {case.name: case for case in loader.load_model_tests(kind="node")}


def names(suite: str) -> list[str]:
    """Return the names of a suite's cases, sorted."""
    if suite == "node":
        return sorted(_node_tests())
    if suite == "light":
        return sorted(path.stem for path in (_DATA / suite).glob("*.onnx"))
    return sorted(path.parent.name for path in (_DATA / suite).glob("*/model.onnx"))


def load(suite: str, name: str) -> SuiteCase:
    """Return a case."""
    return _LOADERS.get(suite, _from_folder)(suite, name)


def _node(suite: str, name: str) -> SuiteCase:
    test = _node_tests()[name]
    sets = [
        ([_value(i) for i in fed], [_value(o) for o in wanted]) for fed, wanted in test.data_sets
    ]
    return SuiteCase(suite, name, test.model, sets, test.rtol, test.atol)


def _value(value: Any) -> Any:
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    return np.asarray(value) if isinstance(value, np.generic) else value  # A scalar.


def _from_folder(suite: str, name: str) -> SuiteCase:
    folder = _DATA / suite / name
    model = onnx.load(folder / "model.onnx")
    sets = []
    for data in sorted(folder.glob("test_data_set_*")):
        fed = list(_files(data, "input", model.graph.input))
        sets.append((fed, list(_files(data, "output", model.graph.output))))
    return SuiteCase(suite, name, model, sets)


def _files(folder: Path, kind: str, values: Any) -> Iterator[Any]:
    for number in range(len(list(folder.glob(f"{kind}_*.pb")))):
        content = (folder / f"{kind}_{number}.pb").read_bytes()
        which = values[number].type.WhichOneof("value")
        yield _PARSED[which](content)


def _tensor(content: bytes) -> Any:
    return numpy_helper.to_array(onnx.TensorProto.FromString(content))


_PARSED: dict[str, Callable[[bytes], Any]] = {
    "tensor_type": _tensor,
    "sequence_type": lambda b: numpy_helper.to_list(onnx.SequenceProto.FromString(b)),
    "optional_type": lambda b: numpy_helper.to_optional(onnx.OptionalProto.FromString(b)),
}


def _light(suite: str, name: str) -> SuiteCase:
    """Return a model of the real suite: fed a ramp, as the standard's runner feeds it."""
    path = _DATA / suite / f"{name}.onnx"
    model = onnx.load(path)
    weights = {tensor.name for tensor in model.graph.initializer}
    fed: Values = []
    for value in model.graph.input:
        if value.name not in weights:
            shape = tuple(axis.dim_value or 1 for axis in value.type.tensor_type.shape.dim)
            count = int(np.prod(shape))
            fed.append((np.arange(count).reshape(shape) / count).astype(np.float32))
    wanted = list(_files_of(path, len(model.graph.output)))
    return SuiteCase(suite, name, model, [(fed, wanted)])


def _files_of(path: Path, count: int) -> Iterator[Any]:
    for number in range(count):
        yield _tensor(path.with_name(f"{path.stem}_output_{number}.pb").read_bytes())


_LOADERS: dict[str, Callable[[str, str], SuiteCase]] = {"node": _node, "light": _light}
