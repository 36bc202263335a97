"""The code of a TorchScript archive, read as text: what it may say, and how far it expands.

torch.jit.save writes a small part of Python, and only that part is allowed. Names are resolved: an
operator is called by its full path (torch.add, ops.prim.device), and what stands for a path can
not be given another name, stored or passed on. What can be called besides are the archive's own
classes, functions and methods.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from mopt_optimizer.errors import ModelError, UnsafeModelError

from .operators import known_operators
from .script_calls import check_expansion, statements_of
from .script_rules import RESERVED, Members, Rules, check_type, path_of

# torch reads the code with a parser of its own. Of what the two read differently nothing is left:
# strings are in double quotes and on one line, and outside of them stands no comment, no
# continuation of a line, no prefix of a string and nothing but printable ASCII.
_STRING = re.compile(r'"(?:[^"\\\n]|\\[ -~])*"')
_STRANGE = re.compile(r'[^\n -~]|[#\\\']|\w""|"{3}')
_BASES = {"Module", "NamedTuple", "Interface", "ModuleInterface", "Enum"}
# torch runs these while it loads a file.
_RUN_BY_TORCH = {"__setstate__", "__getstate__"}


class Source(NamedTuple):
    """One file of code: its definitions live below a path such as __torch__.torch.nn."""

    where: str
    path: str
    tree: ast.Module


def parse_code(text: bytes, where: str) -> ast.Module:
    """Parse one file of TorchScript code.

    Raises:
        ModelError: It is not code that torch.jit.save writes.
    """
    try:
        source = text.decode("ascii")
        if strange := _STRANGE.search(_STRING.sub('""', source)):
            raise ModelError(f"{where} is not TorchScript: it holds {strange[0]!r}")
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ModelError(f"{where} is not TorchScript: {str(error)[:200]}") from error
    return tree


def check_code(files: Mapping[str, bytes]) -> None:
    """Check all the code of an archive.

    Args:
        files: By name, such as code/__torch__/torch/nn.py.

    Raises:
        UnsafeModelError: It uses what a model may not, or what torch.jit.save never writes.
        ModelError: It is not TorchScript, or expands to far too much.
    """
    sources = [
        Source(name, name.removeprefix("code/").removesuffix(".py").replace("/", "."), tree)
        for name, tree in ((name, parse_code(text, name)) for name, text in files.items())
    ]
    members = _members(source.tree for source in sources)
    for source in sources:
        for node in source.tree.body:
            _check_definition(node, source.where, members)
    check_expansion([(source.path, source.tree) for source in sources])


def _members(trees: Iterable[ast.Module]) -> Members:
    methods, fields = set(), set()
    classes = (node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef))
    for member in (member for node in classes for member in node.body):
        match member:
            case ast.FunctionDef(name=name):
                methods.add(name)
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                fields.add(name)
            case ast.Assign(targets=[ast.Subscript(slice=ast.Constant(value=str() as name))]):
                fields.add(name)
    return Members(frozenset(methods), frozenset(fields))


def _check_definition(node: ast.stmt, where: str, members: Members) -> None:
    match node:
        case ast.ClassDef(bases=bases, keywords=[], decorator_list=[]) if len(bases) <= 1:
            if bases and not (isinstance(bases[0], ast.Name) and bases[0].id in _BASES):
                raise UnsafeModelError(f"{where}: class {node.name} has an unknown base")
            for statement in node.body:
                _check_member(statement, f"{where}, class {node.name}", members)
        case ast.FunctionDef():
            _check_function(node, where, members)
        case ast.Assign(targets=[ast.Name(id="op_version_set")], value=ast.Constant()):
            pass
        case ast.Import() | ast.ImportFrom():
            raise UnsafeModelError(f"{where} imports modules")
        case _:
            raise UnsafeModelError(
                f"{where}, line {node.lineno}: {type(node).__name__} outside of a function"
            )


def _check_member(node: ast.stmt, where: str, members: Members) -> None:
    match node:
        case ast.FunctionDef():
            _check_function(node, where, members)
        case ast.Assign(targets=[ast.Name()] | [ast.Subscript(value=ast.Name())], value=value):
            # __parameters__ = ["weight"], __annotations__["0"] = Tensor, and values of an Enum.
            names = isinstance(value, ast.List) and all(
                isinstance(item, ast.Constant) for item in value.elts
            )
            if not names and not isinstance(value, ast.Constant | ast.UnaryOp):
                check_type(value, f"{where}, line {node.lineno}")
        case ast.AnnAssign(target=ast.Name(), annotation=annotation, value=value):
            check_type(annotation, f"{where}, line {node.lineno}")
            if value is not None:
                Rules(f"{where}, line {node.lineno}", members, frozenset()).check(value)
        case ast.Pass():
            pass
        case _:
            raise UnsafeModelError(f"{where}, line {node.lineno}: {type(node).__name__} in a class")


def _check_function(node: ast.FunctionDef, where: str, members: Members) -> None:
    here = f"{where}, {node.name}"
    if node.name in _RUN_BY_TORCH:
        raise UnsafeModelError(
            f"{here} would run when the file is loaded: leave it out, and save plain tensors"
        )
    if f"aten::{node.name}" in known_operators().refused or node.name in RESERVED:
        raise UnsafeModelError(
            f"{here} has the name of an operator of torch that a model may not use: rename it"
        )
    arguments = node.args
    if node.decorator_list or arguments.vararg or arguments.kwarg or arguments.posonlyargs:
        raise UnsafeModelError(f"{here} is written as torch.jit.save never writes one")
    for argument in (*arguments.args, *arguments.kwonlyargs):
        if argument.arg in RESERVED:
            raise UnsafeModelError(f"{here} gives the name {argument.arg!r} to an argument")
        if argument.annotation is not None:
            check_type(argument.annotation, here)
    if node.returns is not None:
        check_type(node.returns, here)
    rules = Rules(here, members, _aliases(node))
    for default in (*arguments.defaults, *filter(None, arguments.kw_defaults)):
        rules.check(default)
    rules.block(node.body)


def _aliases(function: ast.FunctionDef) -> frozenset[str]:
    """Return the names that stand for the archive's own functions and nothing else.

    torch.jit.save writes _0 = __torch__.torch.nn.functional.relu before it calls _0.
    """
    found: set[str] = set()
    others = {argument.arg for argument in function.args.args}
    for node in statements_of(function):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if path_of(value)[:1] == (
                "__torch__",
            ):
                found.add(name)
            case ast.Assign(targets=targets):
                others |= {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.For(target=ast.Name(id=name)):
                others.add(name)
            case ast.With(items=items):
                bound = (item.optional_vars for item in items)
                others |= {part.id for part in bound if isinstance(part, ast.Name)}
    return frozenset(found - others)
