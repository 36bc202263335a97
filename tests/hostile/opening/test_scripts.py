"""Hostile TorchScript files: code that reaches out, names that hide it, work without end."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path

import pytest

from mopt_api.reasons import Reason
from mopt_optimizer.opening.loading import load_torchscript

from .conftest import Archive, outcome

pytestmark = pytest.mark.optimizer

UNSAFE, INVALID = Reason.UNSAFE_MODEL, Reason.INVALID_MODEL


def code_record(script: Archive) -> str:
    """Return the file of the module's own class."""
    return next(name for name, text in script.records.items() if b"class Network" in text)


def with_lines(script: Archive, *lines: str) -> dict[str, bytes | None]:
    """Return a change that puts lines at the start of forward."""
    name = code_record(script)
    head, signature, body = script.records[name].partition(b"-> Tensor:\n")
    inserted = "".join(f"    {line}\n" for line in lines).encode()
    return {name: head + signature + inserted + body}


def with_members(script: Archive, text: str) -> dict[str, bytes | None]:
    """Return a change that puts members into the module's class, written without indentation."""
    name = code_record(script)
    members = "".join(f"  {line}\n" for line in text.strip("\n").split("\n"))
    return {
        name: script.records[name].replace(b"  def forward", members.encode() + b"  def forward")
    }


def reason_of(script: Archive, tmp_path: Path, changes: dict[str, bytes | None]) -> Reason | None:
    path = script.write(tmp_path / "hostile.ts", changes)
    error = outcome(lambda: load_torchscript(path, tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == ["hostile.ts"]
    return error.reason if error else None


def test_script_as_it_is_opens(script: Archive, tmp_path: Path) -> None:
    assert reason_of(script, tmp_path, {}) is None


@pytest.mark.parametrize(
    "line",
    [
        "_0 = torch.add(x, 1)",
        "_0 = ops.aten.add(x, 1)",
        "_0 = ops.prim.device(x)",
        "_0 = annotate(List[int], [])",
        "_0 = torch.zeros([1], dtype=6, layout=0, device=None, pin_memory=False)",
        "_0, _1, = torch.max(x, 0)",
        '_0 = torch.format("{} of {}", 1, 2)',
        "_0 = CONSTANTS.c0",
    ],
)
def test_line_that_torch_writes_is_taken(script: Archive, tmp_path: Path, line: str) -> None:
    change = with_lines(script, line)
    # The file has no constants, and says so.
    expected = INVALID if "CONSTANTS" in line else None
    assert reason_of(script, tmp_path, change) is expected


LINES = [
    # Operators that reach out, by each way to name them.
    'torch.save(x, "/tmp/x")',
    'x.save("/tmp/x")',
    'ops.aten.save(x, "/tmp/x")',
    '_0 = torch.from_file("/etc/passwd", True, 10)',
    "_0 = torch.set_(x, x)",
    "_0 = x.set_(x)",
    '_0 = torch.segment_reduce(x, "sum", unsafe=True)',
    "_0 = torch._sparse_coo_tensor_unsafe(x, x, [1])",
    "_0 = torch.sparse_coo_tensor(x, x)",
    "_0 = torch._reshape_alias(x, [1], [1])",
    "_0 = torch.resize_(x, [1])",
    "_0 = torch.manual_seed(1)",
    "_0 = torch.Generator()",
    "_0 = torch._pad_packed_sequence(x, x, True, 0., 1)",
    "_0 = torch._native_batch_norm_legit(x, None, None, x, x, True, 0.1, 0.1)",
    "_0 = torch.autograd.grad([x], [x])",
    "_0 = torch.to_here(x)",
    '_0 = ops.prim.AddStatValue("a", 1)',
    "_0 = ops.prim.rpc_sync(x)",
    "_0 = ops.prim.PythonOp(x)",
    "_0 = ops.prim.Print(x)",
    "print(x)",
    "_0 = fork(x)",
    "_0 = awaitable(x)",
    # Extensions.
    "_0 = ops.evil.run(x)",
    "_0 = ops.quantized.linear(x, x, 1., 1)",
    "_0 = ops.c10d.broadcast_([x], x, 0, 0, True, 1)",
    "_0 = ops.inductor._reinterpret_tensor(x, [1], [1], 0)",
    '_0 = ops.profiler._record_function_enter("a")',
    "_0 = ops.prims.resize(x, [1])",
    "_0 = ops.torch.load(x)",
    "_0 = __torch__.torch.classes.evil.Class(x)",
    "_0 = __torch__.torch.classes.evil.Class.__new__(__torch__.torch.classes.evil.Class)",
    "_0 = annotate(__torch__.torch.classes.evil.Class, x)",
    "_0 = uninitialized(__torch__.torch.classes.evil.Class)",
    "_0 = unchecked_cast(Optional[__torch__.torch.classes.evil.Class], x)",
    "_0 = isinstance(x, __torch__.torch.classes.evil.Class)",
    "_0 : __torch__.torch.classes.evil.Class = x",
    # Other names for what the rules go by.
    "o = ops",
    "t = torch",
    "c = __torch__",
    "o, p, = ops, torch",
    "o = [ops]",
    "o = (ops,)",
    'o = {"a": ops}',
    "o = ops.evil",
    "s = torch.save",
    "s = x.save",
    'o = getattr(ops, "evil")',
    '_0 = getattr(ops, "evil").run(x)',
    '_0 = getattr(torch, "save")(x, "f")',
    '_0 = getattr(x, "save")("f")',
    '_0 = getattr(x, "save")',
    "torch = ops",
    "ops = x",
    "for ops in range(3):\n      pass",
    "with ops:\n      pass",
    "with x as torch:\n      pass",
    "torch.x = ops",
    "_0 = (torch)(x)",
    "_0 = (ops.evil.run)(x)",
    '_0 = [torch.save][0](x, "f")',
    '_0 = (torch.save if True else torch.load)(x, "f")',
    "_0 = torch.nn.functional.relu(x)",
    "_0 = self.inner.__class__(x)",
    "_0 = x.__setstate__(x)",
    "_0 = torch.ops.evil.run(x)",
    # Python that torch.jit.save never writes.
    "import os",
    "from os import system",
    "_0 = lambda: 0",
    "_0 = [y for y in x]",
    "_0 = x if True else x",
    "_0 = x + x",
    "_0 += x",
    "del x",
    "global x",
    "raise x",
    "assert x",
    "def inner():\n      pass",
    "class C:\n      pass",
    "try:\n      pass\n    except:\n      pass",
    "_0 = (y := x)",
    "_0 = x.y.z(*x)",
    "_0 = torch.add(x, **x)",
    "_0 = yield",
    '_0 = __import__("os")',
    '_0 = eval("1")',
    '_0 = exec("1")',
    '_0 = open("f")',
    "_0 = super()",
    "_0 = globals()",
    # Arguments.
    "_0 = torch.add(x, x, out=x)",
    "_0 = torch.rand([1], generator=x)",
    "_0 = torch.zeros([1], dtype=6, layout=1)",
    "_0 = torch.empty([2, 2], layout=2)",
    "_0 = torch.to(x, layout=self.inner)",
    "_0 = torch.searchsorted(x, x, sorter=x)",
]


@pytest.mark.parametrize("line", LINES, ids=lambda line: line[:50].replace("\n", "|"))
def test_line_that_reaches_out(script: Archive, tmp_path: Path, line: str) -> None:
    assert reason_of(script, tmp_path, with_lines(script, line)) is UNSAFE


HEADER = "self: __torch__.M,\n    x: Tensor"
MEMBERS: dict[str, tuple[str, Reason]] = {
    "__setstate__": ("def __setstate__(self, s: Tensor) -> NoneType:\n  return None", UNSAFE),
    "__getstate__": ("def __getstate__(self) -> Tensor:\n  return self.inner.weight", UNSAFE),
    "a method named after an operator": (
        'def save(self, f: str) -> NoneType:\n  _0 = ("a").save("f")\n  return None',
        UNSAFE,
    ),
    "a method named after set_": ("def set_(self, x: Tensor) -> Tensor:\n  return x", UNSAFE),
    "a method named torch": ("def torch(self, x: Tensor) -> Tensor:\n  return x", UNSAFE),
    "an argument named ops": ("def f(self, ops: Tensor) -> Tensor:\n  return ops", UNSAFE),
    "a decorator": ("@torch.save\ndef f(self, x: Tensor) -> Tensor:\n  return x", UNSAFE),
    "*args": ("def f(self, *x: Tensor) -> Tensor:\n  return x", UNSAFE),
    "**kwargs": ("def f(self, **x: Tensor) -> Tensor:\n  return x", UNSAFE),
    "a default that runs": ("def f(self, x: int=torch.save()) -> int:\n  return x", UNSAFE),
    "a default that is a path": ("def f(self, x: int=ops) -> int:\n  return x", UNSAFE),
    "a type of an extension": ("evil : __torch__.torch.classes.evil.Class", UNSAFE),
    "a list of types of an extension": ("evil : List[__torch__.torch.classes.e.C]", UNSAFE),
    "a type that is called": ("evil : torch.save(1)", UNSAFE),
    "a type by its number": ('__annotations__["0"] = __torch__.torch.classes.e.C', UNSAFE),
    "a constant that runs": ("evil : Final[int] = torch.manual_seed(1)", UNSAFE),
    "an assignment that runs": ("evil = ops.evil.run(1)", UNSAFE),
    "a class in a class": ("class C:\n  pass", UNSAFE),
    "a loop in a class": ("while True:\n  pass", UNSAFE),
    "a call in a class": ("torch.save(1, 2)", UNSAFE),
    "an unknown type": ("evil : Nothing", INVALID),
    "a method twice": ("def forward(self, x: Tensor) -> Tensor:\n  return x", INVALID),
    "a wrong result": ("def f(self, x: Tensor) -> List[int]:\n  return x", INVALID),
    "a name that is not there": ("def f(self, x: Tensor) -> Tensor:\n  return y", INVALID),
    "a wrong argument": ("def f(self, x: Tensor) -> Tensor:\n  return torch.add(x)", INVALID),
    "an unknown field": ("def f(self, x: Tensor) -> Tensor:\n  return self.nothing", UNSAFE),
    "a field of another class": ("def f(self, x: Tensor) -> Tensor:\n  return x.inner", INVALID),
    "a method that calls itself": (
        "def f(self, x: Tensor) -> Tensor:\n  return (self).f(x, )",
        INVALID,
    ),
}


@pytest.mark.parametrize("name", MEMBERS)
def test_member_of_the_class(script: Archive, tmp_path: Path, name: str) -> None:
    text, expected = MEMBERS[name]
    assert reason_of(script, tmp_path, with_members(script, text)) is expected


def doubling(count: int, call: str = "(self).f{}") -> str:
    """Return methods each of which calls the one before twice."""
    lines = ["def f0(self, x: Tensor) -> Tensor:", "  return torch.neg(x)"]
    for number in range(1, count):
        called = call.format(number - 1)
        lines += [
            f"def f{number}(self, x: Tensor) -> Tensor:",
            f"  return {called}({called}(x, ), )",
        ]
    return "\n".join(lines)


@pytest.mark.parametrize("count", [24, 40, 200])
def test_methods_that_expand_without_end(script: Archive, tmp_path: Path, count: int) -> None:
    assert reason_of(script, tmp_path, with_members(script, doubling(count))) is INVALID


def test_methods_that_expand_a_little_are_taken(script: Archive, tmp_path: Path) -> None:
    assert reason_of(script, tmp_path, with_members(script, doubling(8))) is None


def test_functions_that_expand_without_end(script: Archive, tmp_path: Path) -> None:
    name = code_record(script)
    path = name.removeprefix("code/").removesuffix(".py").replace("/", ".")
    lines = ["def g0(x: Tensor) -> Tensor:", "  return torch.neg(x)"]
    for number in range(1, 40):
        lines += [
            f"def g{number}(x: Tensor) -> Tensor:",
            f"  _0 = {path}.g{number - 1}",
            "  return _0(_0(x, ), )",
        ]
    text = script.records[name] + "\n".join(lines).encode() + b"\n"
    assert reason_of(script, tmp_path, {name: text}) is INVALID


TEXTS = {
    "a text that doubles": ['_0 = "ab"', *(f"_{n + 1} = torch.add(_{n}, _{n})" for n in range(40))],
    "a text that is formatted": [
        '_0 = "ab"',
        *(f'_{n + 1} = torch.format("{{}}{{}}{{}}", _{n}, _{n}, _{n})' for n in range(40)),
    ],
    "a text that is joined": [
        '_0 = "ab"',
        *(f"_{n + 1} = torch.join(_{n}, [_{n}, _{n}])" for n in range(40)),
    ],
}
PADDED = [
    '_0 = torch.ljust("a", 10000000000)',
    '_0 = torch.rjust("a", 10000000000)',
    '_0 = torch.center("a", 10000000000)',
    '_0 = torch.zfill("a", 10000000000)',
    '_0 = torch.expandtabs("a", 10000000000)',
    '_0 = torch.replace("aaaa", "a", "aaaa")',
]


@pytest.mark.parametrize("name", TEXTS)
def test_text_without_end(script: Archive, tmp_path: Path, name: str) -> None:
    assert reason_of(script, tmp_path, with_lines(script, *TEXTS[name])) is INVALID


@pytest.mark.parametrize("line", PADDED)
def test_text_that_is_padded(script: Archive, tmp_path: Path, line: str) -> None:
    assert reason_of(script, tmp_path, with_lines(script, line)) is UNSAFE


FILES: dict[str, tuple[bytes, Reason]] = {
    "empty": (b"", INVALID),
    "no code": (b"\0\1\2", INVALID),
    "a syntax error": (b"def f(:\n", INVALID),
    "not ASCII": ("# ü\n".encode(), INVALID),
    "a name that is not ASCII": ("def ｆ(x: Tensor) -> Tensor:\n  return x\n".encode(), INVALID),
    "a comment": (b"# ops.evil.run()\n", INVALID),
    "a type comment": (b"def f(x):\n  # type: (Tensor) -> Tensor\n  return x\n", INVALID),
    "a string in three quotes": (b'def f() -> str:\n  return """a\nops.evil.run()"""\n', INVALID),
    "a string in single quotes": (b"def f() -> str:\n  return 'a'\n", INVALID),
    "two strings that touch": (b'def f() -> str:\n  return "a""b"\n', INVALID),
    "a raw string": (b'def f() -> str:\n  return r"a"\n', INVALID),
    "a string that is computed": (b'def f() -> str:\n  return f"{1}"\n', INVALID),
    "bytes": (b'def f() -> str:\n  return b"a"\n', INVALID),
    "a line that goes on": (b"def f() -> int:\n  return \\\n    1\n", INVALID),
    "a tab": (b"def f() -> int:\n\treturn 1\n", INVALID),
    "a carriage return": (b"def f() -> int:\n  return 1 \r ops.evil.run()\n", INVALID),
    "a form feed": (b"def f() -> int:\n  \x0creturn 1\n", INVALID),
    "brackets in brackets": (b"def f() -> int:\n  return " + b"(" * 9999 + b"1\n", INVALID),
    "lists in lists": (
        b"def f() -> int:\n  return " + b"[" * 160 + b"1" + b"]" * 160 + b"\n",
        INVALID,
    ),
    "signs": (b"def f() -> int:\n  return " + b"-" * 5000 + b"1\n", INVALID),
    "calls in calls": (b"def f() -> int:\n  return a" + b".b" * 5000 + b"\n", INVALID),
    "blocks in blocks": (
        b"def f() -> int:\n" + b"".join(b"  " * (n + 1) + b"if True:\n" for n in range(200)),
        INVALID,
    ),
    "9 MB of code": (b"def f() -> int:\n  return 1\n" * 320_000, INVALID),
    "a statement of its own": (b"torch.save(1, 2)\n", UNSAFE),
    "an import": (b"import os\n", UNSAFE),
    "a class with another base": (b"class C(os.Evil):\n  pass\n", UNSAFE),
    "a class of two bases": (b"class C(Module, Enum):\n  pass\n", UNSAFE),
    "a class with a metaclass": (b"class C(metaclass=M):\n  pass\n", UNSAFE),
}


@pytest.mark.parametrize("name", FILES)
def test_file_of_code(script: Archive, tmp_path: Path, name: str) -> None:
    """A file beside the module's, which nothing in it names."""
    text, expected = FILES[name]
    # Without the class, the module cannot be made.
    record = "code/__torch__/evil.py" if text else code_record(script)
    assert reason_of(script, tmp_path, {record: text}) is expected


def global_of(name: bytes) -> bytes:
    return b"\x80\x02c" + name + b"\n)R."


PICKLES: dict[str, tuple[bytes, Reason]] = {
    "os.system": (global_of(b"os\nsystem"), UNSAFE),
    "torch.load": (global_of(b"torch\nload"), UNSAFE),
    "a class of an extension": (global_of(b"__torch__.torch.classes.evil\nClass"), UNSAFE),
    "builtins": (global_of(b"builtins\neval"), UNSAFE),
    "a name from the stack": (pickle.dumps(print, 4), UNSAFE),
    "an extension's code": (b"\x80\x02\x82\x01.", UNSAFE),
    "an instance": (b"(ios\nsystem\n.", UNSAFE),
    "empty": (b"", UNSAFE),
    "no pickle": (b"\xff\xff", UNSAFE),
    "cut off": (b"\x80\x02c__torch__", UNSAFE),
    "no end": (b"\x80\x02N", UNSAFE),
    "an empty stack": (b"\x80\x02a.", INVALID),
    "what torch never writes": (b"\x80\x02N0N.", UNSAFE),
    "no module": (b"\x80\x02N.", INVALID),
    "a number": (b"\x80\x02K\x01.", INVALID),
    "a class that is not there": (b"\x80\x02c__torch__.nothing\nNetwork\n)\x81.", INVALID),
    "four billion places": (b"\x80\x02Nr\xff\xff\xff\xff.", INVALID),
    "a place that is not there": (b"\x80\x02h\xff.", INVALID),
    "a text of four gigabytes": (b"\x80\x02X\xff\xff\xff\xff.", UNSAFE),
    "a number of a gigabyte": (b"\x80\x02\x8b" + struct.pack("<i", 2**30) + b".", UNSAFE),
    "a million values": (b"\x80\x02(" + b"N" * 1_000_000 + b"t.", INVALID),
    "tuples in tuples": (b"\x80\x02)" + b"\x85" * 100_000 + b".", INVALID),
}


@pytest.mark.parametrize("name", PICKLES)
@pytest.mark.parametrize("record", ["data.pkl", "constants.pkl"])
def test_pickle(script: Archive, tmp_path: Path, name: str, record: str) -> None:
    content, expected = PICKLES[name]
    # What is no module may still be the constants.
    constant = record == "constants.pkl" and name == "tuples in tuples"
    assert reason_of(script, tmp_path, {record: content}) is (None if constant else expected)


NUMBER = struct.Struct("<i")
TENSORS: dict[str, tuple[bytes, bytes, Reason | None]] = {
    "a million values": (b"K\x09t", b"J" + NUMBER.pack(10**6) + b"t", INVALID),
    "a negative number of values": (b"K\x09t", b"J" + NUMBER.pack(-9) + b"t", INVALID),
    "fewer values": (b"K\x09t", b"K\x08t", INVALID),
    "another record": (b"X\x01\0\0\x000", b"X\x01\0\0\x007", INVALID),
    "a record elsewhere": (b"X\x01\0\0\x000", b"X\x04\0\0\x00../0", INVALID),
    "a wider type": (b"FloatStorage", b"DoubleStorage", INVALID),
    "an unknown type": (b"FloatStorage", b"EvilStorage", INVALID),
    "a number as a type": (b"ctorch\nFloatStorage\n", b"K\x07", UNSAFE),
    "a larger shape": (b"K\x03K\x03K\x01K\x01t", b"K\x63K\x63K\x01K\x01t", INVALID),
    "a larger stride": (b"K\x03K\x01K\x01K\x01t", b"K\x63K\x01K\x01K\x01t", INVALID),
    "a gigabyte of one value": (
        b"K\x03K\x03K\x01K\x01t(K\x03K\x01K\x01K\x01t",
        b"J" + NUMBER.pack(2**30) + b"K\x03K\x01K\x01t(K\x00K\x01K\x01K\x01t",
        INVALID,
    ),
    "a shape that is no tuple": (b"K\x03K\x03K\x01K\x01t", b"K\x03", INVALID),
}


@pytest.mark.parametrize("name", TENSORS)
def test_tensor_that_is_not_as_its_record(script: Archive, tmp_path: Path, name: str) -> None:
    """torch reads, and writes, as much memory as the pickle says."""
    old, new, expected = TENSORS[name]
    content = script.records["data.pkl"]
    assert old in content
    assert reason_of(script, tmp_path, {"data.pkl": content.replace(old, new, 1)}) is expected


RECORDS: dict[str, tuple[bytes | None, Reason]] = {
    "payload.so": (b"\x7fELF", UNSAFE),
    "code/../../x.py": (b"", UNSAFE),
    "code/other.py": (b"", UNSAFE),
    "extra/notes": (b"", UNSAFE),
    "data/evil": (b"", UNSAFE),
    "data.pkl": (None, INVALID),
    "constants.pkl": (None, INVALID),
    "version ": (b"3", UNSAFE),
    "version": (b"99999999999999999999", INVALID),
    "data/0": (b"", INVALID),
    "data/1": (None, INVALID),
}


@pytest.mark.parametrize("name", RECORDS)
def test_record(script: Archive, tmp_path: Path, name: str) -> None:
    content, expected = RECORDS[name]
    assert reason_of(script, tmp_path, {name: content}) is expected


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_file_that_is_cut_off(script: Archive, tmp_path: Path, share: float) -> None:
    path = script.write(tmp_path / "hostile.ts")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    error = outcome(lambda: load_torchscript(path, tmp_path))
    assert error is not None
    assert error.reason is INVALID


@pytest.mark.parametrize("number", range(40))
def test_code_with_one_changed_character(script: Archive, tmp_path: Path, number: int) -> None:
    """It opens, or says why not."""
    name = code_record(script)
    text = bytearray(script.records[name])
    text[(number * 7919) % len(text)] = b"x(). \n"[number % 6]
    assert reason_of(script, tmp_path, {name: bytes(text)}) in (UNSAFE, INVALID, None)


@pytest.mark.parametrize("number", range(40))
def test_pickle_with_one_changed_byte(script: Archive, tmp_path: Path, number: int) -> None:
    content = bytearray(script.records["data.pkl"])
    content[(number * 7919) % len(content)] ^= 1 << number % 8
    assert reason_of(script, tmp_path, {"data.pkl": bytes(content)}) in (UNSAFE, INVALID, None)
