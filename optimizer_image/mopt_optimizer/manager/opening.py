"""Opens a form that fits: fetches it to a cache, verifies its digests, says why it is used."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from mopt_api.enums import FloatPrecision, Precision, Runtime
from mopt_optimizer.digests import file_digest
from mopt_optimizer.errors import DigestMismatch, ModelError, NoUsableForm, ObjectNotFound
from mopt_optimizer.machine.facts import Machine
from mopt_optimizer.opening.inputs import ModelInput
from mopt_optimizer.runtimes import Opening, Runner, RuntimeFailure, open_runner
from mopt_optimizer.store.blobs import Blobs

from .choosing import Attempt, Candidate, Outcome, candidates, parse_optimization
from .loaded import LoadedModel
from .manifest import Form, Manifest
from .registering import file_inputs

_LOG = logging.getLogger("mopt_optimizer.manager")


def default_cache(environ: Mapping[str, str]) -> Path:
    """Return the folder for fetched forms: mopt/models in the user's cache folder."""
    base = environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME", "~")).expanduser() / ".cache"
    return Path(base) / "mopt" / "models"


class Opener:
    """Opens forms on a machine.

    Args:
        cache: Folder that files are fetched to.
    """

    def __init__(self, cache: Path, machine: Machine) -> None:
        self._cache = cache
        self._machine = machine

    def load(
        self, name: str, manifest: Manifest, blobs: Blobs, optimization: str, *, strict: bool
    ) -> LoadedModel:
        """Load a form; see ModelManager.load_optimized_model."""
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
        """Fetch the files that the cache lacks, verify their digests, open the first."""
        key = hashlib.sha256("\n".join(f"{f.name} {f.digest}" for f in form.files).encode())
        folder = self._cache / key.hexdigest()[:32]
        folder.mkdir(parents=True, exist_ok=True)
        for file in form.files:
            path = folder / file.name
            if not path.is_file() or file_digest(path) != file.digest:
                # To a temporary folder first: another process may fetch the same file.
                with tempfile.TemporaryDirectory(dir=self._cache) as aside:
                    blobs.fetch(file.digest, Path(aside) / file.name)
                    (Path(aside) / file.name).replace(path)
        path = folder / form.files[0].name
        inputs = [entry.model_input() for entry in form.inputs]
        runner = _runner(form, path, self._machine.threads)
        return runner, inputs or file_inputs(path, [f.name for f in form.files[1:]])


def _runner(form: Form, path: Path, threads: int) -> Runner:
    if form.is_quantized_program:
        from .quantized import QuantizedRunner

        return QuantizedRunner(path, threads)
    runtime, precision = Runtime(form.runtime), Precision(form.precision)
    return open_runner(
        Opening(
            runtime=runtime,
            precision=precision,
            float_precision=FloatPrecision(form.float_precision) if form.float_precision else None,
            path=path,
            threads=threads,
            compiled=form.compiled,
        )
    )


def _attempt(entry: Candidate, outcome: Outcome, reason: str) -> Attempt:
    return Attempt(entry.step, entry.form.name, outcome, reason)


def _words(requested: str, entry: Candidate, tried: Sequence[Attempt]) -> str:
    """Return why a form is used, and why those before it are not."""
    chosen = f"{entry.form}: {entry.reason}"
    if not tried:
        return chosen
    before = "; ".join(f"{a.form or a.step}: {a.reason}" for a in tried)
    back = f", fell back to {entry.step}" if entry.step != requested else ""
    return f"asked for {requested}{back}: {chosen} (before it: {before})"
