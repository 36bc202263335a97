"""Where `mopt export` takes a form from: a result.json here or in a store, or a resource."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mopt_api.artifacts import Artifact, blob_key
from mopt_api.jobs.measure_result import MeasureResult
from mopt_api.jobs.plan import Credentials
from mopt_api.status import TargetStatus

from ._errors import CliError, store_failed
from .results import parsed_result, read_result
from .selections import name_of as resource_name
from .selections import target_of

if TYPE_CHECKING:
    from mopt_optimizer.store.blobs import Blobs

_MOST_NAME = 63
_STORED = "s3://"
_DIGEST = r"sha256:[0-9a-f]{64}"


@dataclass(frozen=True)
class Source:
    """A result, and where the files of its forms lie.

    Attributes:
        name: What the model is called, where the user does not say.
        digest: Of result.json.
        variant: The form to serve, where the user does not say; None is the result's selection.
        root: URI that blobs/sha256/ lies under; None is that in the artifact's own uri.
    """

    name: str
    result: MeasureResult
    digest: str
    variant: str | None = None
    root: str | None = None

    def blobs_of(self, artifact: Artifact) -> Blobs:
        """Return the store that holds an artifact's files.

        Raises:
            CliError: The result does not say where they lie.
        """
        root = self.root or _root(artifact.uri, artifact.digest)
        if root is None:
            raise CliError(
                f"the result does not say where {artifact.digest} lies: export from the folder "
                "that mopt run wrote, OUTPUT/blobs/sha256/HEX, or from the resource's name"
            )
        return opened_blobs(root)


def opened_blobs(root: str) -> Blobs:
    """Return the blobs under a URI, read with the user's AWS_* environment.

    Raises:
        CliError: The store cannot be opened.
    """
    from mopt_optimizer.errors import OptimizerError
    from mopt_optimizer.sandbox import report_of
    from mopt_optimizer.store.blobs import Blobs
    from mopt_optimizer.store.registry import open_store

    try:
        return Blobs(*open_store(root, Credentials.OUTPUT, os.environ))
    except OptimizerError as error:
        raise store_failed(report_of(error)) from error


def _root(uri: str | None, digest: str) -> str | None:
    """Return the URI that an object's blobs/sha256/HEX lies under."""
    end = f"/{blob_key(digest)}"
    return uri.removesuffix(end) if uri is not None and uri.endswith(end) else None


def file_source(file: Path, target: str | None) -> Source:
    """Return what a result.json gives; its forms' files lie beside it, or where it says.

    Raises:
        CliError: It is no result.json, or one of another target.
    """
    result = read_result(file)
    if target not in (None, result.target):
        raise CliError(f"{file} is the result of target {result.target}, not of {target}")
    place = file.resolve()
    root = None
    if place.parent.parts[-2:] == ("blobs", "sha256"):
        root = place.parent.parent.parent.as_uri()
    digest = f"sha256:{hashlib.sha256(place.read_bytes()).hexdigest()}"
    return Source(name=name_of(result), result=result, digest=digest, root=root)


def is_stored(text: str) -> bool:
    """Tell whether a text is the location of a result.json in a store."""
    return text.startswith(_STORED)


def stored_source(uri: str, target: str | None) -> Source:
    """Return what a result.json in a store gives, as status.targets[].report.uri names it.

    Raises:
        CliError: It is no such location; it cannot be read; it is of another target.
    """
    digest = f"sha256:{uri.rpartition('/')[2]}"
    root = _root(uri, digest)
    if root is None or not re.fullmatch(_DIGEST, digest):
        raise CliError(
            f"{uri} is no result.json in a store: s3://BUCKET/PREFIX/{blob_key('sha256:HEX')}, as "
            "status.targets[].report.uri has it"
        )
    source = _read(root, digest)
    if target not in (None, source.result.target):
        raise CliError(f"{uri} is the result of target {source.result.target}, not of {target}")
    return source


def result_of(text: str) -> MeasureResult:
    """Return the result in a file, or in a store.

    Raises:
        CliError: As read_result and stored_source; or there is no such file.
    """
    if is_stored(text):
        return stored_source(text, None).result
    if not Path(text).is_file():
        raise CliError(f"{text} is neither a file nor s3://...")
    return read_result(Path(text))


def source_of(
    text: str,
    target: str | None,
    variant: str | None,
    resource: Callable[[], Mapping[str, object]],
) -> Source:
    """Return what a text names: a result.json here or in a store, else a resource.

    Args:
        target: Name of the target.
        variant: Of a resource: the form, where it is not what the resource says to serve.
        resource: Asks the cluster for it.

    Raises:
        CliError: As stored_source, file_source and resource_source.
    """
    if is_stored(text):
        return stored_source(text, target)
    if (file := Path(text)).is_file():
        return file_source(file, target)
    return resource_source(resource(), target, variant)


def _read(root: str, digest: str) -> Source:
    """Return what a stored result gives.

    Raises:
        CliError: It cannot be read from its store.
    """
    from mopt_optimizer.errors import OptimizerError
    from mopt_optimizer.sandbox import report_of

    try:
        content = opened_blobs(root).read(digest)
    except OptimizerError as error:
        raise store_failed(report_of(error)) from error
    result = parsed_result(content, f"{root}/{blob_key(digest)}")
    return Source(name=name_of(result), result=result, digest=digest, root=root)


def name_of(result: MeasureResult) -> str:
    """Return what a model is called by its file's name; model where that says nothing. Pure."""
    model = (result.plan or {}).get("model")
    uri = str(model.get("uri", "")) if isinstance(model, dict) else ""
    stem = PurePosixPath(urlsplit(uri).path).stem.lower()
    return re.sub(r"[^a-z0-9]+", "-", stem)[:_MOST_NAME].strip("-") or "model"


def resource_source(raw: Mapping[str, object], wanted: str | None, variant: str | None) -> Source:
    """Return what a resource gives: of what it says to serve the result that proves it, of another
    variant the latest.

    Args:
        wanted: Name of the target.

    Raises:
        CliError: As target_of; or the result cannot be read from its store.
    """
    target = target_of(raw, wanted)
    digest, served = target.report.digest, target.artifact
    if variant is None and served is not None:
        digest, variant = served.report, served.variant
    found = _read(report_root(raw, target), digest)
    return replace(found, name=resource_name(raw), variant=variant)


def latest_source(raw: Mapping[str, object], wanted: str | None) -> Source:
    """Return the latest result of a resource, whether or not it is what the resource serves.

    Args:
        wanted: Name of the target.

    Raises:
        CliError: As resource_source.
    """
    target = target_of(raw, wanted)
    found = _read(report_root(raw, target), target.report.digest)
    return replace(found, name=resource_name(raw))


def report_root(raw: Mapping[str, object], target: TargetStatus) -> str:
    """Return the URI that a target's results and pages lie under.

    Raises:
        CliError: Status names another place.
    """
    root = _root(target.report.uri, target.report.digest)
    if root is None:
        where = f"status of {resource_name(raw)}"
        raise CliError(f"{where}: {target.report.uri} is not where results lie")
    return root
