"""How much work an expression of sizes is for sympy, which computes with numbers of any length.

Bounded from the text alone: the length of each number on the way, the terms of a product that is
multiplied out, and divisors that are zero.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

MAX_BITS = 8192
MAX_TERMS = 2000
MAX_SHIFT = 64
MAX_EXPONENT = 64
MAX_PRECISION = 256

# A size is below 2**63.
_SYMBOL_BITS = 64
_DIVISIONS = {"FloorDiv", "CleanDiv", "CeilDiv", "Mod", "PythonMod", "Rational"} | {
    "IntTrueDiv",
    "FloatTrueDiv",
}
_POWERS = {"Pow", "PowByNatural", "FloatPow"}
_SHIFTS = {"LShift": "<<", "RShift": ">>"}
_OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "/",
    ast.Mod: "/",
    ast.Pow: "**",
    ast.LShift: "<<",
    ast.RShift: ">>",
}


class Excess(Exception):
    """An expression is too much work; the message says why."""


class Extent(NamedTuple):
    """What an expression can grow to.

    Attributes:
        bits: Of the longest number in it.
        terms: Of the sum that it becomes when it is multiplied out.
        value: Its value, where it has no symbols and is short.
    """

    bits: int
    terms: int = 1
    value: Fraction | None = None


_SYMBOL = Extent(_SYMBOL_BITS)


def check_extent(node: ast.expr) -> None:
    """Check an expression that was found to be arithmetic.

    Raises:
        Excess: A number or sum becomes too long, or a divisor is zero.
    """
    _extent(node)


def _extent(node: ast.expr) -> Extent:
    found = _unbounded(node)
    if found.bits > MAX_BITS:
        raise Excess(f"a number of {found.bits} bits; up to {MAX_BITS} are computed")
    if found.terms > MAX_TERMS:
        raise Excess(f"a sum of {found.terms} terms; up to {MAX_TERMS} are multiplied out")
    return found


def _unbounded(node: ast.expr) -> Extent:
    match node:
        case ast.Constant(value=bool()):
            return Extent(1)
        case ast.Constant(value=int() | float() as number) if math.isfinite(number):
            return _number(Fraction(number))
        case ast.BinOp(left=left, op=operator, right=right):
            return _combined(_OPERATORS.get(type(operator), ""), [left, right])
        case ast.UnaryOp(operand=operand):
            inner = _extent(operand)
            return inner._replace(value=-inner.value) if inner.value is not None else inner
        case ast.Call(func=ast.Name(id="Float"), keywords=keywords):
            _check_precision(keywords)
            return _SYMBOL
        case ast.Call(func=ast.Name(id="Integer" | "Identity"), args=[argument]):
            return _extent(argument)
        case ast.Call(func=ast.Name(id=name), args=args):
            return _called(name, args)
        case ast.Call(args=args):
            return _largest(args)
        case ast.BoolOp(values=values) | ast.Tuple(elts=values):
            return _largest(values)
        case ast.Compare(left=left, comparators=values):
            return _largest([left, *values])
        case ast.IfExp(test=test, body=body, orelse=other):
            return _largest([test, body, other])
    return _SYMBOL


def _number(value: Fraction) -> Extent:
    bits = max(value.numerator.bit_length(), value.denominator.bit_length(), 1)
    return Extent(bits, 1, value if bits <= MAX_BITS else None)


def _called(name: str, args: Sequence[ast.expr]) -> Extent:
    if name in _DIVISIONS:
        return _combined("/", args)
    if name == "ModularIndexing" and len(args) == 3:  # base // divisor % modulus
        _combined("/", [args[0], args[1]])
        return _combined("/", [args[0], args[2]])
    if name in _POWERS:
        return _combined("**", args)
    if name in _SHIFTS:
        return _combined(_SHIFTS[name], args)
    if name in ("Add", "Mul"):
        return _series("+" if name == "Add" else "*", args)
    return _largest(args)


def _largest(args: Sequence[ast.expr]) -> Extent:
    return Extent(max((_extent(a).bits for a in args), default=1))


def _series(operator: str, args: Sequence[ast.expr]) -> Extent:
    total = _number(Fraction(0 if operator == "+" else 1))
    for argument in args:
        total = _applied(operator, total, _extent(argument))
        if total.bits > MAX_BITS or total.terms > MAX_TERMS:
            break
    return total


def _combined(operator: str, args: Sequence[ast.expr]) -> Extent:
    if len(args) != 2:
        return _largest(args)
    return _applied(operator, _extent(args[0]), _extent(args[1]))


def _applied(operator: str, left: Extent, right: Extent) -> Extent:
    value = _value(operator, left.value, right.value)
    match operator:
        case "+" | "-":
            found = Extent(max(left.bits, right.bits) + 1, left.terms + right.terms)
        case "*":
            found = Extent(left.bits + right.bits, left.terms * right.terms)
        case "/":
            found = Extent(left.bits + right.bits, left.terms)
        case "**":
            found = _power(left, right)
        case "<<" | ">>":
            found = Extent(left.bits + _shift(right), left.terms)
        case _:
            found = Extent(max(left.bits, right.bits))
    return found if value is None else _number(value)


def _value(operator: str, left: Fraction | None, right: Fraction | None) -> Fraction | None:
    """Compute a sum, difference or product; check a divisor.

    Raises:
        Excess: It is zero.
    """
    if operator == "/" and right == 0:
        raise Excess("a division by zero")
    if left is None or right is None:
        return None
    match operator:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case "/" if left == 0:
            return left
    return None


def _power(base: Extent, exponent: Extent) -> Extent:
    if exponent.value is None or abs(exponent.value) > MAX_EXPONENT:
        raise Excess(f"a power that is not a number of at most {MAX_EXPONENT}")
    if base.value == 0 and exponent.value < 0:
        raise Excess("a division by zero")
    times = math.ceil(abs(exponent.value))
    return Extent(base.bits * max(times, 1), math.comb(times + base.terms - 1, times))


def _shift(by: Extent) -> int:
    if by.value is None or not 0 <= by.value <= MAX_SHIFT:
        raise Excess(f"a shift that is not a number of at most {MAX_SHIFT}")
    return math.ceil(by.value)


def _check_precision(keywords: Sequence[ast.keyword]) -> None:
    for keyword in keywords:
        match keyword:
            case ast.keyword(arg="precision" | "dps", value=ast.Constant(value=int() as digits)):
                if 0 < digits <= MAX_PRECISION:
                    continue
        raise Excess(f"a number with more than {MAX_PRECISION} bits of precision")
