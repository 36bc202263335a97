"""What a function of a TorchScript archive may say, statement by statement."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mopt_optimizer.errors import ModelError, UnsafeModelError

from .operators import known_operators

MAX_DEPTH = 100
MAX_PATH = 50
MAX_TEXT = 1024 * 1024
"""Characters of a text that code puts together from constants: torch does so while it loads it."""

_ROOTS = {"torch", "ops", "__torch__", "CONSTANTS"}
_CONSTANT = re.compile(r"c[0-9]{1,9}")
RESERVED = _ROOTS | {"fork", "awaitable", "annotate", "unchecked_cast", "uninitialized", "getattr"}
"""Names that torch resolves, and that no variable, argument or function may have."""

_CONVERSIONS = {
    *("int", "float", "bool", "str", "complex", "sorted", "range", "len", "max", "min", "abs"),
    *("sum", "all", "any", "round", "pow", "divmod", "list", "dict", "tuple", "zip", "enumerate"),
    *("ord", "chr", "bin", "hex", "oct", "rangelist", "hasattr"),
}
# Operators whose result holds the texts that they are given.
_TEXTS = {
    *("add", "format", "percentFormat", "str", "join", "lower", "upper", "title", "strip"),
    *("lstrip", "rstrip", "slice", "__getitem__"),
}
_TYPED = {"annotate", "unchecked_cast"}
_REFUSED_KEYWORDS = {"out", "generator", "unsafe", "sorter"}
# What a path may name outside of torch's own operators.
_CUSTOM_CLASSES = ("__torch__", "torch", "classes")
_NAMESPACES = {"aten", "prim"}
_METHODS_OF_ALL = {"__new__", "tolist"}
_FIELDS_OF_ALL = {"name", "value"}  # of an Enum


def path_of(node: ast.expr) -> tuple[str, ...]:
    """Return ("torch", "add") for torch.add; () for what is no path from a name of torch's own."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in _ROOTS:
        return ()
    return (node.id, *reversed(parts))


def check_type(node: ast.expr, where: str) -> None:
    """Check a type, such as List[Optional[Tensor]] or __torch__.torch.nn.modules.conv.Conv2d.

    Raises:
        UnsafeModelError: A class of an extension, or no type.
    """
    pending = [node]
    while pending:
        match pending.pop():
            case ast.Name(id=name) if name not in RESERVED:
                pass
            case ast.Constant(value=None | int()):
                pass
            case ast.Subscript(value=value, slice=index):
                pending += [value, index]
            case ast.Tuple(elts=items) | ast.List(elts=items):
                pending += items
            case ast.Attribute() as path:
                _check_own(path_of(path), where)
            case other:
                raise UnsafeModelError(f"{where}: {type(other).__name__} is no type")


def _check_own(path: Sequence[str], where: str) -> None:
    if path[:1] != ("__torch__",) or len(path) > MAX_PATH:
        shown = ".".join(path[:MAX_PATH]) or "a value"
        raise UnsafeModelError(f"{where} uses {shown!r}, which is no type")
    if tuple(path[:3]) == _CUSTOM_CLASSES:
        raise UnsafeModelError(f"{where} uses {'.'.join(path)!r}, a class of an extension")


class Members(NamedTuple):
    """The names that an archive's classes define."""

    methods: frozenset[str]
    fields: frozenset[str]


class Rules:
    """The rules of one function."""

    def __init__(self, where: str, members: Members, aliases: frozenset[str]) -> None:
        """Take the archive's members, and the names that stand for its functions here."""
        self._where = where
        self._members = members
        self._aliases = aliases
        self._depth = 0
        # Characters of the texts that variables can hold.
        self._texts: dict[str, int] = {}

    def _refuse(self, node: ast.AST, why: str) -> UnsafeModelError:
        line = getattr(node, "lineno", None)
        return UnsafeModelError(f"{self._where}{f' (line {line})' if line else ''} {why}")

    def block(self, statements: Iterable[ast.stmt]) -> None:
        """Check statements, and all that they hold.

        Raises:
            UnsafeModelError: They use what a model may not, or what torch.jit.save never writes.
            ModelError: They make a text that is too long.
        """
        for statement in statements:
            self._statement(statement)

    def _statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)) if len(
                targets
            ) == len(values):
                for target, text in zip(targets, map(self.check, values), strict=True):
                    self._bind([target], text)
            case ast.Assign(targets=targets, value=value):
                self._bind(targets, self.check(value))
            case ast.AnnAssign(target=target, annotation=annotation, value=value):
                check_type(annotation, self._where)
                self._bind([target], self.check(value) if value is not None else 0)
            case (
                ast.If(test=test, body=body, orelse=other)
                | ast.While(test=test, body=body, orelse=other)
            ):
                self.check(test)
                self.block([*body, *other])
            case ast.For(target=target, iter=source, body=body, orelse=[]):
                self._bind([target], self.check(source))
                self.block(body)
            case ast.With(items=items, body=body):
                for item in items:
                    text = self.check(item.context_expr)
                    self._bind([item.optional_vars] if item.optional_vars else [], text)
                self.block(body)
            case ast.Expr(value=value) | ast.Return(value=ast.expr() as value):
                self.check(value)
            case ast.Return() | ast.Pass():
                pass
            case ast.Import() | ast.ImportFrom():
                raise self._refuse(node, "imports modules")
            case _:
                raise self._refuse(
                    node, f"has {type(node).__name__}, which torch.jit.save never writes"
                )

    def _bind(self, targets: Iterable[ast.expr], text: int) -> None:
        for target in targets:
            match target:
                case ast.Name(id=name):
                    if name in RESERVED:
                        raise self._refuse(target, f"gives {name!r} another meaning")
                    self._texts[name] = max(text, self._texts.get(name, 0))
                case ast.Tuple(elts=items) | ast.List(elts=items):
                    self._bind(items, text)
                case ast.Attribute(value=value):
                    self.check(value)
                case _:
                    raise self._refuse(target, "assigns to what is no variable")

    def check(self, node: ast.expr) -> int:
        """Check an expression; return the characters of text that it can become."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ModelError(f"{self._where} (line {node.lineno}) is nested too deeply")
        size = self._expression(node)
        self._depth -= 1
        if size > MAX_TEXT:
            raise ModelError(f"{self._where} puts together a text of {size} characters")
        return size

    def _expression(self, node: ast.expr) -> int:
        match node:
            case ast.Constant(value=value):
                return len(value) if isinstance(value, str | bytes) else 0
            case ast.Name(id=name):
                if name in RESERVED:
                    raise self._refuse(node, f"uses {name!r} as a value: call it by its full name")
                return self._texts.get(name, 0)
            case ast.Attribute():
                return self._attribute(node)
            case ast.Call():
                return self._call(node)
            case ast.Subscript(value=value, slice=index):
                return self.check(value) + self.check(index)
            case ast.Slice(lower=lower, upper=upper, step=step):
                return self._all(part for part in (lower, upper, step) if part is not None)
            case ast.Tuple(elts=items) | ast.List(elts=items):
                return self._all(items)
            case ast.Dict(keys=keys, values=values):
                return self._all([*filter(None, keys), *values])
            case ast.UnaryOp(operand=operand, op=ast.USub() | ast.UAdd() | ast.Not()):
                return self.check(operand)
            case ast.BinOp(left=ast.Constant(), right=ast.Constant()):  # a complex number
                return self._all([node.left, node.right])
        raise self._refuse(node, f"has {type(node).__name__}, which torch.jit.save never writes")

    def _all(self, nodes: Iterable[ast.expr]) -> int:
        return sum(self.check(node) for node in nodes)

    def _attribute(self, node: ast.Attribute) -> int:
        path = path_of(node)
        if not path:
            if node.attr not in self._members.fields | _FIELDS_OF_ALL:
                raise self._refuse(node, f"uses {node.attr!r}, which no class in it has")
            return self.check(node.value)
        if path[0] == "__torch__":
            _check_own(path, self._where)
        elif path[0] != "CONSTANTS" or len(path) != 2 or not _CONSTANT.fullmatch(path[1]):
            raise self._refuse(node, f"uses {'.'.join(path)!r} as a value: call it where it stands")
        return 0

    def _call(self, node: ast.Call) -> int:
        for keyword in node.keywords:
            if keyword.arg is None or keyword.arg in _REFUSED_KEYWORDS:
                raise self._refuse(node, f"gives the argument {keyword.arg or '**'!r}")
            if keyword.arg == "layout" and not _is_plain_layout(keyword.value):
                raise self._refuse(node, "gives a layout: only plain (strided) tensors are allowed")
        match node.func:
            case ast.Name(id=name):
                return self._call_name(name, node)
            case ast.Attribute() as function:
                self._check_function(function)
                size = self._arguments(node)
                return size if function.attr in _TEXTS else 0
        raise self._refuse(node, "calls what is no name")

    def _check_function(self, function: ast.Attribute) -> None:
        path = path_of(function)
        if not path:
            self._check_method(function)
            return
        if path[0] == "__torch__":
            _check_own(path, self._where)
            return
        called = ("aten", *path[1:]) if path[0] == "torch" else path[1:]
        if "::".join(called) in known_operators().script:
            return
        if len(called) == 2 and called[0] not in _NAMESPACES:
            raise self._refuse(
                function,
                f"calls {'.'.join(path)!r}, an operator of the extension {called[0]!r}: only those "
                "of torch itself are allowed",
            )
        raise self._refuse(
            function,
            f"uses {path[-1]!r} ({'.'.join(path)}), which is not one of torch's operators that a "
            "model may use, so mopt cannot load it: compute it with others, and save it again",
        )

    def _check_method(self, function: ast.Attribute) -> None:
        self.check(function.value)
        if function.attr not in self._members.methods | _METHODS_OF_ALL:
            raise self._refuse(function, f"uses {function.attr!r}, which no class in it defines")

    def _call_name(self, name: str, node: ast.Call) -> int:
        if name in _TYPED and len(node.args) == 2:
            check_type(node.args[0], self._where)
            return self.check(node.args[1])
        match name, node.args:
            case "uninitialized", [kind]:
                check_type(kind, self._where)
                return 0
            case "isinstance", [value, kind]:
                check_type(kind, self._where)
                return self.check(value)
            case "getattr", [value, ast.Constant(value=str() as field)]:
                if field.isidentifier():
                    raise self._refuse(node, f"uses {field!r} by getattr; torch.jit.save does not")
                return self.check(value)
        if name not in self._aliases and name not in _CONVERSIONS:
            raise self._refuse(node, f"calls {name!r}, which a model may not")
        size = self._arguments(node)
        return size if name == "str" else 0

    def _arguments(self, node: ast.Call) -> int:
        return self._all([*node.args, *(keyword.value for keyword in node.keywords)])


def _is_plain_layout(node: ast.expr) -> bool:
    match node:
        case ast.Constant(value=None | 0):
            return True
        case ast.Call(func=function):
            return path_of(function) == ("ops", "prim", "layout")
    return False
