"""How far the functions of a TorchScript archive expand where each is called."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from mopt_optimizer.errors import ModelError

from ..limits import MAX_STATEMENTS, amount
from .call_order import callees_first

_Call = tuple[str, str]
"""The class of the object, "" where it is not known, and the method; or "" and a function."""


class _Class(NamedTuple):
    attributes: dict[str, ast.expr]
    methods: dict[str, ast.FunctionDef]


def check_expansion(files: Sequence[tuple[str, ast.Module]]) -> None:
    """Count the statements of each function with those of all that it calls.

    torch follows each call when it loads a file: thirty functions, each of which calls the one
    before twice, are 10^9.

    Args:
        files: The path of each, such as __torch__.torch.nn, and what it holds.

    Raises:
        ModelError: A function calls itself, or expands to more than MAX_STATEMENTS.
    """
    _Program(files).check()


class _Program:
    def __init__(self, files: Sequence[tuple[str, ast.Module]]) -> None:
        self._classes: dict[str, _Class] = {}
        self._functions: dict[str, ast.FunctionDef] = {}
        for path, tree in files:
            for node in tree.body:
                if isinstance(node, ast.ClassDef):
                    if not _is_interface(node):
                        self._classes[f"{path}.{node.name}"] = _class(node)
                elif isinstance(node, ast.FunctionDef):
                    self._functions[f"{path}.{node.name}"] = node
        self._by_method: dict[str, list[str]] = {}
        for name, members in self._classes.items():
            for method in members.methods:
                self._by_method.setdefault(method, []).append(f"{name}.{method}")
        self._bodies = dict(self._functions) | {
            f"{name}.{method}": body
            for name, members in self._classes.items()
            for method, body in members.methods.items()
        }

    def check(self) -> None:
        """Count, from the functions that call none up."""
        counts: dict[str, int] = {}
        callees = {name: self._callees(name) for name in self._bodies}
        order = callees_first(
            {
                name: [(c, len(cs) == 1) for cs in found for c in cs]
                for name, found in callees.items()
            }
        )
        for name in order:
            counts[name] = sum(1 for _ in statements_of(self._bodies[name])) + sum(
                max((counts.get(callee, 1) for callee in candidates), default=1)
                for candidates in callees[name]
            )
            if counts[name] > MAX_STATEMENTS:
                raise ModelError(
                    f"{name} expands to {amount(counts[name])} statements with those of the "
                    f"functions that it calls; up to {MAX_STATEMENTS} are taken"
                )

    def _callees(self, name: str) -> list[list[str]]:
        """Return for each call in a function what it may call: one, unless its class is unknown."""
        owner = name.rpartition(".")[0]
        body = self._bodies[name]
        scope = _Scope(self._classes, self._functions, body, owner)
        found = []
        for owner, method in scope.calls():
            if owner in self._classes and method in self._classes[owner].methods:
                found.append([f"{owner}.{method}"])
            elif not owner and method in self._functions:
                found.append([method])
            elif candidates := self._by_method.get(method):
                found.append([c for c in candidates if c != name])
        return found


def _is_interface(node: ast.ClassDef) -> bool:
    """Whether a class only says what others do: which one is called is known when it runs."""
    return any(isinstance(b, ast.Name) and b.id.endswith("Interface") for b in node.bases)


def _class(node: ast.ClassDef) -> _Class:
    attributes: dict[str, ast.expr] = {}
    for item in node.body:
        match item:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=kind):
                attributes[name] = kind
            case ast.Assign(
                targets=[ast.Subscript(slice=ast.Constant(value=str() as name))], value=kind
            ):
                attributes[name] = kind
    methods = {m.name: m for m in node.body if isinstance(m, ast.FunctionDef)}
    return _Class(attributes, methods)


def statements_of(function: ast.FunctionDef) -> Iterator[ast.stmt]:
    """Yield the statements of a function, those within others too."""
    pending: list[ast.stmt] = [function]
    while pending:
        statement = pending.pop()
        yield statement
        for block in ("body", "orelse"):
            pending += getattr(statement, block, ())


class _Scope:
    """What is known of the classes of a function's variables."""

    def __init__(
        self,
        classes: dict[str, _Class],
        functions: dict[str, ast.FunctionDef],
        body: ast.FunctionDef,
        owner: str,
    ) -> None:
        self._classes = classes
        self._functions = functions
        self._body = body
        # A variable's class, or the path of a function that it stands for.
        self._known: dict[str, str] = {}
        for number, argument in enumerate(body.args.args):
            kind = _class_of(argument.annotation)
            self._known[argument.arg] = kind or (owner if number == 0 else "")

    def calls(self) -> list[_Call]:
        """Return the calls of a function, in the order that it makes them."""
        return list(self._calls(self._body.body))

    def _calls(self, statements: Iterable[ast.stmt]) -> Iterator[_Call]:
        for statement in statements:
            parts = list(ast.iter_child_nodes(statement))
            for part in parts:
                if isinstance(part, ast.expr | ast.withitem):
                    yield from self._calls_in(part)
            match statement:
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    self._known[name] = self._kind(value)
                case ast.AnnAssign(target=ast.Name(id=name), annotation=kind):
                    self._known[name] = _class_of(kind)
                case ast.With(items=items):
                    # The object's own methods are called at the start and at the end.
                    for item in items:
                        for method in ("__enter__", "__exit__"):
                            yield self._kind(item.context_expr), method
            yield from self._calls([part for part in parts if isinstance(part, ast.stmt)])

    def _calls_in(self, node: ast.AST) -> Iterator[_Call]:
        for part in ast.walk(node):
            match part:
                case ast.Call(func=ast.Name(id=name), args=args):
                    kind = self._known.get(name, "")
                    if kind in self._functions:
                        yield "", kind
                    else:
                        yield from self._implicit(*args[:1])
                case ast.Call(func=ast.Attribute(value=value, attr=method) as function):
                    path = _path(function)
                    if path in self._functions:
                        yield "", path
                    elif path in self._classes:
                        yield path, "__init__"
                    else:
                        yield self._kind(value), method
                case ast.Subscript(value=value) | ast.UnaryOp(operand=value):
                    yield from self._implicit(value)

    def _implicit(self, *values: ast.expr) -> Iterator[_Call]:
        """Return what len(x), -x or x[0] may call where x is an object of the archive's own."""
        for value in values:
            kind = self._kind(value)
            for method in self._classes[kind].methods if kind in self._classes else ():
                if method.startswith("__"):
                    yield kind, method

    def _kind(self, node: ast.expr) -> str:
        """Return the class of a value or the path that it is; "" where it is not known."""
        match node:
            case ast.Name(id=name):
                return self._known.get(name, "")
            case ast.Call(
                func=ast.Name(id="getattr"), args=[value, ast.Constant(value=str() as name)]
            ):
                return self._attribute(self._kind(value), name)
            case ast.Call(func=ast.Name(id="annotate" | "unchecked_cast"), args=[kind, _]):
                return _class_of(kind)
            case ast.Call(func=ast.Name(id=name)):
                function = self._functions.get(self._known.get(name, ""))
                return _class_of(function.returns) if function else ""
            case ast.Call(func=ast.Attribute(value=value, attr=method)):
                return self._returned(value, method)
            case ast.Attribute(value=value, attr=name):
                return _path(node) or self._attribute(self._kind(value), name)
            case ast.Subscript(value=value):
                return self._kind(value)
        return ""

    def _attribute(self, owner: str, name: str) -> str:
        found = self._classes.get(owner)
        return _class_of(found.attributes.get(name)) if found else ""

    def _returned(self, value: ast.expr, method: str) -> str:
        kind = self._kind(value)
        if method == "__new__":
            return kind
        if f"{kind}.{method}" in self._classes:  # a constructor by its path
            return f"{kind}.{method}"
        if function := self._functions.get(f"{kind}.{method}"):
            return _class_of(function.returns)
        found = self._classes.get(kind)
        body = found.methods.get(method) if found else None
        return _class_of(body.returns) if body else ""


def _class_of(kind: ast.expr | None) -> str:
    """Return the class that a type names, also in Optional[...] and List[...]; "" for others."""
    while isinstance(kind, ast.Subscript):
        kind = kind.slice
    return _path(kind) if kind is not None else ""


def _path(node: ast.expr) -> str:
    """Return __torch__.a.b for a path of the archive's own; "" for what is none."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name) and node.id == "__torch__":
        return ".".join(("__torch__", *reversed(parts)))
    return ""
