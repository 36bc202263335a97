"""Serialized pytrees: how a program's inputs and outputs are nested."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from mopt_optimizer.errors import ModelError, UnsafeModelError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.A)


def check_tree_spec(value: object, where: str) -> None:
    """Check a serialized pytree: tuples, lists and dicts; torch imports modules for others.

    Raises:
        UnsafeModelError: Another container, or a key that is not a name.
        ModelError: It is not a tree.
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
                f"{where} holds a container that is not plain: {str(kind)[:80]!r}; export a model "
                "that takes and returns tensors, tuples, lists and dicts"
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
    except (ValueError, RecursionError):
        return False
    return isinstance(keys, list) and all(
        isinstance(key, str) and _NAME.fullmatch(key) for key in keys
    )
