"""A ModelOptimization generated from the description of a model file. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import yaml

from mopt_api.base import API_VERSION, KIND
from mopt_api.enums import DType
from mopt_optimizer.formats.base import DescribedAxis, DescribedValue, ModelDescription

from ._errors import CliError

PLACEHOLDER = "CHANGE ME"
_LARGEST = 65536  # Of base.DimensionSize.
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,31}")
# Names that torch and exporters give to unnamed sizes: s0, s77, unk__3, 2*s1.
_NAMELESS = re.compile(r"s\d+|u\d+|unk__\d+|.*[^A-Za-z0-9_].*")
_BATCH = (1, 1, 8)
_SIDE = (32, 128, 512)
_OTHER = (1, 64, 512)
_IMAGE_RANK = 4
# Names of the axes of pictures and volumes, beside batch and channels, by the number of axes.
_SPATIAL = {4: ("height", "width"), 5: ("depth", "height", "width")}
_IMAGE_CHANNELS = (1, 3)


@dataclass(frozen=True)
class Range:
    """Sizes of a dimension; bounded is whether the file has an upper bound."""

    minimum: int
    opt: int
    maximum: int
    multiple_of: int | None
    bounded: bool


@dataclass(frozen=True)
class _Input:
    name: str
    dtype: str
    shape: tuple[int | str, ...]


def resource_text(
    description: ModelDescription,
    *,
    name: str,
    file_name: str,
    sha256: str,
    shapes: Mapping[str, Sequence[int]] | None = None,
) -> str:
    """Return a commented ModelOptimization as YAML; it passes `mopt check` as it is.

    Args:
        name: Of the resource: a DNS label.
        file_name: Of the model file.
        sha256: Of its bytes, hex.
        shapes: Sizes of inputs that the file does not tell, as TorchScript; float32.

    Raises:
        CliError: An input that mopt does not support, or whose sizes are unknown.
    """
    inputs, ranges = _inputs(description, shapes or {})
    images = _is_image(inputs)
    lines = [
        f"# Written by mopt init from {_quoted(file_name)}. Lines marked {PLACEHOLDER}",
        "# name your stores; mopt run can use local files instead: --model, --calibration,",
        "# --evaluation, --output.",
        f"apiVersion: {API_VERSION}",
        f"kind: {KIND}",
        "metadata:",
        f"  name: {_quoted(name)}",
        "spec:",
        "  model:",
        f"    uri: s3://models/{name}/{_object_name(file_name)}  # {PLACEHOLDER}",
        f"    sha256: {_quoted(sha256)}",
        f"    format: {description.format.value}",
        "  inputs:",
    ]
    for one in inputs:
        lines += [
            f"    - name: {_quoted(one.name)}",
            f"      dtype: {one.dtype}",
            f"      shape: [{', '.join(map(_size, one.shape))}]{_baked_in(one)}",
        ]
    lines += _dimension_lines(ranges)
    lines += _data_lines(name, images=images)
    lines += _gate_lines(description, images=images)
    lines += [
        "  objective:",
        "    metric: LatencyP50  # or LatencyP99, Throughput, SizeBytes, PeakMemory",
        "    minimumSpeedup: 1.1  # a smaller speedup is not worth another file",
        "    onNoWinner: KeepBaseline  # with Fail the resource is not Ready",
        "  output:",
        f"    uri: s3://optimized/{name}  # {PLACEHOLDER}",
        "    credentialsSecretRef:",
        f"      name: store  # {PLACEHOLDER}: a Secret with AWS_ACCESS_KEY_ID and so on",
    ]
    return "\n".join(lines) + "\n"


def _baked_in(one: _Input) -> str:
    """Return a comment on a batch that is fixed to 1, as tracing with one sample fixes it."""
    if len(one.shape) < 2 or one.shape[0] != 1:
        return ""
    return (
        "  # axis 0 is fixed to 1 in the file: for larger batches export it dynamic, "
        "from an example with 2 or more"
    )


def resource_name(stem: str) -> str:
    """Return a DNS label made from a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")[:40].strip("-") or "model"


def _quoted(text: str) -> str:
    """Return text as a YAML scalar in quotes, on one line."""
    return str(
        yaml.safe_dump(text, default_style='"', allow_unicode=True, width=float("inf"))
    ).strip()


def _size(size: int | str) -> str:
    """Return a size as a YAML scalar; a name such as n would else be a boolean."""
    return str(size) if isinstance(size, int) or yaml.safe_load(size) == size else _quoted(size)


def _object_name(file_name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", file_name)


def _inputs(
    description: ModelDescription, shapes: Mapping[str, Sequence[int]]
) -> tuple[list[_Input], dict[str, Range]]:
    """Return the inputs with names for their free sizes, and those names' ranges."""
    names: dict[str | tuple[str, int], str] = {}
    ranges: dict[str, Range] = {}
    inputs = []
    known = [value.name for value in description.inputs]
    if unknown := [name for name in shapes if name not in known]:
        raise CliError(f"--input {unknown[0]}: the model has {', '.join(known) or 'no inputs'}")
    for value in description.inputs:
        axes, dtype = value.axes, value.dtype
        if value.name in shapes and axes is None:
            axes = [DescribedAxis(size=size) for size in shapes[value.name]]
            dtype = DType.FLOAT32
        if axes is None or dtype is None:
            raise CliError(
                f"the file has no shape for input {value.name}: give "
                f"--input {value.name}:1x3x128x128 with its sizes"
            )
        if dtype not in list(DType):
            raise CliError(f"input {value.name} is {dtype}; mopt supports {', '.join(DType)}")
        shape: list[int | str] = []
        for number, axis in enumerate(axes):
            if axis.size is not None:
                shape.append(axis.size)
                continue
            key = axis.symbol or (value.name, number)
            if key not in names:
                names[key] = _dimension_name(axis, value, number, axes, set(names.values()))
                ranges[names[key]] = range_of(axis, names[key])
            shape.append(names[key])
        if not shape:
            raise CliError(f"input {value.name} is a scalar; mopt supports tensors")
        inputs.append(_Input(value.name, dtype, tuple(shape)))
    if not inputs:
        raise CliError("the model has no inputs")
    return inputs, ranges


def _dimension_name(
    axis: DescribedAxis,
    value: DescribedValue,
    number: int,
    axes: Sequence[DescribedAxis],
    taken: set[str],
) -> str:
    """Return the model's name of a size, or the usual name of such an axis."""
    symbol = axis.symbol or ""
    usual = _usual_name(number, axes)
    wanted = symbol if _IDENTIFIER.fullmatch(symbol) and not _NAMELESS.fullmatch(symbol) else usual
    if wanted in taken:
        prefix = re.sub(r"[^A-Za-z0-9_]", "_", value.name)[:20]
        wanted = f"{prefix}_{usual}" if _IDENTIFIER.fullmatch(prefix) else f"d{prefix}_{usual}"
    while wanted in taken:
        wanted = f"{wanted[:30]}_"
    return wanted


def _usual_name(number: int, axes: Sequence[DescribedAxis]) -> str:
    """Return what an axis is mostly, by its place: batch, then height and width, or length."""
    if number == 0:
        return "batch"
    if len(axes) in _SPATIAL:
        last = axes[-1].size in _IMAGE_CHANNELS and axes[1].size not in _IMAGE_CHANNELS
        first = 1 if last else 2
        if 0 <= number - first < len(axes) - 2:
            return _SPATIAL[len(axes)][number - first]
        return "channels"
    return "length" if number == 1 else f"axis{number}"


def range_of(axis: DescribedAxis, name: str) -> Range:
    """Return the sizes of a free axis: the file's bounds, usual ones where it has none."""
    kind = name.lower().rpartition("_")[2]
    low, opt, high = _OTHER
    if kind in ("batch", "n") or name.lower() == "batch_size":
        low, opt, high = _BATCH
    elif kind in ("height", "width", "h", "w"):
        low, opt, high = _SIDE
    step = axis.multiple_of or 1
    if axis.minimum is not None:
        low, opt, high = axis.minimum, max(opt, axis.minimum), max(high, axis.minimum)
    bounded = axis.maximum is not None and axis.maximum <= _LARGEST
    if bounded and axis.maximum is not None:
        high = axis.maximum
        low, opt = min(low, high), min(opt, high)
    high = max(high // step, 1) * step
    low = min(-(-low // step) * step, high)
    opt = min(max(opt // step * step, low), high)
    return Range(low, opt, high, axis.multiple_of, bounded)


def _dimension_lines(ranges: Mapping[str, Range]) -> list[str]:
    if not ranges:
        return []
    lines = [
        "  # Sizes in serving; opt matters most. Narrow them to those that you serve.",
        "  dimensions:",
    ]
    for name, size in ranges.items():
        multiple = f", multipleOf: {size.multiple_of}" if size.multiple_of else ""
        guess = "" if size.bounded else "  # the file has no upper bound: adapt"
        lines.append(
            f"    {_size(name)}: {{min: {size.minimum}, opt: {size.opt}, "
            f"max: {size.maximum}{multiple}}}{guess}"
        )
    return lines


def _is_image(inputs: Sequence[_Input]) -> bool:
    one = inputs[0]
    return (
        len(inputs) == 1
        and one.dtype == DType.FLOAT32
        and len(one.shape) == _IMAGE_RANK
        and one.shape[1] == 3
    )


def _data_lines(name: str, *, images: bool) -> list[str]:
    kind = "images (.png, .jpg, .webp)" if images else "arrays (.npz, one array per input; .npy)"
    lines = [
        f"  # Folders of real {kind}; disjoint samples.",
        "  data:",
        "    calibration:  # for INT8 ranges; without them static INT8 is skipped",
        f"      uri: s3://data/{name}/calibration/  # {PLACEHOLDER}",
        "    evaluation:  # quality is measured on these",
        f"      uri: s3://data/{name}/evaluation/  # {PLACEHOLDER}",
    ]
    if images:
        lines.append("      # images: {resize: [H, W], mean: [...], std: [...]}: see docs/api.md")
    return lines


def _gate_lines(description: ModelDescription, *, images: bool) -> list[str]:
    """Return gates that suit the first output: an image, classes, or any tensor."""
    axes = (description.outputs[0].axes or []) if description.outputs else []
    if images and len(axes) == _IMAGE_RANK and axes[1].size in _IMAGE_CHANNELS:
        gates = [("PSNR", "40", "dB, of the worst image; the outputs span dataRange")]
    elif len(axes) == 2 and (axes[1].size or 0) > 1:
        gates = [
            ("Top1Agreement", "0.99", "share of samples with the same class"),
            ("Cosine", "0.99", "of the worst sample"),
        ]
    else:
        gates = [("Cosine", "0.99", "of the worst sample")]
    lines = [
        "  # Compared with the FP32 output. A variant that misses a gate is Rejected, however fast."
    ]
    lines.append("  quality:")
    for metric, minimum, comment in gates:
        lines += [f"    - metric: {metric}", f"      minimum: {minimum}  # {comment}"]
        if metric == "PSNR":
            lines.append("      dataRange: 1.0")
        if metric == "Top1Agreement":
            lines.append("      aggregate: Mean")
    return lines
