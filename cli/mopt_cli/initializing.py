"""A ModelOptimization generated from the description of a model file. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mopt_api.base import API_VERSION, KIND
from mopt_optimizer.formats.base import ModelDescription

from .initial_gates import gate_lines, gates_of
from .initial_inputs import (
    Input,
    Range,
    dimension_lines,
    initial_inputs,
    is_image,
    quoted,
    size_text,
)

PLACEHOLDER = "CHANGE ME"


@dataclass(frozen=True)
class Places:
    """Where things are, as far as the user says; the rest becomes lines to edit.

    Attributes:
        store: s3://BUCKET or s3://BUCKET/PREFIX: the model, data and output lie below it.
        calibration, evaluation: Uris of data elsewhere.
    """

    store: str | None = None
    calibration: str | None = None
    evaluation: str | None = None


def resource_text(
    description: ModelDescription,
    *,
    name: str,
    file_name: str,
    sha256: str,
    shapes: Mapping[str, Sequence[int]] | None = None,
    places: Places | None = None,
) -> str:
    """Return a commented ModelOptimization as YAML; it passes `mopt check` as it is.

    Args:
        name: Of the resource: a DNS label.
        file_name: Of the model file.
        sha256: Of its bytes, hex.
        shapes: As initial_inputs.

    Raises:
        CliError: As initial_inputs.
    """
    places = places or Places()
    found = initial_inputs(description, shapes or {})
    images = is_image(found.inputs)
    lines = [
        f"# Written by mopt init from {quoted(file_name)}. Lines marked {PLACEHOLDER}",
        "# name your stores; mopt run can use local files instead: --model, --calibration,",
        "# --evaluation, --output.",
        *_failure_lines(description),
        f"apiVersion: {API_VERSION}",
        f"kind: {KIND}",
        "metadata:",
        f"  name: {quoted(name)}",
        "spec:",
        "  model:",
        _uri_line("    ", None, places.store, "models", f"{name}/{_object_name(file_name)}"),
        f"    sha256: {quoted(sha256)}",
        f"    format: {description.format.value}",
        "  inputs:",
    ]
    for one in found.inputs:
        lines += [
            f"    - name: {quoted(one.name)}",
            f"      dtype: {one.dtype}",
            f"      shape: [{', '.join(map(size_text, one.shape))}]{_baked_in(one, found.ranges)}",
        ]
    lines += dimension_lines(found.ranges, found.sums)
    lines += _data_lines(name, places, images=images)
    lines += gate_lines(gates_of(description.outputs, images=images))
    lines += [
        "  objective:",
        "    metric: LatencyP50  # or LatencyP99, Throughput, SizeBytes, PeakMemory",
        "    minimumSpeedup: 1.1  # a smaller speedup is not worth another file",
        "    onNoWinner: KeepBaseline  # with Fail the resource is not Ready",
        *_benchmark_lines(found.ranges),
        *_output_lines(name, places),
    ]
    return "\n".join(lines) + "\n"


def _output_lines(name: str, places: Places) -> list[str]:
    lines = ["  output:", _uri_line("    ", None, places.store, "optimized", name)]
    if places.store is None:
        lines += [
            "    credentialsSecretRef:",
            f"      name: store  # {PLACEHOLDER}: a Secret with AWS_ACCESS_KEY_ID and so on",
        ]
    return lines


def _failure_lines(description: ModelDescription) -> list[str]:
    if description.failure is None:
        return []
    said = " ".join(description.failure.split())[:300]
    return [
        "# The model did not run on noise, so dimensions and gates are guesses from the file:",
        f"# {said}",
    ]


def _baked_in(one: Input, ranges: Mapping[str, Range]) -> str:
    """Return a comment on a batch that is fixed to 1, as tracing with one sample fixes it."""
    if len(one.shape) < 2:
        return ""
    first = one.shape[0]
    baked = isinstance(first, str) and first in ranges and ranges[first].maximum == 1
    if first != 1 and not baked:
        return ""
    return (
        f"  # axis 0 is fixed to 1 in the {'graph' if baked else 'file'}: for larger batches "
        "export it dynamic, from an example with 2 or more"
    )


def resource_name(stem: str) -> str:
    """Return a DNS label made from a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")[:40].strip("-") or "model"


def _object_name(file_name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", file_name)


def _uri_line(indent: str, given: str | None, store: str | None, bucket: str, key: str) -> str:
    """Return a uri: as given, or below the store, or one to be edited."""
    if given is not None:
        return f"{indent}uri: {quoted(given)}"
    if store is not None:
        return f"{indent}uri: {quoted(f'{store}/{bucket}/{key}')}"
    return f"{indent}uri: s3://{bucket}/{key}  # {PLACEHOLDER}"


def _data_lines(name: str, places: Places, *, images: bool) -> list[str]:
    kind = "images (.png, .jpg, .webp)" if images else "arrays (.npz, one array per input; .npy)"
    lines = [
        f"  # Folders of real {kind}; disjoint samples.",
        "  data:",
        "    calibration:  # for INT8 ranges; without them static INT8 is skipped",
        _uri_line("      ", places.calibration, places.store, "data", f"{name}/calibration/"),
        "    evaluation:  # quality is measured on these",
        _uri_line("      ", places.evaluation, places.store, "data", f"{name}/evaluation/"),
    ]
    if images:
        lines.append("      # images: {resize: [H, W], mean: [...], std: [...]}: see docs/api.md")
    return lines


def _benchmark_lines(ranges: Mapping[str, Range]) -> list[str]:
    if not ranges:
        return []
    sizes = ", ".join(f"{size_text(name)}: {size.opt}" for name, size in ranges.items())
    return [
        "  benchmark:",
        "    points:  # sizes to measure at; the first decides",
        f"      - {{name: opt, dimensions: {{{sizes}}}}}",
    ]
