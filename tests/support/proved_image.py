"""An image with its proof, from a measurement that `mopt run` made: on a disk, or in a registry.

measured/result.json and form.bin are of `mopt run` on a small network; locations in result.json
were replaced, nothing else.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from mopt_api.artifacts import ArtifactFormat
from mopt_api.enums import Precision, Runtime, TargetKind
from mopt_api.jobs.measure_result import MeasureResult
from mopt_api.jobs.publishing import PublishedForm, PublishedResource
from mopt_api.publishing import PublishLayout
from mopt_optimizer.proofs.attach import image_signature, referrers
from mopt_optimizer.proofs.facts import Facts
from mopt_optimizer.proofs.referrer import Referrer
from mopt_optimizer.publishing.archive import Archive, Given, digest_of
from mopt_optimizer.publishing.manifests import (
    EMPTY,
    LAYER,
    Descriptor,
    Document,
    FormFacts,
    image,
    index,
    referrer,
)
from mopt_optimizer.publishing.registry import Registry

MEASURED = Path(__file__).resolve().parents[1] / "optimizer" / "proofs" / "measured"
RESULT = MEASURED / "result.json"
REPORT = b"<!doctype html><title>small</title>"
EVALUATION = "sha256:f50fba360cf965b5b80ad365e34aa4492f19caedd238539dcaf4fd0086181adb"
REPOSITORY = "registry.example:5000/team/small"


class Sink(Protocol):
    """What an image is written to."""

    def blob(self, content: bytes) -> None: ...

    def document(self, document: Document, tag: str | None = None) -> None: ...

    def refer(self, subject: str, document: Document, /) -> None: ...


@dataclass
class Folder:
    """An OCI image layout."""

    path: Path

    def __post_init__(self) -> None:
        (self.path / "blobs" / "sha256").mkdir(parents=True)
        (self.path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        (self.path / "index.json").write_text('{"schemaVersion":2,"manifests":[]}')

    def file(self, digest: str) -> Path:
        return self.path / "blobs" / "sha256" / digest.removeprefix("sha256:")

    def blob(self, content: bytes) -> None:
        self.file(f"sha256:{hashlib.sha256(content).hexdigest()}").write_bytes(content)

    def document(self, document: Document, tag: str | None = None) -> None:
        self.blob(document.data)
        if tag is not None:
            entry = replace(
                document.descriptor, annotations={"org.opencontainers.image.ref.name": tag}
            )
            found = json.loads((self.path / "index.json").read_text())
            found["manifests"].append(entry.as_json())
            (self.path / "index.json").write_text(json.dumps(found))

    def refer(self, _subject: str, document: Document, /) -> None:
        self.blob(document.data)


@dataclass
class Pushed:
    """A repository of a registry that runs."""

    registry: Registry

    def blob(self, content: bytes) -> None:
        self.registry.push_blob(digest_of(Given(content)), Given(content))

    def document(self, document: Document, tag: str | None = None) -> None:
        self.registry.push_manifest(document)
        if tag is not None:
            self.registry.push_manifest(document, tag)

    def refer(self, subject: str, document: Document, /) -> None:
        self.registry.push_referrer(subject, document)


@dataclass(frozen=True)
class Keys:
    """A pair of keys as openssl makes it."""

    private: Path
    public: Path


def make_keys(folder: Path, curve: str = "prime256v1") -> Keys:
    """Make a key with the commands of docs/proofs.md."""
    folder.mkdir(parents=True, exist_ok=True)
    private, public = folder / "key.pem", folder / "pub.pem"
    made = ("openssl", "ecparam", "-name", curve, "-genkey", "-noout", "-out", str(private))
    subprocess.run(made, check=True, capture_output=True)
    shown = ("openssl", "ec", "-in", str(private), "-pubout", "-out", str(public))
    subprocess.run(shown, check=True, capture_output=True)
    return Keys(private, public)


def measured(**changed: Any) -> MeasureResult:
    """Return the measurement, with fields of its JSON changed."""
    return MeasureResult.model_validate(json.loads(RESULT.read_bytes()) | changed)


def facts(subject: str = f"sha256:{'1' * 64}", **changed: Any) -> Facts:
    """Return the facts of an image of the measurement's winner."""
    result = changed.pop("result", None) or measured()
    name = changed.pop("variant", result.selected)
    variant = next(v for v in result.everyone if v.name == name)
    assert variant.artifact is not None
    form = PublishedForm(
        target="default",
        variant=variant.name,
        artifact=variant.artifact.digest,
        uri=f"s3://optimized/{variant.artifact.digest[7:]}",
        result=f"sha256:{hashlib.sha256(RESULT.read_bytes()).hexdigest()}",
    )
    resource = PublishedResource(namespace="team", name="small", uid="0b1c", generation=3)
    known = Facts(subject, REPOSITORY, form, resource, result, REPORT)
    return replace(known, **changed)


def files(folder: Path, form: bytes | None = None) -> Path:
    """Write what lies under /models, and return the folder."""
    model = folder / "models" / "small" / "1" / "model.onnx"
    model.parent.mkdir(parents=True)
    model.write_bytes((MEASURED / "form.bin").read_bytes() if form is None else form)
    (folder / "models" / "small" / "config.pbtxt").write_text('name: "small"\n')
    return folder / "models"


def publish(
    sink: Sink,
    scratch: Path,
    key: Path | None,
    *,
    tag: str = "latest",
    content: bytes | None = None,
    **changed: Any,
) -> str:
    """Write an index with an image of the measurement's winner and its proof.

    Args:
        content: Of the form's file, where the measurement is another one.
        changed: Of facts.

    Returns:
        The image's digest.
    """
    folder = files(scratch, content)
    names = [path for path in folder.rglob("*") if path.is_file()]
    layer = Archive(
        {path.relative_to(folder).as_posix(): Given(path.read_bytes()) for path in names},
        folder="models",
    )
    form = FormFacts(
        target="default",
        kind=TargetKind.CPU,
        artifact=facts().form.artifact,
        runtime=Runtime.OPENVINO,
        precision=Precision.INT8,
        format=ArtifactFormat.ONNX,
        layout=PublishLayout.MODEL_REPOSITORY,
    )
    made = image(form, [Descriptor(LAYER, layer.digest, len(layer))], None)
    for content in (b"".join(layer), made.config.data, EMPTY.data):
        sink.blob(content)
    sink.document(made.manifest)
    known = facts(made.manifest.digest, **changed)
    attach(sink, made.manifest, referrers(known, folder, key=key))
    top = index([made])
    sink.document(top, tag)
    if key is not None:
        attach(sink, top, [image_signature(top.digest, key=key)])
    return made.manifest.digest


def attach(sink: Sink, subject: Document, given: Sequence[Referrer]) -> None:
    """Write referrers of a manifest."""
    for each in given:
        sink.blob(each.content)
        digest = digest_of(Given(each.content))
        title = {"org.opencontainers.image.title": each.name}
        layer = Descriptor(each.media_type, digest, len(each.content), title)
        document = referrer(subject.descriptor, layer, each.artifact_type, each.annotations)
        sink.refer(subject.digest, document)
