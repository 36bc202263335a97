"""What is published of each target: its files on the local disk, as its image has them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from mopt_api.artifacts import Artifact, ArtifactFormat, file_name
from mopt_api.auto.int8 import WIDE_SUMS
from mopt_api.auto.rules import NATIVE_BF16
from mopt_api.enums import TargetKind
from mopt_api.jobs.measure_result import MeasureResult
from mopt_api.jobs.plan import Credentials
from mopt_api.jobs.publishing import PublishedForm
from mopt_api.publishing import OciRepository, PublishLayout
from mopt_optimizer.errors import DataError, DigestMismatch
from mopt_optimizer.progress import Log
from mopt_optimizer.publishing.archive import Stored
from mopt_optimizer.publishing.manifests import FormFacts
from mopt_optimizer.serving import (
    Layout,
    ServedForm,
    read_signature,
    served_form,
    signature_request,
    tree_of,
)
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.files import fetch_files
from mopt_optimizer.store.registry import open_store
from mopt_optimizer.store.writing import disk_errors

LAYOUTS = {
    PublishLayout.MODEL_REPOSITORY: Layout.KSERVE,
    PublishLayout.FILES: Layout.FILES,
    PublishLayout.MODEL_PACK: Layout.FILES,
}
"""Which folder each is; mopt_api.publishing.is_loaded says what it refuses."""
_LONGEST_NAME = 63


@dataclass(frozen=True)
class LaidOut:
    """A form, laid out on the local disk.

    Attributes:
        folder: Holds its files and no others.
        files: By their path in it.
        objects: Those paths of them that are objects of the store: weights, not settings.
    """

    form: PublishedForm
    result: MeasureResult
    facts: FormFacts
    folder: Path
    files: dict[str, Stored]
    objects: frozenset[str]


def read_result(blobs: Blobs, form: PublishedForm) -> MeasureResult:
    """Return the result that proves a form.

    Raises:
        DataError: It is no result.json, or does not have that form.
        StoreError.
    """
    try:
        result = MeasureResult.model_validate_json(blobs.read(form.result))
    except ValidationError as error:
        raise DataError(f"{blobs.uri(form.result)} is no result.json: {error}") from error
    artifact_of(result, form)
    return result


def artifact_of(result: MeasureResult, form: PublishedForm) -> Artifact:
    """Return the file of a form, as its result has it. Pure.

    Raises:
        DataError: The result has no such form, or another file of it.
    """
    named = next((each for each in result.everyone if each.name == form.variant), None)
    if named is None or named.artifact is None or named.artifact.digest != form.artifact:
        raise DataError(
            f"result.json {form.result} of target {form.target} does not have {form.artifact} as "
            f"variant {form.variant}"
        )
    return named.artifact


def model_name(oci: OciRepository) -> str:
    """Return what servers call the model: the last part of its repository, as a DNS label. Pure."""
    last = oci.repository.rpartition("/")[2]
    return re.sub(r"[^a-z0-9]+", "-", last)[:_LONGEST_NAME].strip("-") or "model"


def lay_out(
    form: PublishedForm,
    oci: OciRepository,
    blobs: Blobs,
    environ: Mapping[str, str],
    workdir: Path,
    log: Log,
) -> LaidOut:
    """Fetch a form, each file verified, and lay it out as its image has it.

    Args:
        blobs: The output store.
        workdir: Does not exist yet.

    Raises:
        UnservableForm: No server loads the form as it was measured.
        DataError: As read_result.
        ModelError, DigestMismatch, StoreError, DiskError.
    """
    result = read_result(blobs, form)
    artifact = artifact_of(result, form)
    fetched = fetch(form, artifact, blobs, environ, workdir / "fetched")
    opened = fetched[artifact.digest]
    request = signature_request(result, artifact, opened)
    signature = read_signature(request, workdir, environ=environ, log=log)
    served = served_form(result, form.variant, signature, name=model_name(oci))
    tree = tree_of(LAYOUTS[oci.layout], served)
    folder = workdir / "files"
    files = {path: _placed(folder / path, content, fetched) for path, content in tree.items()}
    return LaidOut(
        form=form,
        result=result,
        facts=facts_of(form, served, result, oci.layout),
        folder=folder,
        files=files,
        objects=frozenset(path for path, content in tree.items() if isinstance(content, str)),
    )


def fetch(
    form: PublishedForm,
    artifact: Artifact,
    blobs: Blobs,
    environ: Mapping[str, str],
    folder: Path,
) -> dict[str, Path]:
    """Write a form's files to a folder, each verified; return them by digest.

    The source model itself lies where spec.model says, not under the output's uri.

    Raises:
        DigestMismatch, StoreError, DiskError.
    """
    if form.uri == blobs.uri(form.artifact):
        return fetch_files(blobs, artifact, folder)
    folder.mkdir(parents=True)
    store, key = open_store(form.uri, Credentials.MODEL, environ)
    path = folder / file_name(artifact.format)
    found = f"sha256:{store.fetch(key, path)}"
    if found != artifact.digest:
        raise DigestMismatch(f"{form.uri} has {found} instead of {artifact.digest}")
    return {artifact.digest: path}


def _placed(path: Path, content: bytes | str, fetched: Mapping[str, Path]) -> Stored:
    path.parent.mkdir(parents=True, exist_ok=True)
    with disk_errors(str(path)):
        if isinstance(content, str):
            os.link(fetched[content], path)
        else:
            path.write_bytes(content)
    return Stored(path, path.stat().st_size)


def facts_of(
    form: PublishedForm, served: ServedForm, result: MeasureResult, layout: PublishLayout
) -> FormFacts:
    """Return what is said of a form. Pure."""
    gpu = result.hardware.gpu
    engine = served.artifact.format is ArtifactFormat.TENSORRT_ENGINE
    return FormFacts(
        target=form.target,
        kind=form.kind,
        artifact=form.artifact,
        runtime=served.runtime,
        precision=served.precision,
        float_precision=served.float_precision,
        format=served.artifact.format,
        layout=layout,
        machine=result.hardware.architecture,
        cpu_features=_cpu_features(served) if form.kind is TargetKind.CPU else (),
        compute_capabilities=(gpu.compute_capability,) if engine and gpu is not None else (),
    )


def _cpu_features(served: ServedForm) -> Sequence[str]:
    """Return instructions of which a CPU must have one to compute as it was measured.

    Another CPU would compute BF16 in FP32, and INT8 of full range wrong. Those with BF16 add up in
    32 bits too.
    """
    if served.uses_bf16:
        return sorted(NATIVE_BF16)
    return sorted(WIDE_SUMS) if served.options.wide_sums else ()
