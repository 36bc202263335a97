"""ModelManager: keeps several forms of each model, and loads the one that fits this machine.

A registry is a folder or an s3:// prefix:

    NAME/manifest.json              the forms of the model NAME
    NAME/blobs/sha256/HEX           their files, under their digests

The manifest is written last, and whole; one writer per model at a time. Whoever may write to the
registry is trusted with what it holds; damage and exchange of files are found by their digests.
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
    """Registers forms of models and loads what fits.

    Args:
        registry: A folder, made where it is missing, or an s3:// or file:// prefix.
        cache: Where files are fetched to; default_cache without it. Checked at every load.
        environ: Holds the store's AWS_* variables; os.environ without it.
        machine: What forms must fit; this machine without it.
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
        """Return what is registered under a name.

        Raises:
            ObjectNotFound: No model of that name; lists those there are.
            ModelError: A damaged manifest, or one of a newer version.
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
        """Register a model as it came: the baseline, and what every request falls back to.

        Registering a name again starts it anew, without its other forms.

        Args:
            model: A .pt2 or .onnx file; or a torch module or ExportedProgram.
            example, dynamic_shapes: For a module, as torch.export.export takes them.

        Raises:
            SpecError: A name or file of another kind; a module without example.
            ModelError, UnsafeModelError, ExportError: A model that cannot be taken.
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
        """Add a form to a registered model, or replace the one of that name.

        Args:
            form: Its name, a DNS label such as int8-openvino; not baseline.
            files: What is opened, then its external data, if any, under their own names.
            runtime, precision: As in the resource: PyTorch, ONNXRuntime or OpenVINO; FP32,
                FP16, BF16 or INT8.
            verdict: Passed where its quality was measured and found good: only then may "auto"
                take a form of reduced precision.
            speedup: Over the baseline, above 0.
            quality: Metric to worst value, for people.
            selected: Whether "auto" is to prefer it.

        Raises:
            SpecError: A value that is not legal; names it.
            ModelError, UnsafeModelError: A file that cannot be taken.
            ObjectNotFound: No model of that name, or no such file.
        """
        manifest = self.manifest(name)
        if form == BASELINE:
            raise SpecError(f"the name {BASELINE} is taken by the model as it came")
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

        Falls back as manager.choosing says; why is logged and stands in the result's `reason`
        and `tried`.

        Args:
            optimization: auto, quantize, onnx, tensorrt or none.
            strict: Raise instead of falling back: where what was asked for cannot be used, or
                where a form that fits cannot be opened.

        Raises:
            SpecError: An unknown optimization.
            ObjectNotFound: No model of that name.
            NoUsableForm: Nothing could be loaded; says why for each form.
            StoreError, DiskError.
        """
        blobs = self._registry.blobs(name)
        return self._opener.load(name, self.manifest(name), blobs, optimization, strict=strict)

    async def aload_optimized_model(
        self, name: str, optimization: str = "auto", *, strict: bool = False
    ) -> LoadedModel:
        """Load in a worker thread, so that the event loop goes on."""
        return await asyncio.to_thread(self.load_optimized_model, name, optimization, strict=strict)

    def load_from_output(
        self,
        output_uri: str,
        result: str | MeasureResult,
        optimization: str = "auto",
        *,
        strict: bool = False,
    ) -> LoadedModel:
        """Load straight from where a ModelOptimization's Jobs put their results.

        Args:
            output_uri: The resource's output.uri, s3:// or file://.
            result: The target's result.json, or its digest (status.targets[].report.digest).

        Raises:
            DataError: What the digest names is no result.json, or is of a target that runs nothing.
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
    """Load a model of a registry in one line; see ModelManager.load_optimized_model."""
    return ModelManager(registry).load_optimized_model(name, optimization)
