"""The inputs of a measure Job: manifest, model files, data; fetched and verified."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from mopt_api.artifacts import Artifact, ArtifactFormat
from mopt_api.enums import ModelFormat
from mopt_api.formats import FORMATS
from mopt_api.jobs.plan import Credentials, MeasurePlan
from mopt_api.jobs.prepare_result import PrepareResult
from mopt_optimizer.data.folder import load_data
from mopt_optimizer.data.process import DecodingProcess
from mopt_optimizer.data.references import References, load_references
from mopt_optimizer.data.samples import Samples
from mopt_optimizer.errors import DataError, DigestMismatch
from mopt_optimizer.machine.scratch import check_scratch
from mopt_optimizer.opening.limits import MAX_ONNX_BYTES
from mopt_optimizer.progress import Timings
from mopt_optimizer.stages.artifacts import fetch_model
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.registry import open_store

from .field import Field


@dataclass(frozen=True)
class Files:
    """Verified model files on the local disk, by digest.

    Attributes:
        source: The source model.
        source_path: Its file.
        prepared: Each name in the manifest that a variant needs, with artifact and file.
    """

    source: Artifact
    source_path: Path
    prepared: Mapping[str, tuple[Artifact, Path]]


class Fetching:
    """Fetches for one plan.

    Args:
        environ: Holds the stores' credentials.
        workdir: Files lie in folders below.
        decoding: Reads the data.
    """

    def __init__(
        self,
        plan: MeasurePlan,
        blobs: Blobs,
        environ: Mapping[str, str],
        workdir: Path,
        timings: Timings,
        decoding: DecodingProcess,
    ) -> None:
        self._plan = plan
        self._decoding = decoding
        self._blobs = blobs
        self._environ = environ
        self._workdir = workdir
        self._timings = timings

    def manifest(self) -> PrepareResult:
        try:
            return PrepareResult.model_validate_json(self._blobs.read(self._plan.prepared))
        except ValidationError as error:
            raise DataError(
                f"{self._blobs.uri(self._plan.prepared)} is no manifest of a prepare Job: {error}"
            ) from error

    def samples(self) -> Samples | None:
        if self._plan.evaluation is None:
            return None
        with self._timings.step("evaluationData", "fetching the evaluation data"):
            self._decoding.start()
            return load_data(
                self._plan.evaluation,
                Credentials.EVALUATION,
                self._plan.inputs,
                self._plan.dimensions,
                self._decoding.data,
                self._environ,
                self._decoding,
            )

    def references(self, samples: Samples | None) -> References | None:
        plan = self._plan
        if plan.references is None or plan.evaluation is None or samples is None:
            return None
        with self._timings.step("references", "fetching the ground truth"):
            return load_references(
                plan.references,
                Credentials.EVALUATION,
                plan.evaluation,
                samples.names,
                self._decoding.data,
                self._environ,
                self._decoding,
            )

    def files(self, manifest: PrepareResult, field: Field) -> Files:
        """Fetch and verify every file that is run; the source goes to the output too, to be
        served."""
        model = self._plan.model
        tried = {variant.name for variant in field.variants} - field.known.keys()
        artifacts = manifest.artifacts_on(self._plan.kind)
        needed = {form for name, form in artifacts.items() if name in tried}
        size = manifest.source.size_bytes
        # What torch opens is a checked copy; an ONNX model of this size is a tar, and unpacked.
        copied = model.format is not ModelFormat.ONNX or size > MAX_ONNX_BYTES
        check_scratch(
            (2 if copied else 1) * size
            + sum(e.artifact.size_bytes for e in manifest.artifacts if e.name in needed),
            self._workdir,
            self._environ,
            f"measuring {model.uri}",
        )
        folder = self._workdir / "models"
        folder.mkdir(parents=True, exist_ok=True)
        source_path = folder / f"source{FORMATS[model.format].suffix}"
        store, key = open_store(model.uri, Credentials.MODEL, self._environ)
        found = store.fetch(key, source_path)
        if found != model.sha256:
            raise DigestMismatch(f"{model.uri} has sha256 {found}, spec says {model.sha256}")
        source = Artifact(
            digest=self._blobs.put_file(source_path),
            size_bytes=source_path.stat().st_size,
            format=ArtifactFormat(model.format.value),
            uri=self._blobs.uri(f"sha256:{found}"),
        )
        prepared: dict[str, tuple[Artifact, Path]] = {}
        for index, entry in enumerate(manifest.artifacts):
            if entry.name in needed:
                path = fetch_model(self._blobs, entry.artifact, folder / f"prepared-{index}")
                uri = self._blobs.uri(entry.artifact.digest)
                prepared[entry.name] = (entry.artifact.model_copy(update={"uri": uri}), path)
        return Files(source=source, source_path=source_path, prepared=prepared)
