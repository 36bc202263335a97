"""The serialized program, JSON of torch._export.serde.schema: every string in it has a rule.

torch resolves operators by getattr, and torch.fx pastes names into Python code that it executes:
a node named "x=print(1)" runs. So strings are allowed by what their key means, and a string under
a key that is not known here is refused. Numbers and booleans are harmless, but for layouts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from mopt_optimizer.errors import ModelError, UnsafeModelError

from ..limits import MAX_NODES
from .expressions import check_expression, check_guard
from .operators import check_arguments, check_operator
from .trees import check_tree_spec

Check = Callable[[object, str], None]

MAX_JSON_DEPTH = 100
STRIDED = 7
"""torch's number of the plain layout; the indices of others are not checked when they are used."""

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_PLAIN = r"[A-Za-z0-9_]+"


def _matching(pattern: str, what: str) -> Check:
    compiled = re.compile(pattern, re.A)

    def check(value: object, where: str) -> None:
        if not isinstance(value, str) or not compiled.fullmatch(value):
            raise UnsafeModelError(f"{where} holds {str(value)[:80]!r}, not {what}")

    return check


def _text(value: object, where: str) -> None:
    """Free text: torch keeps it as data, or writes it quoted."""
    if not isinstance(value, str):
        raise ModelError(f"{where} is not text")


def _refused(_: object, where: str) -> None:
    raise UnsafeModelError(f"{where}: custom objects are not allowed")


_name = _matching(_NAME, "a name")
_name_or_none = _matching(f"({_NAME})?", "a name")
_qualified = _matching(rf"({_PLAIN}(\.{_PLAIN})*)?", "a dotted name")
_word = _matching(r"[A-Za-z0-9_.+<=]{0,64}", "a word")
_device = _matching(r"[a-z]{1,16}", "a device")
_infinity = _matching(r"-?Infinity|NaN", "a number")

_STRINGS: dict[str, Check] = {
    "name": _name_or_none,
    "as_name": _name,
    "forward_arg_names": _name,
    "user_input_name": _name,
    "parameter_name": _qualified,
    "buffer_name": _qualified,
    "tensor_constant_name": _qualified,
    "fqn": _qualified,
    "target": check_operator,
    "as_operator": check_operator,
    "expr_str": check_expression,
    "guards_code": check_guard,
    "in_spec": check_tree_spec,
    "out_spec": check_tree_spec,
    "as_float": _infinity,
    "as_floats": _infinity,
    "as_string": _text,
    "as_strings": _text,
    "type": _device,
    "verifiers": _word,
    "torch_version": _word,
    "path_name": _matching(r"(weight|tensor)_[0-9]{1,9}", "a record of plain values"),
    "custom_obj_name": _refused,
    "class_fqn": _refused,
}
"""Rule of each string, or list of strings, by the key that it stands under."""

_MAPS: dict[str, Check] = {
    "tensor_values": _name,
    "sym_int_values": _name,
    "sym_float_values": _name,
    "sym_bool_values": _name,
    "range_constraints": check_expression,
    "opset_version": _word,
    "as_string_to_argument": _qualified,
    "config": _qualified,
    "custom_obj_values": _refused,
    "treespec_namedtuple_fields": _refused,
}
"""Objects whose keys come from the model: the rule of those keys."""

_REFUSED_KEYS = {"as_custom_obj", "custom_obj"}
_LAYOUT_KEYS = {"as_layout", "layout"}
_KEY_OF_SCHEMA = re.compile(r"[a-z][a-z0-9_]*", re.A)
# Kept as text; of these only source_fn_stack is resolved, by getattr from torch.
_METADATA = {"stack_trace", "nn_module_stack", "torch_fn", "custom", "from_node"}
_SOURCE_FN = _matching(r"[\w.,;<> ]*", "a list of functions")


def check_program(document: object, where: str) -> None:
    """Check a whole serialized program or payload config.

    Args:
        where: What errors call the document.

    Raises:
        UnsafeModelError: It holds something that torch would run, or an unknown string.
        ModelError: It has not the shape of such a document, or is too large.
    """
    if not isinstance(document, dict):
        raise ModelError(f"{where} is not a JSON object")
    _Walk(where).value(document, where, "", 0)


class _Walk:
    """A walk through one document.

    `place` is the innermost node, or the document: what errors name.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._nodes = 0
        # Sizes are said again for each tensor: most texts are known after the first few.
        self._passed: set[tuple[str, str]] = set()

    def value(self, value: object, place: str, key: str, depth: int) -> None:
        """Check a value under a key, and all that it holds."""
        if depth > MAX_JSON_DEPTH:
            raise ModelError(f"{place} is nested too deeply")
        if isinstance(value, dict):
            self._object(value, place, key, depth)
        elif isinstance(value, list):
            for item in value:
                self.value(item, place, key, depth + 1)
        elif isinstance(value, str):
            self._string(value, place, key)
        elif key in _LAYOUT_KEYS and value is not None and value != STRIDED:
            raise UnsafeModelError(f"{place} {key}: only plain (strided) tensors are allowed")

    def _string(self, value: str, place: str, key: str) -> None:
        check = _STRINGS.get(key)
        if check is None:
            raise UnsafeModelError(f"{place} holds text under the unknown key {key[:80]!r}")
        if (key, value) not in self._passed:
            check(value, f"{place} {key}")
            self._passed.add((key, value))

    def _object(self, value: dict[str, Any], place: str, key: str, depth: int) -> None:
        if key == "metadata":
            _check_metadata(value, place)
            return
        if key == "nodes":
            place = self._node(value)
        check_key = _MAPS.get(key)
        for name, item in value.items():
            if check_key is not None:
                check_key(name, f"{place} {key}")
            else:
                _check_key(name, item, place)
            self.value(item, place, "" if check_key is not None else name, depth + 1)

    def _node(self, node: dict[str, Any]) -> str:
        """Check what a node calls; return what errors call the node."""
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise ModelError(f"{self._where} has more than {MAX_NODES} nodes")
        place = f"{self._where}, node {str(node.get('name') or self._nodes)[:80]!r}"
        check_operator(node.get("target"), place)
        inputs = node.get("inputs", [])
        if not isinstance(inputs, list) or not all(isinstance(i, dict) for i in inputs):
            raise ModelError(f"{place} has no list of inputs")
        check_arguments(node["target"], [i.get("name") for i in inputs], place)
        return place


def _check_key(name: str, item: object, place: str) -> None:
    """Check a key of the schema's own."""
    if name in _REFUSED_KEYS and item is not None:
        _refused(name, place)
    if not _KEY_OF_SCHEMA.fullmatch(name):
        raise UnsafeModelError(f"{place} holds the unknown key {name[:80]!r}")
    if name == "use_pickle" and item is not False:
        raise UnsafeModelError(f"{place}: a pickled payload")


def _check_metadata(value: dict[str, Any], place: str) -> None:
    for name, item in value.items():
        if name == "source_fn_stack":
            _SOURCE_FN(item, f"{place} {name}")
            if "__" in item:
                raise UnsafeModelError(f"{place} {name} holds a private name")
        elif name in ("custom", "from_node"):
            _text(item, f"{place} {name}")
            _check_json(item, f"{place} {name}")
        elif name in _METADATA:
            _text(item, f"{place} {name}")
        else:
            raise UnsafeModelError(f"{place} holds the unknown metadata {name[:80]!r}")


def _check_json(text: str, place: str) -> None:
    """Check JSON inside of JSON, which torch parses."""
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{place} is not JSON") from error
