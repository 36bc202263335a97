"""Results of the steps of prepare, and engines, cached in the output store by their keys.

An entry is an object in JSON, which names its key and artifacts by digest, and an index from the
key to it. Artifacts are stored first and the index last, so that whoever finds an entry finds all
of it; two runs that make the same step at once write the same names, and either's are whole. What
is missing, damaged or of another key counts as absent, and is made again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from pydantic import ValidationError

from mopt_api.artifacts import Artifact
from mopt_api.base import ObservedModel
from mopt_api.figures import SourceInfo
from mopt_api.jobs.data_statistics import FirstLayer
from mopt_api.jobs.prepare_result import (
    PassReport,
    PreparedArtifact,
    PrepareStep,
    QuantizationReport,
    StepOutcome,
    Verification,
)
from mopt_optimizer.forms.form import FP32
from mopt_optimizer.progress import Log
from mopt_optimizer.store.blobs import Blobs

from .artifacts import intact


class Entry(ObservedModel):
    """Base of the result of a step.

    Attributes:
        key: What it was made from, see step_keys.
        name: Of the artifact.
        artifact: None where none could be made.
        seconds: Time of making it.
    """

    key: str
    name: str
    artifact: Artifact | None = None
    seconds: float


class ExportEntry(Entry):
    """The FP32 file, and how it was made.

    Attributes:
        graph: See onnx_files.fingerprint.
    """

    name: str = FP32
    artifact: Artifact
    source: SourceInfo
    verifications: list[Verification]
    passes: list[PassReport]
    operators: dict[str, int]
    graph: str
    first_layers: list[FirstLayer] = []


class FormEntry(Entry):
    """A form of reduced precision; of one that cannot be made, why: it would fail again."""

    error: str | None = None
    report: QuantizationReport | None = None


class EngineEntry(Entry):
    """A TensorRT engine; of one that cannot be built, why: it would fail again."""

    error: str | None = None
    layer_datatypes: dict[str, int] = {}


EntryT = TypeVar("EntryT", ExportEntry, FormEntry, EngineEntry)


class StepCache:
    """The steps of one run: looked up, or made and stored.

    Attributes:
        steps: What became of each step so far, in their order.
    """

    def __init__(self, blobs: Blobs, log: Log, stage: str = "prepare") -> None:
        """Look up and store there.

        Args:
            stage: Whose steps they are, in the log.
        """
        self._blobs = blobs
        self._log = log
        self._stage = stage
        self.steps: list[PrepareStep] = []

    def export(self, key: str) -> ExportEntry | None:
        """Return the FP32 file of a key, if it is stored, all of it undamaged."""
        return self._served(key, ExportEntry)

    def form(self, key: str) -> FormEntry | None:
        """Return the form of a key, if it is stored, all of it undamaged."""
        return self._served(key, FormEntry)

    def engine(self, key: str) -> EngineEntry | None:
        """Return the engine of a key, if it is stored, all of it undamaged."""
        return self._served(key, EngineEntry)

    def put(self, entry: EntryT) -> EntryT:
        """Store an entry, after its artifact.

        Raises:
            StoreError.
        """
        text = entry.model_dump_json(by_alias=True, exclude_none=True)
        self._blobs.index_put(entry.key, self._blobs.put_bytes(text.encode()))
        self._note(entry, StepOutcome.BUILT, "built")
        return entry

    def _served(self, key: str, kind: type[EntryT]) -> EntryT | None:
        if (found := self._blobs.index_read(key)) is None:
            return None
        try:
            entry = kind.model_validate_json(found[1])
        except ValidationError:
            return None  # The index names something else.
        if entry.key != key:
            return None
        artifact = entry.artifact
        if artifact is not None:
            if not intact(self._blobs, artifact):
                return None
            # A store may have moved since.
            moved = artifact.model_copy(update={"uri": self._blobs.uri(artifact.digest)})
            entry = entry.model_copy(update={"artifact": moved})
        self._note(entry, StepOutcome.SERVED, "served from the store")
        return entry

    def _note(self, entry: Entry, outcome: StepOutcome, message: str) -> None:
        step = PrepareStep(name=entry.name, outcome=outcome, seconds=entry.seconds)
        self.steps.append(step)
        self._log(self._stage, f"{entry.name}: {message}", name=entry.name, outcome=outcome.value)


def prepared_artifacts(entries: Sequence[Entry]) -> list[PreparedArtifact]:
    """Return the artifacts of those entries that have one."""
    return [PreparedArtifact(name=e.name, artifact=e.artifact) for e in entries if e.artifact]
