"""The files of a prepare Job: fetched to where the child opens them, stored when it made them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mopt_api.artifacts import Artifact
from mopt_api.figures import SourceInfo
from mopt_api.formats import FORMATS
from mopt_api.jobs.plan import Credentials, PreparePlan
from mopt_optimizer.errors import DigestMismatch
from mopt_optimizer.machine.scratch import check_scratch
from mopt_optimizer.progress import Timings
from mopt_optimizer.stages.artifacts import fetch_model, made_model, put_model
from mopt_optimizer.stages.steps import ExportEntry, FormEntry
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.registry import open_store

from .messages import Exported, Quantized


class ModelFiles:
    """Between the stores and the scratch space.

    Attributes:
        fp32: The FP32 file on the local disk, once it is there and until forms are made from it.

    Args:
        environ: Holds the store credentials.
        scratch: Ours; children work in folders below.
        blobs: Of the output store.
    """

    fp32: Path | None = None

    def __init__(
        self,
        plan: PreparePlan,
        environ: Mapping[str, str],
        scratch: Path,
        timings: Timings,
        blobs: Blobs,
    ) -> None:
        self._plan = plan
        self._environ = environ
        self._scratch = scratch
        self._timings = timings
        self._blobs = blobs

    def fetch_source(self, forms: int) -> Path:
        """Return the source model's file, its digest checked.

        Args:
            forms: How many are going to be made; there must be space for them.

        Raises:
            DigestMismatch, DiskError, StoreError.
        """
        model = self._plan.model
        with self._timings.step("fetch", f"fetching {model.uri}"):
            store, key = open_store(model.uri, Credentials.MODEL, self._environ)
            path = self._scratch / f"source{FORMATS[model.format].suffix}"
            needed = scratch_bytes(store.size(key) or 0, forms)
            check_scratch(needed, self._scratch, self._environ, f"preparing {model.uri}")
            found = store.fetch(key, path)
            if found != model.sha256:
                raise DigestMismatch(
                    f"{model.uri} has sha256 {found}, spec.model.sha256 is {model.sha256}"
                )
        return path

    def fetch_fp32(self, fp32: Artifact, forms: int) -> None:
        """Put the FP32 file on the local disk, unless it was exported just now."""
        if self.fp32 is not None:
            return
        with self._timings.step("fetch-fp32", "fetching the FP32 file exported before"):
            needed = fp32.size_bytes + form_bytes(fp32.size_bytes, forms)
            check_scratch(needed, self._scratch, self._environ, f"preparing {self._plan.model.uri}")
            self.fp32 = fetch_model(self._blobs, fp32, self._scratch / "fp32")

    def export_entry(self, key: str, made: Exported, folder: Path, source: Path) -> ExportEntry:
        """Store the FP32 file that an ended child made in its folder; return what is known.

        Args:
            source: The file that it was made from.
        """
        model = self._plan.model
        self.fp32 = made_model(folder, made.file)
        return ExportEntry(
            key=key,
            artifact=put_model(self._blobs, self.fp32),
            source=SourceInfo(
                sha256=model.sha256,
                format=model.format,
                size_bytes=source.stat().st_size,
                opset=made.opset,
                parameters=made.parameters,
            ),
            verifications=made.verifications,
            passes=made.passes,
            operators=made.operators,
            graph=made.graph,
            first_layers=made.first_layers,
            seconds=made.seconds,
        )

    def form_entry(self, key: str, made: Quantized, folder: Path) -> FormEntry:
        """Store a form that an ended child made in its folder; return what is known of it, or why
        there is none."""
        return FormEntry(
            key=key,
            name=made.name,
            artifact=(put_model(self._blobs, made_model(folder, made.file)) if made.file else None),
            error=made.error,
            report=made.report,
            seconds=made.seconds,
        )


def scratch_bytes(model_bytes: int, forms: int) -> int:
    """Return the least scratch space that preparing takes: the file, its ONNX form and a copy of
    that while it is rewritten; then, without the copy, INT8 forms and the weights they share."""
    return max(3 * model_bytes, 2 * model_bytes + form_bytes(model_bytes, forms))


def form_bytes(model_bytes: int, forms: int) -> int:
    """Return the least space of INT8 forms of a model, and of the weights they share."""
    return (forms + 1) * model_bytes // 4
