"""ModelManager: keeps several forms of each model and loads the one that fits this machine.

A registry is a folder, or an s3:// or file:// prefix:

    NAME/manifest.json              the forms of the model NAME
    NAME/blobs/sha256/HEX           their files, stored by digest

The manifest is written last and atomically; one writer per model at a time. Everyone with write
access to the registry is trusted; damaged or exchanged files are detected by their digests.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from mopt_api.enums import Precision
from mopt_api.jobs.measure_result import BASELINE, MeasureResult
from mopt_api.jobs.plan import Credentials
from mopt_optimizer.errors import (
    DataError,
    ObjectNotFound,
    SpecError,
)
from mopt_optimizer.machine.facts import Machine, this_machine
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.registry import open_store

from .loaded import LoadedModel
from .manifest import (
    Form,
    Manifest,
    Needs,
    Verdict,
    from_result,
)
from .opening import Opener, default_cache
from .registering import default_runtime, write_program
from .registry import Registry

if TYPE_CHECKING:
    import torch


class ModelManager:
    """Registers forms of models and loads the one that fits.

    Args:
        registry: A folder, created if missing, or an s3:// or file:// prefix.
        cache: Folder that files are fetched to, default_cache by default. Verified at every load.
        environ: Holds the store's AWS_* variables; os.environ by default.
        machine: The machine that forms must fit; this one by default.
    """

    def __init__(
        self,
        registry: str | os.PathLike[str],
        *,
        cache: Path | None = None,
        environ: Mapping[str, str] | None = None,
        machine: Machine | None = None,
    ) -> None:
        self._environ = os.environ if environ is None else environ
        self._opener = Opener(cache or default_cache(self._environ), machine or this_machine())
        self._registry = Registry(registry, self._environ)

    def names(self) -> list[str]:
        """Return the names of the registered models, sorted."""
        return self._registry.names()

    def manifest(self, name: str) -> Manifest:
        """Return the manifest of a model.

        Raises:
            ObjectNotFound: No model of that name; the message lists the registered ones.
            ModelError: The manifest is damaged, or of a newer version.
        """
        return self._registry.manifest(name)

    def register(
        self,
        name: str,
        model: str | os.PathLike[str] | torch.nn.Module | torch.export.ExportedProgram,
        *,
        example: Any = None,
        dynamic_shapes: Any = None,
    ) -> Form:
        """Register a source model: the baseline, which every request falls back to.

        Registering a name again discards its other forms.

        Args:
            model: A .pt2 or .onnx file, a torch module, or an ExportedProgram.
            example, dynamic_shapes: For a module, as in torch.export.export.

        Raises:
            SpecError: An invalid name or suffix, or a module without example.
            ModelError, UnsafeModelError, ExportError: The model is not accepted.
            ObjectNotFound: No such file.
            StoreError, DiskError.
        """
        self._registry.folder(name)
        with tempfile.TemporaryDirectory() as folder:
            if isinstance(model, (str, os.PathLike)):
                path = _existing(Path(model))
            else:
                path = Path(folder) / "model.pt2"
                write_program(model, example, dynamic_shapes, path)
            form = self._registry.put_form(
                name, BASELINE, [path], default_runtime(path), Precision.FP32
            )
        self._registry.write(name, Manifest(forms=[form]))
        return form

    def add_form(
        self,
        name: str,
        form: str,
        files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        runtime: str,
        precision: str,
        needs: Needs | None = None,
        verdict: str = Verdict.UNMEASURED,
        speedup: float | None = None,
        quality: Mapping[str, float] | None = None,
        selected: bool = False,
    ) -> Form:
        """Add a form to a registered model, or replace the form of that name.

        Args:
            form: Its name, a DNS label such as int8-openvino; baseline is reserved.
            files: The file to open, then its external data, if any; file names are kept.
            runtime, precision: As in a ModelOptimization: PyTorch, ONNXRuntime or OpenVINO; FP32,
                FP16, BF16 or INT8.
            verdict: Passed if its quality was measured and is good: only then may "auto" select a
                form of reduced precision.
            speedup: Over the baseline, above 0.
            quality: Worst value of each metric, for information only.
            selected: Whether "auto" prefers it.

        Raises:
            SpecError: An invalid value, which the message names.
            ModelError, UnsafeModelError: A file is not accepted.
            ObjectNotFound: No model of that name, or no such file.
        """
        manifest = self.manifest(name)
        if form == BASELINE:
            raise SpecError(f"the name {BASELINE} is taken by the source model")
        given = [files] if isinstance(files, (str, os.PathLike)) else list(files)
        paths = [_existing(Path(file)) for file in given]
        stored = self._registry.put_form(
            name,
            form,
            paths,
            runtime,
            precision,
            needs=needs or Needs(),
            verdict=verdict,
            speedup=speedup,
            quality=dict(quality or {}),
        )
        manifest = manifest.with_form(stored)
        self._registry.write(
            name, manifest.model_copy(update={"selected": form}) if selected else manifest
        )
        return stored

    def load_optimized_model(
        self, name: str, optimization: str = "auto", *, strict: bool = False
    ) -> LoadedModel:
        """Load the form of a model that fits this machine and the request.

        Falls back as described in manager.choosing. The reason is logged, and is in the result's
        `reason` and `tried`.

        Args:
            optimization: auto, quantize, onnx, tensorrt or none.
            strict: Raise instead of falling back, if the request cannot be met or a form that
                fits cannot be opened.

        Raises:
            SpecError: An unknown optimization.
            ObjectNotFound: No model of that name.
            NoUsableForm: Nothing could be loaded; the message says why for each form.
            RuntimeFailure, ModelError: With strict, a form cannot be opened.
            StoreError, DiskError.
        """
        blobs = self._registry.blobs(name)
        return self._opener.load(name, self.manifest(name), blobs, optimization, strict=strict)

    async def aload_optimized_model(
        self, name: str, optimization: str = "auto", *, strict: bool = False
    ) -> LoadedModel:
        """Load in a worker thread, without blocking the event loop."""
        return await asyncio.to_thread(self.load_optimized_model, name, optimization, strict=strict)

    def load_from_output(
        self,
        output_uri: str,
        result: str | MeasureResult,
        optimization: str = "auto",
        *,
        strict: bool = False,
    ) -> LoadedModel:
        """Load directly from the output of a ModelOptimization's Jobs.

        Args:
            output_uri: The resource's output.uri, s3:// or file://.
            result: The target's result.json, or its digest (status.targets[].report.digest).

        Raises:
            DataError: The digest is not that of a result.json, or the target only built engines.
            As load_optimized_model.
        """
        store, prefix = open_store(output_uri, Credentials.OUTPUT, self._environ)
        blobs = Blobs(store, prefix)
        found = _read_result(blobs, result) if isinstance(result, str) else result
        if found.baseline is None:
            raise DataError(
                f"target {found.target} only built engines, for GPUs that were not there: load one "
                "where it is meant for, by runtimes.tensorrt.load_engine"
            )
        return self._opener.load(output_uri, from_result(found), blobs, optimization, strict=strict)


def _read_result(blobs: Blobs, digest: str) -> MeasureResult:
    try:
        return MeasureResult.model_validate_json(blobs.read(digest))
    except ValidationError as error:
        raise DataError(f"{blobs.uri(digest)} is no result.json: {error}") from error


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ObjectNotFound(f"{path} does not exist or is no file")
    return path


def load_optimized_model(
    registry: str | os.PathLike[str], name: str, optimization: str = "auto"
) -> LoadedModel:
    """Load a model of a registry in one call; see ModelManager.load_optimized_model."""
    return ModelManager(registry).load_optimized_model(name, optimization)
