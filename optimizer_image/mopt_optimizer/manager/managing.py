"""ModelManager: keeps several forms of each model, and loads the one that fits this machine.

A registry is a folder or an s3:// prefix:

    NAME/manifest.json              the forms of the model NAME
    NAME/blobs/sha256/HEX           their files, under their digests

The manifest is written last, and whole; one writer per model at a time. Whoever may write to the
registry is trusted with what it holds; damage and exchange of files are found by their digests.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from mopt_api.enums import Precision, Runtime
from mopt_api.jobs.measure_result import BASELINE, MeasureResult
from mopt_api.jobs.plan import Credentials
from mopt_optimizer.errors import (
    DataError,
    DigestMismatch,
    ModelError,
    NoUsableForm,
    ObjectNotFound,
    SpecError,
)
from mopt_optimizer.machine.facts import Machine, this_machine
from mopt_optimizer.opening.inputs import ModelInput
from mopt_optimizer.runtimes import Opening, Runner, RuntimeFailure, open_runner
from mopt_optimizer.store.blobs import Blobs, file_digest
from mopt_optimizer.store.registry import open_store

from .choosing import Attempt, Candidate, Outcome, candidates, parse_optimization
from .loaded import LoadedModel
from .manifest import (
    SCHEMA_VERSION,
    Form,
    FormFile,
    FormPrecision,
    InputEntry,
    Manifest,
    Needs,
    Verdict,
    from_result,
)
from .registering import default_runtime, file_inputs, write_program

if TYPE_CHECKING:
    import torch

_LOG = logging.getLogger(__name__)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MANIFEST = "manifest.json"


def default_cache(environ: Mapping[str, str]) -> Path:
    """Return where fetched forms are kept: mopt/models in the user's cache folder."""
    base = environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME", "~")).expanduser() / ".cache"
    return Path(base) / "mopt" / "models"


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
        self._cache = cache or default_cache(self._environ)
        self._machine = machine or this_machine()
        uri = os.fspath(registry)
        if "://" not in uri:
            uri = Path(uri).resolve().as_uri()
        self._store, prefix = open_store(uri, Credentials.MODEL, self._environ)
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""

    def names(self) -> list[str]:
        """Return the names of the registered models, sorted."""
        keys = (key.removeprefix(self._prefix) for key in self._store.list(self._prefix))
        parts = (key.split("/") for key in keys)
        return sorted(p[0] for p in parts if len(p) == 2 and p[1] == _MANIFEST)

    def manifest(self, name: str) -> Manifest:
        """Return what is registered under a name.

        Raises:
            ObjectNotFound: No model of that name; lists those there are.
            ModelError: A damaged manifest, or one of a newer version.
        """
        key = f"{self._folder(name)}/{_MANIFEST}"
        try:
            text = self._store.read(key)
        except ObjectNotFound as error:
            known = ", ".join(self.names()) or "none"
            raise ObjectNotFound(f"no model {name!r} is registered; there is {known}") from error
        try:
            manifest = Manifest.model_validate_json(text)
        except ValidationError as error:
            raise ModelError(f"{self._store.uri(key)} is no manifest: {error}") from error
        if manifest.schema_version > SCHEMA_VERSION:
            raise ModelError(
                f"{self._store.uri(key)} has version {manifest.schema_version}, this mopt reads "
                f"up to {SCHEMA_VERSION}; upgrade it"
            )
        return manifest

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
        self._folder(name)
        with tempfile.TemporaryDirectory() as folder:
            if isinstance(model, (str, os.PathLike)):
                path = _existing(Path(model))
            else:
                path = Path(folder) / "model.pt2"
                write_program(model, example, dynamic_shapes, path)
            form = self._stored(name, BASELINE, [path], default_runtime(path), Precision.FP32)
        self._write(name, Manifest(forms=[form]))
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
        stored = self._stored(
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
        self._write(name, manifest.model_copy(update={"selected": form}) if selected else manifest)
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
        blobs = Blobs(self._store, self._folder(name))
        return self._load(name, self.manifest(name), blobs, optimization, strict=strict)

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
        return self._load(output_uri, from_result(found), blobs, optimization, strict=strict)

    def _load(
        self, name: str, manifest: Manifest, blobs: Blobs, optimization: str, *, strict: bool
    ) -> LoadedModel:
        requested = parse_optimization(optimization)
        tried: list[Attempt] = []
        for entry in candidates(manifest, requested, self._machine):
            if isinstance(entry, Attempt):
                tried.append(entry)
                continue
            if strict and entry.step is not requested:
                break
            try:
                runner, inputs = self._open(entry.form, blobs)
            except (RuntimeFailure, ModelError, DigestMismatch, ObjectNotFound) as error:
                if strict:
                    raise
                tried.append(_attempt(entry, Outcome.FAILED, f"{type(error).__name__}: {error}"))
                _LOG.warning("%s: form %s failed: %s", name, entry.form, error)
                continue
            reason = _words(requested, entry, tried)
            tried.append(_attempt(entry, Outcome.USED, entry.reason))
            _LOG.info("%s: %s", name, reason)
            return LoadedModel(
                entry.form,
                runner,
                inputs,
                requested=requested,
                step=entry.step,
                reason=reason,
                tried=tried,
            )
        raise NoUsableForm(
            f"no form of {name} can be used for {requested}"
            + "".join(f"; {a.form or a.step}: {a.reason}" for a in tried)
        )

    def _open(self, form: Form, blobs: Blobs) -> tuple[Runner, Sequence[ModelInput]]:
        """Fetch a form's files unless the cache has them, check their digests, open the first."""
        key = hashlib.sha256("\n".join(f"{f.name} {f.digest}" for f in form.files).encode())
        folder = self._cache / key.hexdigest()[:32]
        folder.mkdir(parents=True, exist_ok=True)
        for file in form.files:
            path = folder / file.name
            if not path.is_file() or file_digest(path) != file.digest:
                # Aside first: another process may be fetching the same.
                with tempfile.TemporaryDirectory(dir=self._cache) as aside:
                    blobs.fetch(file.digest, Path(aside) / file.name)
                    (Path(aside) / file.name).replace(path)
        path = folder / form.files[0].name
        inputs = [entry.model_input() for entry in form.inputs]
        runner = _runner(form, path, self._machine.threads)
        return runner, inputs or file_inputs(path, [f.name for f in form.files[1:]])

    def _stored(
        self,
        name: str,
        form: str,
        paths: Sequence[Path],
        runtime: str,
        precision: str,
        **fields: Any,
    ) -> Form:
        """Check and store files; return the form they make, not yet in the manifest."""
        if not paths:
            raise SpecError(f"form {form}: give one file at least")
        inputs = [InputEntry.of(i) for i in file_inputs(paths[0], [p.name for p in paths[1:]])]
        blobs = Blobs(self._store, self._folder(name))
        try:
            made = Form(
                name=form,
                runtime=Runtime(runtime),
                precision=FormPrecision(precision),
                files=[
                    FormFile(name=p.name, digest=file_digest(p), size_bytes=p.stat().st_size)
                    for p in paths
                ],
                inputs=inputs,
                **fields,
            )
        except ValueError as error:  # pydantic's errors are ValueErrors too
            raise SpecError(f"form {form}: {error}") from error
        for path in paths:
            blobs.put_file(path)
        return made

    def _folder(self, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise SpecError(f"{name!r} cannot name a model: letters, digits, '.', '_' and '-'")
        return f"{self._prefix}{name}"

    def _write(self, name: str, manifest: Manifest) -> None:
        text = manifest.model_dump_json(by_alias=True, exclude_none=True, indent=2)
        self._store.put_bytes(f"{self._folder(name)}/{_MANIFEST}", text.encode())


def _runner(form: Form, path: Path, threads: int) -> Runner:
    if form.is_quantized_program:
        from .quantized import QuantizedRunner

        return QuantizedRunner(path, threads)
    return open_runner(
        Opening(
            runtime=Runtime(form.runtime),
            precision=Precision(form.precision),
            path=path,
            threads=threads,
            compiled=form.compiled,
        )
    )


def _read_result(blobs: Blobs, digest: str) -> MeasureResult:
    try:
        return MeasureResult.model_validate_json(blobs.read(digest))
    except ValidationError as error:
        raise DataError(f"{blobs.uri(digest)} is no result.json: {error}") from error


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ObjectNotFound(f"{path} does not exist or is no file")
    return path


def _attempt(entry: Candidate, outcome: Outcome, reason: str) -> Attempt:
    return Attempt(entry.step, entry.form.name, outcome, reason)


def _words(requested: str, entry: Candidate, tried: Sequence[Attempt]) -> str:
    """Return why a form is used, after why those before it are not."""
    chosen = f"{entry.form}: {entry.reason}"
    if not tried:
        return chosen
    before = "; ".join(f"{a.form or a.step}: {a.reason}" for a in tried)
    back = f", fell back to {entry.step}" if entry.step != requested else ""
    return f"asked for {requested}{back}: {chosen} (before it: {before})"


def load_optimized_model(
    registry: str | os.PathLike[str], name: str, optimization: str = "auto"
) -> LoadedModel:
    """Load a model of a registry in one line; see ModelManager.load_optimized_model."""
    return ModelManager(registry).load_optimized_model(name, optimization)
