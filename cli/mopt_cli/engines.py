"""TensorRT engines for `mopt inspect`: described by their manifest, never loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from mopt_api.text import plain

from ._errors import CliError, ExitCode, work_failed

if TYPE_CHECKING:
    from mopt_optimizer.runtimes.tensorrt.inspecting import EngineInspection
    from mopt_optimizer.runtimes.tensorrt.manifest import EngineManifest, TensorEntry

_SUFFIXES = (".engine", ".plan", ".trt")
_MANIFEST = ".json"
_MAX_MANIFEST_BYTES = 16 * 1024 * 1024
# Of every manifest, and of nothing else that lies beside a model.
_KEYS = {"tensorrtVersion", "layerDatatypes"}


def engine_of(file: Path) -> Path | None:
    """Return the engine that a file is, or is the manifest of; None for anything else."""
    if file.suffix in _SUFFIXES or _is_manifest(file.with_name(file.name + _MANIFEST)):
        return file
    if file.suffix == _MANIFEST and _is_manifest(file):
        return file.with_suffix("")
    return None


def _is_manifest(file: Path) -> bool:
    if not file.is_file() or file.stat().st_size > _MAX_MANIFEST_BYTES:
        return False
    try:
        found = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and set(found) >= _KEYS


def inspected(engine: Path) -> EngineInspection:
    """Return what is known of an engine.

    Raises:
        CliError: No usable manifest beside it, or the optimizer is not installed.
    """
    try:
        from mopt_optimizer.errors import OptimizerError
        from mopt_optimizer.runtimes.tensorrt.inspecting import inspect_engine
        from mopt_optimizer.sandbox import report_of
    except ModuleNotFoundError as error:
        raise CliError(
            f"mopt inspect of an engine needs {error.name}: pip install 'mopt[cli,optimizer-cpu]'",
            ExitCode.FAILED,
        ) from error
    try:
        return inspect_engine(engine)
    except OptimizerError as error:
        raise work_failed(report_of(error)) from error


def shown(found: EngineInspection) -> RenderableType:
    """Return an engine's description for a terminal."""
    facts = Table.grid(padding=(0, 2))
    for heading, text in _rows(found):
        facts.add_row(Text(heading, style="bold"), Text(plain(text)))
    return facts


def _rows(found: EngineInspection) -> list[tuple[str, str]]:
    manifest = found.manifest
    version = manifest.tensorrt_version + (" and newer" if manifest.version_compatible else "")
    types = ", ".join(f"{count} {kind}" for kind, count in manifest.layer_datatypes.items())
    return [
        ("format", f"TensorRT engine, {manifest.precision}{' with TF32' if manifest.tf32 else ''}"),
        ("size", f"{manifest.size_bytes / 2**20:.2f} MiB"),
        (
            "digest",
            f"{manifest.digest} {'verified' if found.intact else 'does NOT match the file'}",
        ),
        ("source", manifest.source_digest),
        ("built by", f"{manifest.backend} {version}"),
        ("built on", _machine(manifest)),
        ("runs on", _targets(manifest)),
        *(("input", _tensor(entry)) for entry in manifest.inputs),
        *(("output", _tensor(entry)) for entry in manifest.outputs),
        ("layers", types or "not listed by the builder"),
        ("fits here", "yes" if found.fits else "no"),
        *(("", f"{obstacle.reason}: {obstacle.message}") for obstacle in found.obstacles),
    ]


def _machine(manifest: EngineManifest) -> str:
    parts = [
        manifest.gpu or "no GPU",
        f"CUDA {manifest.cuda}" if manifest.cuda else "",
        f"driver {manifest.driver}" if manifest.driver else "",
    ]
    return ", ".join(filter(None, parts))


def _targets(manifest: EngineManifest) -> str:
    capabilities = ", ".join(manifest.compute_capabilities)
    words = f"compute capability {capabilities}" if capabilities else "what TensorRT chose"
    further = manifest.hardware_compatibility.value
    return words if further == "None" else f"{words}, {further}"


def _tensor(entry: TensorEntry) -> str:
    def sizes(shape: list[int]) -> str:
        return "x".join("?" if size < 0 else str(size) for size in shape)

    words = f"{entry.name} {entry.dtype} [{sizes(entry.shape)}]"
    if entry.minimum is None or entry.optimum is None or entry.maximum is None:
        return words
    if entry.minimum == entry.maximum:
        return words
    return f"{words} {sizes(entry.minimum)} to {sizes(entry.maximum)}, best {sizes(entry.optimum)}"
