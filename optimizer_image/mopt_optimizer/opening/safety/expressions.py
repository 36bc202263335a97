"""Expressions in a serialized graph: torch hands them to sympy and to exec."""

from __future__ import annotations

import ast
import math
import re

from mopt_optimizer.errors import ModelError, UnsafeModelError

from .expression_bounds import MAX_EXPONENT, Excess, check_extent

MAX_LENGTH = 4096
MAX_DEPTH = 60
MAX_INTEGER = 2**64

# torch counts up to the number of a symbol when it opens a program.
_SYMBOL = re.compile(r"[a-z]{1,4}[0-9]{1,6}")
_CONSTANTS = {"True", "False", "true", "false", "oo", "int_oo", "inf"}
_FUNCTIONS = {
    # torch.utils._sympy.functions, as GraphModuleDeserializer lists them
    *("FloorDiv", "ModularIndexing", "Where", "PythonMod", "Mod", "CleanDiv", "CeilToInt"),
    *("FloorToInt", "CeilDiv", "LShift", "RShift", "PowByNatural", "FloatPow", "FloatTrueDiv"),
    *("IntTrueDiv", "IsNonOverlappingAndDenseIndicator", "TruncToFloat", "TruncToInt"),
    *("RoundToInt", "RoundDecimal", "ToFloat", "Identity"),
    # sympy's own that torch prints
    *("Max", "Min", "Abs", "floor", "ceiling", "sqrt", "Eq", "Ne", "Lt", "Le", "Gt", "Ge"),
    *("Equality", "Unequality", "StrictLessThan", "LessThan", "StrictGreaterThan", "GreaterThan"),
    *("And", "Or", "Not", "Piecewise", "ExprCondPair", "Tuple"),
    *("Integer", "Rational", "Mul", "Add", "Pow"),
}
_OPERATORS = (
    *(ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.USub, ast.UAdd, ast.Not),
    *(ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.And, ast.Or),
    *(ast.BitAnd, ast.BitOr, ast.Invert, ast.LShift, ast.RShift),
)
# How guards print functions of sizes; each is a function of numbers in torch.
_GUARD_FUNCTIONS = {
    "torch": {"sym_max", "sym_min", "sym_not", "sym_ite", "sym_int", "sym_float", "_sym_sqrt"},
    # As torch.utils._sympy.printers.PythonPrinter writes roundings, of sizes that are scaled.
    "math": {"floor", "ceil", "trunc"},
}
_GUARD_BUILTINS = {"abs", "max", "min"}
_TENSOR_METHODS = {"size", "stride", "dim", "numel", "storage_offset"}
_FLOAT = re.compile(r"-?[0-9]{1,40}(\.[0-9]{0,60})?(e[+-]?[0-9]{1,3})?")
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check_expression(text: object, where: str) -> None:
    """Check an expr_str: arithmetic, comparisons, sizes' symbols and torch's sympy functions.

    Raises:
        UnsafeModelError: Anything else; the message quotes it.
        ModelError: It divides by zero, or its numbers or sums become too long to compute.
    """
    _check(text, where, guard=False)


def check_guard(text: object, where: str) -> None:
    """Check a guard: an expression over sizes of inputs, such as L['x'].size()[2] >= 8.

    Raises:
        UnsafeModelError, ModelError: As check_expression.
    """
    _check(text, where, guard=True)


def _check(text: object, where: str, *, guard: bool) -> None:
    if not isinstance(text, str) or len(text) > MAX_LENGTH:
        raise UnsafeModelError(f"{where} is not an expression of at most {MAX_LENGTH} characters")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UnsafeModelError(f"{where} holds {text[:80]!r}, not an expression") from error
    checker = _Checker(guard=guard)
    if reason := checker.refusal(tree.body, 0):
        raise UnsafeModelError(f"{where} holds {text[:80]!r}: {reason}")
    try:
        check_extent(tree.body)
    except Excess as excess:
        raise ModelError(f"{where} holds {text[:80]!r}: {excess}") from excess


class _Checker:
    """Says why a tree is refused; None where it may be evaluated."""

    def __init__(self, *, guard: bool) -> None:
        self._guard = guard

    def refusal(self, node: ast.AST, depth: int) -> str | None:
        if depth > MAX_DEPTH:
            return "nested too deeply"
        if self._guard and self._is_input_size(node):
            return None
        match node:
            case ast.Constant(value=bool() | int() | float() as value):
                return None if abs(value) <= MAX_INTEGER else "a number too large"
            case ast.Name(id=name):
                known = _SYMBOL.fullmatch(name) or name in _CONSTANTS
                return None if known and not self._guard else f"the name {name!r}"
            case ast.Call(func=ast.Name(id="Symbol"), args=[ast.Constant(value=str() as name)]):
                return self._symbol(name, node)
            case ast.Call(func=ast.Name(id="Float"), args=[ast.Constant(value=str() as digits)]):
                return None if _FLOAT.fullmatch(digits) else "a damaged number"
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
                if self._guard and name == "round":
                    return self._rounding(args, depth)
                if name not in _FUNCTIONS and not (self._guard and name in _GUARD_BUILTINS):
                    return f"a call of {name!r}"
                if name in ("Pow", "PowByNatural", "FloatPow"):
                    return self._power(args, depth)
                return self._first(args, depth)
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id=module), attr=name), args=args, keywords=[]
            ) if self._guard and name in _GUARD_FUNCTIONS.get(module, ()):
                return self._first(args, depth)
            case ast.BinOp(left=left, op=ast.Pow(), right=right):
                return self._power([left, right], depth)
            case ast.BinOp(left=left, op=operator, right=right):
                return self._operator(operator) or self._first([left, right], depth)
            case ast.UnaryOp(op=operator, operand=operand):
                return self._operator(operator) or self.refusal(operand, depth + 1)
            case ast.BoolOp(op=operator, values=values):
                return self._operator(operator) or self._first(values, depth)
            case ast.Compare(left=left, ops=operators, comparators=values):
                unknown = next(filter(None, map(self._operator, operators)), None)
                return unknown or self._first([left, *values], depth)
            case ast.Tuple(elts=values):  # Piecewise's pairs
                return self._first(values, depth)
            case ast.IfExp(test=test, body=body, orelse=other) if self._guard:  # and in guards
                return self._first([test, body, other], depth)
        return f"{type(node).__name__} is not allowed"

    def _symbol(self, name: str, call: ast.Call) -> str | None:
        """torch writes sizes as Symbol('s77', positive=True, integer=True)."""
        for keyword in call.keywords:
            if keyword.arg is None or not _is_bool(keyword.value):
                return "a symbol with unknown properties"
        known = _SYMBOL.fullmatch(name) and not self._guard
        return None if known else f"the symbol {name[:40]!r}"

    def _first(self, nodes: list[ast.expr], depth: int) -> str | None:
        return next(filter(None, (self.refusal(n, depth + 1) for n in nodes)), None)

    @staticmethod
    def _operator(operator: ast.AST) -> str | None:
        return None if isinstance(operator, _OPERATORS) else f"operator {type(operator).__name__}"

    def _power(self, args: list[ast.expr], depth: int) -> str | None:
        match args:
            case [base, exponent] if abs(_number(exponent)) <= MAX_EXPONENT:
                return self.refusal(base, depth + 1)
        return f"a power that is not a number of at most {MAX_EXPONENT}"

    def _rounding(self, args: list[ast.expr], depth: int) -> str | None:
        """Of an integer, digits before the point are a power of ten."""
        match args:
            case [value]:
                return self.refusal(value, depth + 1)
            case [value, digits] if abs(_number(digits)) <= MAX_EXPONENT:
                return self.refusal(value, depth + 1)
        return f"a rounding to digits that are not a number of at most {MAX_EXPONENT}"

    @staticmethod
    def _is_input_size(node: ast.AST) -> bool:
        """Whether a node is L['x']...size()[2], or a method of that list without an index."""
        match node:
            case ast.Subscript(value=ast.Call() as call, slice=ast.Constant(value=int())):
                node = call
        match node:
            case ast.Call(func=ast.Attribute(value=source, attr=method), args=[], keywords=[]) if (
                method in _TENSOR_METHODS
            ):
                pass
            case _:
                return False
        while True:
            match source:
                case ast.Name(id="L"):
                    return True
                case ast.Subscript(value=inner, slice=ast.Constant(value=key)) if isinstance(
                    key, int
                ) or (isinstance(key, str) and _KEY.fullmatch(key)):
                    source = inner
                case _:
                    return False


def _is_bool(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, bool)


def _number(node: ast.expr) -> float:
    """Return the value of 2, -2 or Integer(-2); infinity for anything else."""
    match node:
        case ast.Constant(value=bool()):
            return math.inf
        case ast.Constant(value=int() | float() as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_number(operand)
        case ast.Call(func=ast.Name(id="Integer"), args=[argument], keywords=[]):
            return _number(argument)
    return math.inf
