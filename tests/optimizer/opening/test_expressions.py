from __future__ import annotations

import pytest

from mopt_optimizer.errors import ModelError, UnsafeModelError
from mopt_optimizer.opening.safety.expression_bounds import MAX_BITS
from mopt_optimizer.opening.safety.expressions import check_expression, check_guard


@pytest.mark.parametrize(
    "text",
    [
        "s77",
        "2*s0 + 3",
        "Symbol('s77', positive=True, integer=True)",
        "Mul(Integer(4), Symbol('s53', integer=True))",
        "Pow(Symbol('s0', integer=True), Integer(-1))",
        "FloorDiv(Symbol('s0', integer=True), Integer(2))",
        "Max(1, s0) // 2",
        "Mod(u0, 8)",
        "s0**2",
        "Eq(s0, 4)",
        "LessThan(Symbol('u0', integer=True), Integer(10))",
        "Float('0.5', precision=53)",
        "Rational(1, 2)",
        "(s0 > 3) & (s1 <= 4)",
        "oo",
        "true",
    ],
)
def test_arithmetic_of_sizes_is_taken(text: str) -> None:
    check_expression(text, "size")


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "Max(__import__('os').system('true'), 1)",
        "().__class__.__bases__[0]",
        "(lambda: 0)()",
        "[x for x in (1, 2)]",
        "open",
        "exec",
        "S",
        "N",
        "E",
        "sympify('1')",
        "eval('1')",
        "Symbol(open)",
        "Symbol('x'.join)",
        "Symbol('__import__')",
        "Symbol('s0', **evil)",
        "Symbol('s0', positive=open('x'))",
        "Max(*evil)",
        "Max(x=open)",
        "Float(open)",
        "Float('__import__')",
        "s0.is_integer",
        "s0[0]",
        "'text'",
        "f'{s0}'",
        "s0 if s1 else s2",
        "s0 := 1",
        "9**9**9",
        "Pow(9, Pow(9, 9))",
        "s0**1000",
        "s0**s1",
        "2**True",
        "1e999",
        str(2**65),
        "1j",
        "None",
        "...",
        "",
        "s0;s1",
        "s0\ns1",
        "@",
        "await s0",
        "(" * 300 + ")" * 300,
        "-" * 200 + "1",
        "1+" * 3000 + "1",
        7,
        None,
    ],
)
def test_everything_else_is_refused(text: object) -> None:
    with pytest.raises(UnsafeModelError):
        check_expression(text, "size")


@pytest.mark.parametrize(
    "text",
    [
        "L['image'].size()[2] >= 8",
        "L['x']['k'].size()[0] % 4 == 0",
        "L['args'][0].size()[1] == L['args'][1].size()[1]",
        "Max(1, L['x'].size()[0]) <= 8",
        "2 <= L['x'].size()[0] and L['x'].size()[0] <= 9",
        "L['x'].storage_offset() == 0",
        "torch.sym_max(1, L['x'].size()[2] // 8) != 1",
        "32 + 32 * (((-1) + math.trunc(0.125*torch.sym_float(L['x'].size()[3]))) // 4) == 32",
        "math.floor(0.5*L['x'].size()[2]) == math.ceil(0.5*L['x'].size()[2])",
        "torch._sym_sqrt(abs(L['x'].size()[2] - 64)) <= max(8, min(1, L['x'].size()[1]))",
        "round(0.3*L['x'].size()[2]) == round(0.3*L['x'].size()[2], 2)",
        "(1 if L['x'].size()[2] <= 8 else (2 if L['x'].size()[2] <= 16 else 3)) == 1",
    ],
)
def test_guards_on_sizes_are_taken(text: str) -> None:
    check_guard(text, "guard")


@pytest.mark.parametrize(
    "text",
    [
        "L['x'].size().__class__",
        "L['x'].evil()[0] == 1",
        "L['x'].size(1)[0] == 1",
        "L[f()].size()[0] == 1",
        "L['x\\'); import os; (\\''].size()[0] == 1",
        "L['x'].size()[f()] == 1",
        "G['x'].size()[0] == 1",
        "L.size()[0].real == 1",
        "L['x'] == 1",
        "s0 > 1",
        "math.isnan(1)",
        "open('x')",
        "torch == 1",
        "torch.load('x')",
        "torch.sym_max(1, open('x'))",
        "torch.os.sym_max(1, 2)",
        "math.floor(open('x'))",
        "math.factorial(L['x'].size()[2])",
        "os.floor(1)",
        "round(L['x'].size()[2], -1000000000)",
        "round(L['x'].size()[2], L['x'].size()[3])",
        "round(1, 2, 3)",
        "max(L)",
        "abs(open('x'))",
        "(1 if open('x') else 2) == 1",
    ],
)
def test_other_guards_are_refused(text: str) -> None:
    with pytest.raises(UnsafeModelError):
        check_guard(text, "guard")


@pytest.mark.parametrize(
    "text",
    [
        "9223372036854775807 * s0 * s1 * s2",
        "(s0 + s1 + 2)**3 // 4",
        "s0 << 3",
        "Pow(Pow(s0, 8), 8)",
        "FloorDiv(0, 4)",
        "Mod(s0, 2 - 1)",
        "Float('0.5', precision=53)",
        "2**64",
    ],
)
def test_arithmetic_that_ends_is_taken(text: str) -> None:
    check_expression(text, "size")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Pow(Pow(Pow(7, 64), 64), 64)", f"bits; up to {MAX_BITS} are computed"),
        ("Pow(Pow(s0, 64), 64)", "bits; up to"),
        ("Mul(" + ", ".join(["s0"] * 200) + ")", "bits; up to"),
        ("(s0 + s1 + s2 + s3 + s4)**60", "terms; up to 2000 are multiplied out"),
        ("*".join(f"(s{n} + {n} + t{n})" for n in range(12)), "terms; up to"),
        ("1 << 10**12", "a shift that is not a number of at most 64"),
        ("LShift(s0, s1)", "a shift that"),
        ("s0 >> 65", "a shift that"),
        ("Mod(s0, 0)", "a division by zero"),
        ("s0 // (3 - 1 - 2)", "a division by zero"),
        ("FloorDiv(FloorDiv(1, 0), 3)", "a division by zero"),
        ("Max(1, s0 % (0 * 7))", "a division by zero"),
        ("Pow(0, -2)", "a division by zero"),
        ("ModularIndexing(s0, 2, 0)", "a division by zero"),
        ("Float('1', precision=10000)", "more than 256 bits of precision"),
        ("Float('1', evil=1)", "more than 256 bits of precision"),
    ],
)
def test_work_without_end_is_refused(text: str, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        check_expression(text, "size")
    assert not isinstance(caught.value, UnsafeModelError)
