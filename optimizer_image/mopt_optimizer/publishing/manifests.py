"""OCI documents of what is published: configs, manifests, the index and referrers. Pure.

Nothing in them depends on the time, the resource or the measurement: the same form has the same
digest, whoever publishes it and whenever. Media types and annotations are those of the OCI image
specification 1.1 and of the CNCF model specification.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from mopt_api.artifacts import ArtifactFormat
from mopt_api.enums import FloatPrecision, Precision, Runtime, TargetKind
from mopt_api.publishing import MODEL_PATH, PublishLayout
from mopt_optimizer.digests import bytes_digest, json_bytes

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
IMAGE_CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
EMPTY_CONFIG = "application/vnd.oci.empty.v1+json"
MODEL_MANIFEST = "application/vnd.cncf.model.manifest.v1+json"
MODEL_CONFIG = "application/vnd.cncf.model.config.v1+json"
MODEL_WEIGHTS = "application/vnd.cncf.model.weight.v1.raw"
MODEL_SETTINGS = "application/vnd.cncf.model.weight.config.v1.raw"

TITLE = "org.opencontainers.image.title"
_OURS = "dev.mopt."
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_FORMATS = {ArtifactFormat.ONNX: "onnx", ArtifactFormat.TENSORRT_ENGINE: "tensorrt"}


@dataclass(frozen=True)
class Descriptor:
    """What names an object in a registry."""

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    artifact_type: str | None = None
    platform: Mapping[str, str] | None = None

    def as_json(self) -> dict[str, object]:
        """Return it as manifests have it."""
        values = {
            "mediaType": self.media_type,
            "artifactType": self.artifact_type,
            "digest": self.digest,
            "size": self.size,
            "annotations": dict(self.annotations) or None,
            "platform": self.platform and dict(self.platform),
        }
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class Document:
    """A JSON object of a registry, as its bytes.

    Attributes:
        artifact_type: Of a manifest of something else than an image.
        annotations: Of a referrer, which an index of referrers repeats.
    """

    media_type: str
    data: bytes
    artifact_type: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """sha256:HEX."""
        return bytes_digest(self.data)

    @property
    def descriptor(self) -> Descriptor:
        """What names it."""
        return Descriptor(self.media_type, self.digest, len(self.data))


@dataclass(frozen=True)
class FormFacts:
    """What is said of a form that is published.

    Attributes:
        artifact: Digest of its file.
        float_precision: Of what is not INT8, where that is not FP32.
        machine: Hardware that it was measured on, as uname -m; None is x86_64.
        cpu_features: It is not to be used without one of these; empty for none.
        compute_capabilities: Of the GPUs that it was built for; empty for any.
    """

    target: str
    kind: TargetKind
    artifact: str
    runtime: Runtime
    precision: Precision
    format: ArtifactFormat
    layout: PublishLayout
    float_precision: FloatPrecision | None = None
    machine: str | None = None
    cpu_features: Sequence[str] = ()
    compute_capabilities: Sequence[str] = ()

    @property
    def platform(self) -> dict[str, str]:
        """Platform of its image."""
        machine = self.machine or "x86_64"
        return {"architecture": ARCHITECTURES.get(machine, machine), "os": "linux"}

    @property
    def annotations(self) -> dict[str, str]:
        """Annotations of its manifest."""
        values = {
            "artifact": self.artifact,
            "runtime": self.runtime.value,
            "precision": self.precision.value,
            "float-precision": (self.float_precision or ""),
            "format": self.format.value,
            "layout": self.layout.value,
            "target-kind": self.kind.value,
            "cpu-features": ",".join(sorted(self.cpu_features)),
            "compute-capabilities": ",".join(self.compute_capabilities),
        }
        title = {TITLE: f"{self.runtime.value} {self.precision.value}"}
        return title | {f"{_OURS}{name}": value for name, value in values.items() if value}


@dataclass(frozen=True)
class BaseImage:
    """An image whose layers come first.

    Attributes:
        name: REPOSITORY@DIGEST.
        config: What its config says of containers: Env, Cmd, User.
    """

    name: str
    layers: Sequence[Descriptor] = ()
    diff_ids: Sequence[str] = ()
    config: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Image:
    """A manifest, and the objects that only it names."""

    facts: FormFacts
    config: Document
    manifest: Document


def image(facts: FormFacts, layers: Sequence[Descriptor], base: BaseImage | None) -> Image:
    """Return a container image of layers, which are not compressed.

    Args:
        base: Its layers come first.
    """
    first = base or BaseImage("")
    name, _, digest = first.name.partition("@")
    config = {
        **facts.platform,
        "config": dict(first.config),
        "rootfs": {
            "type": "layers",
            "diff_ids": [*first.diff_ids, *(layer.digest for layer in layers)],
        },
    }
    based = {
        "org.opencontainers.image.base.name": name,
        "org.opencontainers.image.base.digest": digest,
    }
    stored = Document(IMAGE_CONFIG, json_bytes(config))
    return Image(
        facts,
        stored,
        _manifest(
            stored.descriptor,
            [*first.layers, *layers],
            facts.annotations | (based if base else {}),
        ),
    )


def model_pack(facts: FormFacts, layers: Sequence[Descriptor]) -> Image:
    """Return an artifact of the CNCF model specification.

    Args:
        layers: As model_file.
    """
    config = {
        "descriptor": {"title": facts.annotations[TITLE]},
        "config": {
            "format": _FORMATS.get(facts.format, "pytorch"),
            "precision": facts.precision.value.lower(),
        },
        "modelfs": {"type": "layers", "diffIds": [layer.digest for layer in layers]},
    }
    stored = Document(MODEL_CONFIG, json_bytes(config))
    manifest = _manifest(stored.descriptor, layers, facts.annotations, artifact=MODEL_MANIFEST)
    return Image(facts, stored, manifest)


def model_file(path: str, digest: str, size: int, *, weights: bool) -> Descriptor:
    """Return the layer of one file of the model specification, whose bytes are the file's."""
    kind = MODEL_WEIGHTS if weights else MODEL_SETTINGS
    return Descriptor(kind, digest, size, {MODEL_PATH: path, TITLE: path})


def index(images: Sequence[Image]) -> Document:
    """Return the index of targets' images.

    Who knows nothing but a platform takes the first that fits: so those that run on most hardware
    come first.
    """
    entries = [
        replace(
            each.manifest.descriptor,
            artifact_type=each.manifest.artifact_type,
            annotations=each.facts.annotations | {f"{_OURS}target": each.facts.target},
            platform=each.facts.platform,
        )
        for each in sorted(images, key=lambda each: _demand(each.facts))
    ]
    return _index([entry.as_json() for entry in entries])


def _demand(facts: FormFacts) -> tuple[bool, bool, bool, str]:
    on_gpu = facts.kind is not TargetKind.CPU
    return on_gpu, bool(facts.compute_capabilities), bool(facts.cpu_features), facts.target


def _index(entries: Sequence[object]) -> Document:
    """Return the index of descriptors, each as JSON."""
    document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
    return Document(INDEX, json_bytes(document))


EMPTY = Document(EMPTY_CONFIG, b"{}")
"""Config of an artifact that has none."""


def referrer(
    subject: Descriptor,
    layer: Descriptor,
    artifact_type: str,
    annotations: Mapping[str, str],
) -> Document:
    """Return the manifest of an artifact that refers to another one; its config is EMPTY.

    Args:
        subject: What it refers to.
        layer: Its content.
    """
    plain = replace(subject, annotations={}, platform=None, artifact_type=None)
    return _manifest(EMPTY.descriptor, [layer], annotations, artifact=artifact_type, subject=plain)


def referrers_tag(digest: str) -> str:
    """Return the tag of the index of a digest's referrers, for registries without the API."""
    return digest.replace(":", "-")


def with_referrer(known: bytes | None, added: Document) -> Document | None:
    """Return an index of referrers with one more; None where it names that one already.

    Args:
        known: The index so far; None for none. What is no index is replaced by one.
    """
    try:
        entries = json.loads(known)["manifests"] if known else []
        if any(entry["digest"] == added.digest for entry in entries):
            return None
    except (ValueError, LookupError, TypeError):
        entries = []
    described = replace(
        added.descriptor, artifact_type=added.artifact_type, annotations=added.annotations
    )
    return _index([*entries, described.as_json()])


def _manifest(
    config: Descriptor,
    layers: Sequence[Descriptor],
    annotations: Mapping[str, str],
    *,
    artifact: str | None = None,
    subject: Descriptor | None = None,
) -> Document:
    document: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.as_json(),
        "layers": [layer.as_json() for layer in layers],
        "annotations": dict(annotations),
    }
    if artifact is not None:
        document["artifactType"] = artifact
    if subject is not None:
        document["subject"] = subject.as_json()
    return Document(MANIFEST, json_bytes(document), artifact, annotations)
