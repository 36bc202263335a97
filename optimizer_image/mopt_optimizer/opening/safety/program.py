"""The serialized program, JSON of torch._export.serde.schema: every string in it has a rule.

torch resolves operators by getattr, and torch.fx pastes names into Python code that it executes:
a node named "x=print(1)" runs. So strings are allowed by what their key means, and a string under
a key that is not known here is refused. Numbers and booleans are harmless anywhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from mopt_optimizer.errors import ModelError, UnsafeModelError

from .expressions import check_expression, check_guard

Check = Callable[[object, str], None]

MAX_JSON_DEPTH = 100
_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_PLAIN = r"[A-Za-z0-9_]+"

# Overloads may be any plain word; names of Python's own attributes begin with underscores.
_ATEN = re.compile(
    r"torch\.ops\.(?:aten|prims|quantized_decomposed)\.(?P<name>[A-Za-z_]\w*)\.[A-Za-z]\w*", re.A
)
_DUNDER_OPERATORS = {
    f"__{prefix}{name}__"
    for prefix in ("", "i")
    for name in ("and", "or", "xor", "lshift", "rshift")
}
# Reads and maps any file of the machine's.
_REFUSED_ATEN = {"from_file"}
_HIGHER_ORDER = {
    *("cond", "while_loop", "scan", "map_impl", "associative_scan", "invoke_subgraph"),
    *("wrap_with_set_grad_enabled", "wrap_with_autocast"),
}
_PYTHON_OPERATORS = {
    *("add", "sub", "mul", "truediv", "floordiv", "mod", "neg", "pos", "pow", "getitem"),
    *("eq", "ne", "lt", "le", "gt", "ge", "and_", "or_", "not_", "lshift", "rshift"),
}
_SYM_FUNCTIONS = {
    *("sym_int", "sym_float", "sym_max", "sym_min", "sym_not", "sym_ite", "sym_sum"),
    *("sym_constrain_range", "sym_constrain_range_for_size", "_sym_sqrt"),
}
_MATH = {"ceil", "floor", "trunc", "sqrt", "log2"}


def check_operator(value: object, where: str) -> None:
    """Check an operator's name: those of torch's own libraries and plain arithmetic.

    Raises:
        UnsafeModelError: Any other, such as torch.os.system, which torch would resolve and call.
    """
    if not isinstance(value, str) or not _is_known_operator(value):
        raise UnsafeModelError(f"{where} names the operator {value!r}, which is not one of torch's")


def _is_known_operator(name: str) -> bool:
    if match := _ATEN.fullmatch(name):
        operator = match["name"]
        if operator.startswith("__"):
            return operator in _DUNDER_OPERATORS
        return operator not in _REFUSED_ATEN
    module, _, function = name.rpartition(".")
    return function in {
        "torch.ops.higher_order": _HIGHER_ORDER,
        "_operator": _PYTHON_OPERATORS,
        "torch": _SYM_FUNCTIONS,
        "math": _MATH,
    }.get(module, set())


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


def check_tree_spec(value: object, where: str) -> None:
    """Check a serialized pytree: tuples, lists and dicts; torch imports modules for others.

    Raises:
        UnsafeModelError: Another container, or a key that is not a name.
    """
    try:
        protocol, spec = json.loads(value) if isinstance(value, str) else (None, None)
    except (ValueError, TypeError, RecursionError) as error:
        raise ModelError(f"{where} is not a tree") from error
    if protocol != 1:
        raise ModelError(f"{where} is a tree of an unknown form")
    for node in _tree_nodes(spec, where):
        kind, context = node.get("type"), node.get("context")
        if kind is None:
            allowed = context is None
        elif kind in ("builtins.tuple", "builtins.list"):
            allowed = context == "null"
        elif kind in ("builtins.dict", "collections.OrderedDict"):
            allowed = _is_list_of_names(context)
        else:
            allowed = False
        if not allowed:
            raise UnsafeModelError(
                f"{where} holds a container that is not plain: {str(kind)[:80]!r}"
            )


def _tree_nodes(spec: object, where: str) -> Iterator[dict[str, Any]]:
    pending = [spec]
    while pending:
        node = pending.pop()
        children = node.get("children_spec") if isinstance(node, dict) else None
        if not isinstance(node, dict) or not isinstance(children, list):
            raise ModelError(f"{where} is not a tree")
        yield node
        pending += children


def _is_list_of_names(context: object) -> bool:
    try:
        keys = json.loads(context) if isinstance(context, str) else None
    except ValueError:
        return False
    return isinstance(keys, list) and all(
        isinstance(key, str) and re.fullmatch(_NAME, key, re.A) for key in keys
    )


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
        ModelError: It has not the shape of such a document.
    """
    if not isinstance(document, dict):
        raise ModelError(f"{where} is not a JSON object")
    _walk(document, where, "", 0)


def _walk(value: object, where: str, key: str, depth: int) -> None:
    if depth > MAX_JSON_DEPTH:
        raise ModelError(f"{where} is nested too deeply")
    if isinstance(value, dict):
        _walk_object(value, where, key, depth)
    elif isinstance(value, list):
        for item in value:
            _walk(item, where, key, depth + 1)
    elif isinstance(value, str):
        check = _STRINGS.get(key)
        if check is None:
            raise UnsafeModelError(f"{where} holds text under the unknown key {key[:80]!r}")
        check(value, f"{where} {key}")


def _walk_object(value: dict[str, Any], where: str, key: str, depth: int) -> None:
    if key == "metadata":
        _check_metadata(value, where)
        return
    check_key = _MAPS.get(key)
    for name, item in value.items():
        if check_key is not None:
            check_key(name, f"{where} {key}")
        elif name in _REFUSED_KEYS and item is not None:
            _refused(name, where)
        elif not _KEY_OF_SCHEMA.fullmatch(name):
            raise UnsafeModelError(f"{where} holds the unknown key {name[:80]!r}")
        if name == "use_pickle" and item is not False:
            raise UnsafeModelError(f"{where}: a pickled payload")
        _walk(item, where, "" if check_key is not None else name, depth + 1)


def _check_metadata(value: dict[str, Any], where: str) -> None:
    for name, item in value.items():
        if name == "source_fn_stack":
            _SOURCE_FN(item, f"{where} {name}")
            if "__" in item:
                raise UnsafeModelError(f"{where} {name} holds a private name")
        elif name in _METADATA:
            _text(item, f"{where} {name}")
        else:
            raise UnsafeModelError(f"{where} holds the unknown metadata {name[:80]!r}")
