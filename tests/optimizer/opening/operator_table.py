"""Writes safety/operators.txt: the operators that a model may use, computed from torch.

    .venv/bin/python tests/optimizer/opening/operator_table.py

The table is committed, not computed when a model is opened: importing torch.onnx takes seconds, and
what may run is reviewed as a diff. A test compares the committed table with this one.
"""

from __future__ import annotations

import logging
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.ao.quantization.fx._decomposed

from mopt_optimizer.opening.safety import operators

Schema = torch._C.FunctionSchema


def _words(text: str) -> list[str]:
    return text.split()


# Kinds of operators that torch decomposes, and that no exported network for inference needs. Some
# check no memory: _reshape_alias takes any strides, sparse tensors any indices.
NOT_DECOMPOSED = re.compile(
    r"""
    backward | _grad | grad_ | ^get_gradients | retain | output_nr | _jvp     # gradients
    | sparse | _[cb]s[rc] | coalesce | ^smm | ^sspaddmm | to_dense | nested    # other layouts
    | mkldnn | cudnn | miopen | cufft | nnpack | fbgemm | vulkan | xla          # libraries
    | ^thnn_ | ^slow_conv | _fused_dropout | _fused_lstm
    | ^quantized_ | qparams | ^_saturate | ^_rowwise | ^_wrapped | moving_avg   # quantized tensors
    | _reshape_alias | _reshape_from | ^set_ | ^data$ | ^_version | resize | storage # memory
    | pin_memory | flatten_dense | ^lift$ | ^_to_cpu | shallow
    | ^_test | batch_dim | _dual | autocast | ^_has_ | ^_?is_ | ^_use_ | _debug  # torch's internals
    | ^_cast_ | _available | _propagate | _validate | can_cast | promote | result_type | get_device
    | sobol | _with_info | _chunk_cat | _dim_arange | _euclidean | norm_except | _pad_packed
    | ^_batch_norm_(with|no)_update | ^_weight_norm_interface                   # unchecked sizes
    | unsafe | loss | ^kl_div | ^binary_cross | histogramdd                     # training
    | cauchy | geometric | log_normal
    | linalg_(chol|cond|eig|inv|ldl|lu|matrix_rank|pinv|slogdet|solve|svd|tensor) # factorizations
    | ^svd$ | inverse | slogdet | ^orgqr | ^lu_ | nuclear | matrix_exp
    """,
    re.X,
)
# Even if torch.onnx translates them: what trains, and the inner halves of public operators, which
# check no sizes themselves. Tried: they end the process, or write outside of a tensor.
NEVER = re.compile(
    r"""
    backward | nll_ | ^allclose$ | resize
    | ^native_batch_norm$ | ^_native_batch_norm_legit(_functional)?$
    | ^_fft_ | ^_scaled_dot_product_(flash|efficient)
    """,
    re.X,
)
IN_PLACE = re.compile(r"__i\w+__|\w*[^_]_")
# What torch.export writes though no exporter translates it (checks, changes of a view in place) and
# plain computations that PyTorch alone has.
EXPORT_WRITES = _words("""
    _assert_async.msg _assert_scalar _assert_tensor_metadata _assert_tensor_metadata.default
    sym_constrain_range sym_constrain_range_for_size copy_ detach_ squeeze_ squeeze_.dim
    squeeze_.dims unsqueeze_ transpose_ t_ sym_numel sym_stride.int sym_is_contiguous
    sort.stable median median.dim kthvalue searchsorted.Tensor searchsorted.Scalar masked_select
    cummax cummin randperm rrelu_with_noise_functional _cdist_forward grid_sampler_3d _unsafe_view
    bernoulli_.float bernoulli_.Tensor normal_ _int_mm _scaled_mm
""")
# A tensor of another kind, or a state outside the model; `sorter` holds unchecked indices.
NO_ARGUMENTS = {"generator", "sorter"}
NO_TYPES = re.compile(r"Storage|Stream|torch\.classes|Dimname|Generator(?!\?)|\bAny\b")

# What TorchScript computes with numbers, strings, lists and dicts. What pads or repeats text to any
# length is left out: torch computes constants while it loads a file.
SCRIPT_BUILTINS = _words("""
    Bool Complex ComplexImplicit Delete Float FloatImplicit Int IntImplicit ScalarImplicit Size
    __and__ __contains__ __derive_index __getitem__ __interpolate __is__ __isnot__ __lshift__
    __not__ __or__ __range_length __round_to_zero_floordiv __rshift__ __upsample
    __upsample_bilinear __upsample_nearest __xor__ _infer_size _list_to_tensor _set_item
    _shape_as_tensor _size_if_not_equal _tensor_to_list _unwrap_optional
    acos acosh add all angle any append as_tensor asin asinh atan atan2 atanh bin broadcast_shapes
    ceil chr clear copy copysign cos cosh count degrees device dict dim div divmod endswith eq erf
    erfc exp expm1 extend fabs factorial find floor floordiv fmod format gamma gcd ge get
    get_device gt hex index insert is_complex is_contiguous is_floating_point is_signed isalnum
    isalpha isdigit isfinite isinf islower isnan isspace isupper items join keys ldexp le len
    lgamma list log log10 log1p lower lstrip lt mathremainder max min modf mul ne neg numel oct ord
    percentFormat polar pop popitem pow radians remainder remove reverse rfind rindex round rsplit
    rstrip select setdefault sin sinh size slice sort sorted split splitlines sqrt startswith str
    stride strip sub sum tan tanh tensor title to update upper values
    is_grad_enabled set_grad_enabled is_autocast_enabled is_autocast_cpu_enabled is_scripting
    warn storage_offset is_pinned element_size result_type promote_types can_cast requires_grad_
    cpu cuda is_nonzero is_same_size
""")
# Tensors: what the code of torch.nn has, in branches that few inputs reach; what tracing writes.
SCRIPT_TENSORS = _words("""
    _convolution _convolution_mode _native_multi_head_attention _nested_tensor_from_mask
    _nested_tensor_from_mask_left_aligned _transformer_encoder_layer_fwd to_padded_tensor
    unsafe_chunk unsafe_split unsafe_split_with_sizes
    masked_scatter_ randint_like random_ range bartlett_window kaiser_window
    smooth_l1_loss l1_loss kl_div binary_cross_entropy binary_cross_entropy_with_logits
    huber_loss soft_margin_loss
""")
SCRIPT_PRIM = _words("""
    NumToTensor RaiseException TupleIndex TupleUnpack Uninitialized abs data device dtype index
    is_cpu is_cuda is_mps is_xpu is_xla is_meta is_mkldnn is_nested is_quantized is_sparse
    is_sparse_csr is_vulkan is_ipu is_maia is_mtia itemsize layout max min nbytes rangelist
    requires_grad tolist type unchecked_cast unchecked_unwrap_optional EnumName EnumValue
    StringIndex ModuleContainerIndex IfThenElse
""")


def _schemas() -> dict[str, Schema]:
    """Return torch's schemas by what a program calls them: aten::add.Tensor."""
    return {operators.title(s.name, s.overload_name): s for s in torch._C._jit_get_all_schemas()}


def _name(operator: torch._ops.OpOverload) -> str:
    schema = operator._schema
    return operators.title(schema.name, schema.overload_name)


def _translated() -> set[str]:
    """Return what torch.onnx's exporter translates."""
    from torch.onnx._internal.exporter import _decomp, _registration

    logging.disable(logging.WARNING)  # what is not installed is no concern here
    found = _decomp.get_onnx_implemented_overloads(_registration.ONNXRegistry.from_torchlib())
    logging.disable(logging.NOTSET)
    return {
        name
        for name in (_name(o) for o in found if isinstance(o, torch._ops.OpOverload))
        if not name.startswith("onnx_symbolic")
    }


def _decomposed() -> set[str]:
    """Return what becomes other operators before it is translated: by a table, or implicitly."""
    found = {
        operator
        for table in (torch.export.default_decompositions(), torch._decomp.decomposition_table)
        for operator in table
        if isinstance(operator, torch._ops.OpOverload)
    } | {operator for operator in _overloads() if operator._can_decompose()}
    names = {_name(operator) for operator in found if operator.namespace == "aten"}
    return {name for name in names if not NOT_DECOMPOSED.search(_base(name))}


def _overloads() -> Iterator[torch._ops.OpOverload]:
    # Others are TorchScript's own: no program can have them.
    for name in torch._C._dispatch_get_all_op_names():
        if name.startswith("aten::"):
            base, _, overload = name.removeprefix("aten::").partition(".")
            found = getattr(getattr(torch.ops.aten, base, None), overload or "default", None)
            if isinstance(found, torch._ops.OpOverload):
                yield found


def _base(name: str) -> str:
    """Return clamp of aten::clamp.Tensor."""
    return name.partition("::")[2].partition(".")[0]


def _is_plain(name: str, schema: Schema) -> bool:
    """Whether an operator writes to nothing but its first input, and takes plain values."""
    changed = [n for n, a in enumerate(schema.arguments) if a.alias_info and a.alias_info.is_write]
    overload = name.partition(".")[2]
    return (
        changed == ([0] if IN_PLACE.fullmatch(_base(name)) else [])
        and not NO_TYPES.search(str(schema))
        and not any(a.name == "unsafe" for a in schema.arguments)
        and not overload.startswith("generator")
        and not (overload == "data" and _base(name) in ("lstm", "gru", "rnn_tanh", "rnn_relu"))
    )


def program_operators() -> dict[str, list[str]]:
    """Return the operators that a program may have, each with the arguments that it may give."""
    schemas = _schemas()
    names = _translated() | _decomposed()
    names |= {f"aten::{name}" for name in EXPORT_WRITES} & schemas.keys()
    names |= {_in_place(name) for name in names} & schemas.keys()
    names |= {name for name in schemas if name.startswith("quantized_decomposed::")}
    names = {name for name in names if not NEVER.search(name.removeprefix("aten::"))}
    return {
        name: [a.name for a in schemas[name].arguments if a.name not in NO_ARGUMENTS]
        for name in sorted(names & schemas.keys())
        if _is_plain(name, schemas[name])
    }


def _in_place(name: str) -> str:
    head, dot, overload = name.partition(".")
    return f"{head}_{dot}{overload}"


def script_names(program: dict[str, list[str]]) -> list[str]:
    """Return the operators that a script may call, without overloads: torch chooses them."""
    registered = {schema.name for schema in torch._C._jit_get_all_schemas()}
    found = {f"aten::{_base(name)}" for name in program if name.startswith("aten::")}
    found = {name for name in found if not NEVER.search(name.removeprefix("aten::"))}
    found |= {f"aten::{name}" for name in (*SCRIPT_BUILTINS, *SCRIPT_TENSORS)} & registered
    return sorted(found | {f"prim::{name}" for name in SCRIPT_PRIM})


def other_names(script: list[str]) -> list[str]:
    """Return the operators of aten that a script may not call: no method may be named so."""
    names = {s.name for s in torch._C._jit_get_all_schemas() if s.name.startswith("aten::")}
    return sorted(names - set(script))


def table() -> str:
    """Return the text of the table."""
    program = program_operators()
    script = script_names(program)

    def wrapped(names: list[str]) -> str:
        return textwrap.fill(" ".join(names), 100, break_long_words=False, break_on_hyphens=False)

    lines = [f"{name}({', '.join(arguments)})" for name, arguments in program.items()]
    parts = [
        f"# Written by tests/optimizer/opening/operator_table.py with torch {torch.__version__}.",
        "[program] # operators of torch.export's programs, with the arguments that they may give",
        *lines,
        "[script] # operators that TorchScript may call",
        wrapped(script),
        "[refused] # the others of aten, which no method of a script may be named after",
        wrapped(other_names(script)),
    ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    Path(operators.TABLE).write_text(table(), encoding="utf-8")
