"""Hostile .pt2 files: operators, text that becomes code, work without end, damaged structure."""

from __future__ import annotations

import itertools
import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mopt_api.reasons import Reason
from mopt_optimizer.opening.loading import load_exported_program

from .conftest import Archive, edited, outcome

if TYPE_CHECKING:
    from .conftest import Json

pytestmark = pytest.mark.optimizer

MODEL = "models/model.json"
WEIGHTS = "data/weights/model_weights_config.json"
UNSAFE, INVALID = Reason.UNSAFE_MODEL, Reason.INVALID_MODEL

Edit = Callable[["Json"], None]


def reason_of(program: Archive, tmp_path: Path, changes: dict[str, bytes | None]) -> Reason | None:
    path = program.write(tmp_path / "hostile.pt2", changes)
    error = outcome(lambda: load_exported_program(path, tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == ["hostile.pt2"]
    return error.reason if error else None


def graph(document: Json) -> Json:
    found: Json = document["graph_module"]["graph"]
    return found


def first_node(document: Json) -> Json:
    found: Json = graph(document)["nodes"][0]
    return found


def test_program_as_it_is_opens(program: Archive, tmp_path: Path) -> None:
    assert reason_of(program, tmp_path, {}) is None


OPERATORS = [
    # Memory that is not the tensor's own.
    *("segment_reduce.default", "_sparse_coo_tensor_unsafe.default", "set_.source_Tensor"),
    *("_sparse_csr_tensor_unsafe.default", "_reshape_alias.default", "resize_.default"),
    *("_sparse_compressed_tensor_unsafe.default", "sparse_coo_tensor.indices_size"),
    *("_coalesced_.default", "_unsafe_masked_index.default", "_foreach_add_.List"),
    *("native_batch_norm.default", "_native_batch_norm_legit.default", "set_data.default"),
    *("set_.source_Storage", "_resize_output_.default", "_pad_packed_sequence.default"),
    *("_fft_r2c.default", "_ctc_loss.default", "resize_as_.default", "_make_dual.default"),
    # Files, libraries, state, the process.
    *("from_file.default", "_cufft_set_plan_cache_max_size.default", "manual_seed.default"),
    *("_print.default", "save.default", "seed.default", "record_stream.default", "warn.default"),
    *("_pin_memory.default", "set_grad_enabled.default", "_backward.default", "data.default"),
    # Writes into what it is given.
    *("add.out", "cat.out", "mm.out", "topk.values", "max.out", "copy_.default\n"),
    # No operators at all.
    *("__class__.mro", "__module__.join", "add.__call__", "add.Tensor.__globals__", "add"),
]
HIGHER_ORDER = [
    *("triton_kernel_wrapper_mutation", "with_effects", "call_torchbind", "flex_attention"),
    *("auto_functionalized", "run_const_graph", "print", "__class__", ""),
]
TARGETS = [
    *(f"torch.ops.aten.{name}" for name in OPERATORS),
    *("torch.ops.prims.resize.default", "torch.ops.prims._make_token.default"),
    *("torch.ops.mkldnn._linear_pointwise.default", "torch.ops.quantized.linear.default"),
    *(
        "torch.ops.inductor._reinterpret_tensor.default",
        "torch.ops.profiler._record_function_enter",
    ),
    *("torch.ops.c10d.broadcast_.default", "torch.ops.symm_mem.one_shot_all_reduce.default"),
    *(
        "torch.ops.mylib.run.default",
        "torch.ops.load_library",
        "torch.ops.higher_order.flex_attention",
    ),
    *(
        "torch.ops.higher_order.triton_kernel_wrapper_mutation",
        "torch.ops.higher_order.with_effects",
    ),
    *("torch.ops.higher_order.call_torchbind", "torch.ops.higher_order.auto_functionalized"),
    *("torch.load", "torch.hub.load", "torch.os.system", "torch.save", "torch.from_file"),
    *("torch.serialization.load", "torch._C._jit_flatten", "torch.utils.cpp_extension.load"),
    *("torch._functorch.predispatch._vmap_increment_nesting", "torch.sys.exit", "torch.classes"),
    *("_operator.attrgetter", "_operator.methodcaller", "_operator.call", "_operator.setitem"),
    *("math.factorial", "math.comb", "os.system", "builtins.eval", "#custom:op", "#:", ""),
]


@pytest.mark.parametrize("target", TARGETS)
def test_operator_that_is_not_on_the_list(program: Archive, tmp_path: Path, target: str) -> None:
    change = edited(program, lambda document: first_node(document).update(target=target))
    assert reason_of(program, tmp_path, change) is UNSAFE


@pytest.mark.parametrize(
    "name", ["unsafe", "out", "generator", "is_coalesced", "__class__", "", None, 7]
)
def test_argument_that_the_operator_does_not_have(
    program: Archive, tmp_path: Path, name: object
) -> None:
    argument = {"name": name, "arg": {"as_bool": True}, "kind": 2}
    change = edited(program, lambda d: first_node(d)["inputs"].append(argument))
    assert reason_of(program, tmp_path, change) is UNSAFE


@pytest.mark.parametrize("layout", [0, 1, 2, 3, 4, 5, 6, 8, -1, True, 10**30])
def test_layout_that_is_not_plain(program: Archive, tmp_path: Path, layout: object) -> None:
    def edit(document: Json) -> None:
        next(iter(graph(document)["tensor_values"].values()))["layout"] = layout

    assert reason_of(program, tmp_path, edited(program, edit)) is UNSAFE


CODE = "__import__('os').abort()"
NAMES = [f"x={CODE}", f"x;{CODE}", f"x\n{CODE}", f"x#{CODE}", "x y", "x.y", "1x", "ｘ", "x\0", "x'"]


@pytest.mark.parametrize("name", NAMES)
def test_name_that_would_become_code(program: Archive, tmp_path: Path, name: str) -> None:
    old = json.dumps(first_node(json.loads(program.records[MODEL]))["name"])
    text = program.records[MODEL].decode().replace(old, json.dumps(name))
    assert reason_of(program, tmp_path, {MODEL: text.encode()}) is UNSAFE


def tower(levels: int, symbol: str = "64") -> str:
    return "Pow(" * levels + symbol + ", 64)" * levels


EXPRESSIONS = {
    # What is no arithmetic.
    CODE: UNSAFE,
    "open('/etc/passwd')": UNSAFE,
    "().__class__.__bases__[0].__subclasses__()": UNSAFE,
    "[1 for _ in s0]": UNSAFE,
    "lambda: 0": UNSAFE,
    "sympify('1')": UNSAFE,
    "S('1')": UNSAFE,
    "Function('f')(s0)": UNSAFE,
    "Lambda(s0, s0)": UNSAFE,
    "Symbol('s0', positive=9)": UNSAFE,
    "Symbol('__class__')": UNSAFE,
    "factorial(99999999)": UNSAFE,
    "s0!": UNSAFE,
    # Numbers that never end.
    "9**9**9": UNSAFE,
    "s0**s0": UNSAFE,
    "s0**1000": UNSAFE,
    "2**-99999": UNSAFE,
    f"{10**400}": UNSAFE,
    "9" * 4000: UNSAFE,
    "1 << 10**12": INVALID,
    "LShift(1, 10**9)": INVALID,
    "LShift(1, 1000000000)": INVALID,
    "LShift(1, s0)": INVALID,
    "s0 << s0": INVALID,
    "1 << -1": INVALID,
    "RShift(s0, 99999)": INVALID,
    tower(3): INVALID,
    tower(50): INVALID,
    tower(3, "Mul(2, s0)"): INVALID,
    f"FloorDiv({tower(2)}*{tower(2)}, 3)": INVALID,
    "*".join(["(s0+s1+s2+s3)**30"] * 4): INVALID,
    "FloorDiv((s0+s1+s2+s3+s4)**60 + 1, (s0+s1)**59 + 1)": INVALID,
    "Float('0.1', precision=1000000000)": INVALID,
    "Float('0.1', dps=1000000000)": INVALID,
    "Float('1e999999999')": UNSAFE,
    # Divisions by zero.
    "Mod(s0, 0)": INVALID,
    "FloorDiv(1, 0)": INVALID,
    "s0 % 0": INVALID,
    "s0 // (1 - 1)": INVALID,
    "FloorDiv(s0, 2*3 - 6)": INVALID,
    "Rational(1, 0)": INVALID,
    "ModularIndexing(s0, 0, 3)": INVALID,
    "ModularIndexing(s0, 3, 0)": INVALID,
    "CleanDiv(s0, 0)": INVALID,
    "Pow(0, -1)": INVALID,
    "FloorDiv(1, s0 - s0)": INVALID,
    "Mod(1, s0 - s0)": INVALID,
    # Text without end.
    "(" * 150 + "s0" + ")" * 150: None,
    "(" * 400 + "s0" + ")" * 400: UNSAFE,
    "-" * 500 + "1": UNSAFE,
    "Max(" * 70 + "s0" + ", 1)" * 70: UNSAFE,
    "+".join(["s0"] * 5000): UNSAFE,
    "": UNSAFE,
    # A symbol that torch counts up to.
    "u999999999": UNSAFE,
}


@pytest.mark.parametrize("text", EXPRESSIONS, ids=lambda text: text[:40])
def test_expression_of_a_size(program: Archive, tmp_path: Path, text: str) -> None:
    def edit(document: Json) -> None:
        values = graph(document)["tensor_values"].values()
        sizes = itertools.chain.from_iterable(value["sizes"] for value in values)
        size = next(size["as_expr"] for size in sizes if "as_expr" in size)
        # The symbol that has a range in the file.
        size["expr_str"] = text.replace("s0", next(iter(document["range_constraints"])))

    assert reason_of(program, tmp_path, edited(program, edit)) is EXPRESSIONS[text]


@pytest.mark.parametrize("text", ["u999999999", CODE, "Mod(s0, 0)", "9**9**9", "zuf99999999"])
def test_range_of_a_symbol(program: Archive, tmp_path: Path, text: str) -> None:
    bounds = {"min_val": 0, "max_val": 9}
    change = edited(program, lambda d: d["range_constraints"].update({text: bounds}))
    assert reason_of(program, tmp_path, change) in (UNSAFE, INVALID)


GUARDS = {
    f"L['x'].size()[0] == {CODE}": UNSAFE,
    "L['x'].size()[0] == s0": UNSAFE,
    "L['x'].__class__ == 1": UNSAFE,
    "L['x'].evil()[0] == 1": UNSAFE,
    "open('x')": UNSAFE,
    "torch.load('x')": UNSAFE,
    "torch.sym_max(1, torch.os.abort()) == 1": UNSAFE,
    "L['x'].size()[0] % 0 == 1": INVALID,
    "L['x'].size()[0] << 999999 == 1": INVALID,
    "*".join(["L['x'].size()[0]**64"] * 6) + " == 1": INVALID,
    "L[" * 100 + "'x'" + "]" * 100 + ".size()[0] == 1": UNSAFE,
}


@pytest.mark.parametrize("text", GUARDS, ids=lambda text: text[:40])
def test_guard(program: Archive, tmp_path: Path, text: str) -> None:
    change = edited(program, lambda document: document.update(guards_code=[text]))
    assert reason_of(program, tmp_path, change) is GUARDS[text]


def nested(levels: int) -> bytes:
    return b'{"graph_module":' * levels + b"{}" + b"}" * levels


DOCUMENTS: dict[str, bytes] = {
    "empty": b"",
    "no JSON": b"not JSON",
    "a list": b"[]",
    "a number": b"1",
    "null": b"null",
    "an empty object": b"{}",
    "cut off": b'{"graph_module": {"graph": {"nodes": [',
    "two documents": b"{}{}",
    "not UTF-8": b'{"a": "\xff\xfe"}',
    "nested a hundred times": nested(101),
    "nested 100,000 times": nested(100_000),
    "lists in lists": b'{"guards_code": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a number of 5,000 digits": b'{"schema_version": ' + b"9" * 5000 + b"}",
    "five million values": b'{"inputs": [' + b"0," * 5_000_000 + b"0]}",
    "five million lists": b'{"inputs": [' + b"[]," * 5_000_000 + b"[]]}",
    "a text of 65 MB": b'{"torch_version": "' + b"x" * 65 * 2**20 + b'"}',
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_document_that_is_no_program(program: Archive, tmp_path: Path, name: str) -> None:
    assert reason_of(program, tmp_path, {MODEL: DOCUMENTS[name]}) in (INVALID, UNSAFE)


def test_hundred_thousand_nodes(program: Archive, tmp_path: Path) -> None:
    node = '{"target":"torch.ops.aten.relu.default","inputs":[],"outputs":[],"metadata":{}}'
    text = json.dumps(json.loads(program.records[MODEL]))
    text = text.replace('"nodes": [', f'"nodes": [{f"{node}," * 100_001}', 1)
    assert reason_of(program, tmp_path, {MODEL: text.encode()}) is INVALID


METADATA: dict[str, tuple[str, Reason | None]] = {
    "custom": ("[" * 100_000, INVALID),
    "custom ": ("{}", UNSAFE),
    "from_node": ("[" * 990 + "]" * 990, INVALID),
    "source_fn_stack": ("a,torch.__builtins__", UNSAFE),
    "source_fn_stack ": ("a,b", UNSAFE),
    "nn_module_stack": ("a", INVALID),
    "unknown": ("x", UNSAFE),
}


@pytest.mark.parametrize("name", METADATA)
def test_metadata_of_a_node(program: Archive, tmp_path: Path, name: str) -> None:
    text, expected = METADATA[name]
    change = edited(program, lambda d: first_node(d)["metadata"].update({name: text}))
    assert reason_of(program, tmp_path, change) is expected


def leaf(kind: str | None = None, context: object = None, *children: Json) -> Json:
    return {"type": kind, "context": context, "children_spec": list(children)}


def chain(levels: int) -> str:
    """Return JSON, which Python's own writer does not nest so deeply."""
    start = '{"type": "builtins.tuple", "context": "null", "children_spec": ['
    return start * levels + "]}" * levels


TREES: dict[str, tuple[Json | str, Reason]] = {
    "defaultdict": (
        leaf("collections.defaultdict", '{"default_factory_module": "os"}'),
        UNSAFE,
    ),
    "namedtuple": (leaf("collections.namedtuple", '"os:abort"'), UNSAFE),
    "enum as a key": (leaf("builtins.dict", '[{"__enum__": true, "fqn": "os:abort"}]'), UNSAFE),
    "code as a key": (leaf("builtins.dict", f'["{CODE}"]'), UNSAFE),
    "another class": (leaf("os.system", "null"), UNSAFE),
    "no tree": ('"text"', INVALID),
    "no children": ({"type": None, "context": None}, INVALID),
    "nested 2,000 times": (chain(2000), INVALID),
}


@pytest.mark.parametrize("name", TREES)
def test_tree_of_inputs(program: Archive, tmp_path: Path, name: str) -> None:
    spec, expected = TREES[name]

    def edit(document: Json) -> None:
        signature = document["graph_module"]["module_call_graph"][0]["signature"]
        text = spec if isinstance(spec, str) else json.dumps(spec)
        signature["in_spec"] = f"[1, {text}]"

    assert reason_of(program, tmp_path, edited(program, edit)) is expected


def size(*numbers: object) -> list[Json]:
    return [{"as_int": number} for number in numbers]


PAYLOADS: dict[str, tuple[dict[str, object], Reason]] = {
    "2**40 values": ({"sizes": size(2**20, 2**20), "strides": size(0, 0)}, INVALID),
    "2**126 values": ({"sizes": size(2**63 - 1, 2**63 - 1)}, INVALID),
    "2**6200 values": ({"sizes": size(*[2**62] * 100)}, INVALID),
    "negative": ({"sizes": size(-1)}, INVALID),
    "text as a size": ({"sizes": [{"as_int": "9"}]}, UNSAFE),
    "no number as a size": ({"sizes": [{"as_int": 1.5}]}, INVALID),
    "no list": ({"sizes": 7}, INVALID),
    "beyond the record": ({"sizes": size(5000)}, INVALID),
    "stride beyond the record": ({"strides": size(10**9, 1)}, INVALID),
    "negative stride": ({"strides": size(-4, -1)}, INVALID),
    "offset beyond the record": ({"storage_offset": {"as_int": 10**9}}, INVALID),
    "unknown element type": ({"dtype": 99}, INVALID),
    "sparse": ({"layout": 2}, UNSAFE),
    "another device": ({"device": {"type": "cuda:0); import os", "index": None}}, UNSAFE),
    "a machine without that device": ({"device": {"type": "xpu", "index": 7}}, INVALID),
}


@pytest.mark.parametrize("name", PAYLOADS)
def test_weight(program: Archive, tmp_path: Path, name: str) -> None:
    change, expected = PAYLOADS[name]
    config = json.loads(program.records[WEIGHTS])
    config["config"]["linear.weight"]["tensor_meta"].update(change)
    changes: dict[str, bytes | None] = {WEIGHTS: json.dumps(config).encode()}
    assert reason_of(program, tmp_path, changes) is expected


def test_weight_of_no_bytes_and_many_values(program: Archive, tmp_path: Path) -> None:
    config = json.loads(program.records[WEIGHTS])
    payload = config["config"]["linear.weight"]
    payload["tensor_meta"]["sizes"] = size(2**20, 2**18)
    changes: dict[str, bytes | None] = {
        WEIGHTS: json.dumps(config).encode(),
        f"data/weights/{payload['path_name']}": b"",
    }
    assert reason_of(program, tmp_path, changes) is INVALID


RECORDS: dict[str, bytes] = {
    "data/sample_inputs/model.pt": pickle.dumps({}),
    "data/aotinductor/model/model.so": b"\x7fELF",
    "data/weights/model.pt": b"PK\x03\x04",
    "data/constants/custom_obj_0": b"",
    "data/weights/../../../x": b"",
    "models/other.json": b"{}",
    "code/__torch__.py": b"",
    "data/weights/weight_9999999999": b"",
    "x" * 300: b"",
    "data/weights/weight_1\n": b"",
}


@pytest.mark.parametrize("name", RECORDS, ids=lambda name: name[:40])
def test_record_that_is_never_written(program: Archive, tmp_path: Path, name: str) -> None:
    assert reason_of(program, tmp_path, {name: RECORDS[name]}) is UNSAFE


def places(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield path
    if isinstance(value, dict):
        for name, item in value.items():
            yield from places(item, (*path, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from places(item, (*path, index))


WRONG: list[Any] = [
    None,
    -1,
    2**70,
    1.5,
    True,
    "x",
    "",
    [],
    {},
    [[]],
    [{}],
    {"as_int": 1},
    {"x": 1},
]
VARIANTS = 120


@pytest.mark.parametrize("number", range(VARIANTS))
def test_structure_with_one_wrong_value(program: Archive, tmp_path: Path, number: int) -> None:
    """Whatever stands in whatever place: it opens, or says why not."""
    document = json.loads(program.records[MODEL])
    known = list(places(document))[1:]
    *path, last = known[number * len(known) // VARIANTS]
    inner: Any = document
    for key in path:
        inner = inner[key]
    inner[last] = WRONG[number % len(WRONG)]
    changes: dict[str, bytes | None] = {MODEL: json.dumps(document).encode()}
    assert reason_of(program, tmp_path, changes) in (UNSAFE, INVALID, None)
