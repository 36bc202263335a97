"""The publish stage: push what to serve to an OCI registry, by digest, with what proves it.

One image for each target, one index of them, and what refers to these; tags are set last, so that
whoever follows a tag finds all of it. What is there is not pushed again, so a stage that was killed
goes on where it was. No model is opened in this process: it holds the keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from mopt_api.jobs.plan import Credentials, PublishPlan
from mopt_api.jobs.termination import PublishedImage, PublishSummary
from mopt_api.publishing import PublishLayout
from mopt_optimizer.progress import Log, Timings
from mopt_optimizer.proofs.reading import MODELS
from mopt_optimizer.publishing.archive import Archive, Given, Sized, digest_of, split
from mopt_optimizer.publishing.base_image import read_base, split_reference
from mopt_optimizer.publishing.manifests import (
    LAYER,
    BaseImage,
    Descriptor,
    Image,
    image,
    index,
    model_file,
    model_pack,
)
from mopt_optimizer.publishing.registry import Registry, open_registry
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.registry import open_store

from .attach import attach_proofs, attach_signature, signing_key
from .forms import LaidOut, lay_out


def publish(
    plan: PublishPlan, environ: Mapping[str, str], workdir: Path, log: Log
) -> PublishSummary:
    """Publish the form of each target.

    Args:
        environ: Holds the stores' credentials, and may name other files of the registry's and of
            the signing key.
        workdir: Exists, empty, ours; has room for the forms' files.

    Raises:
        SigningKeyError: The administrator's key cannot be used.
        RegistryUnreachable, RegistryAccessDenied, RegistryRefused.
        UnservableForm: The layout has no form of what is selected.
        DataError: A result.json does not have the form that it is to prove.
        DigestMismatch, StoreError, ModelError, DiskError.
    """
    timings = Timings(log)
    key = signing_key(plan, environ)
    blobs = Blobs(*open_store(plan.output_uri, Credentials.OUTPUT, environ))
    with timings.step("fetch", f"fetching the forms of {len(plan.forms)} targets"):
        forms = [
            lay_out(form, plan.oci, blobs, environ, workdir / str(number), log)
            for number, form in enumerate(plan.forms)
        ]
    with ExitStack() as stack:
        registry = stack.enter_context(
            open_registry(plan.oci.repository, environ, insecure=plan.oci.insecure)
        )
        base = _base_registry(plan, environ, stack)
        with timings.step("push", f"pushing to {plan.oci.repository}"):
            images = [push_form(registry, form, base, log) for form in forms]
            whole = index(images)
            registry.push_manifest(whole)
        with timings.step("attach", "attaching what proves the images"):
            for form, made in zip(forms, images, strict=True):
                attach_proofs(registry, form, made, plan, blobs, key)
            if key is not None:
                attach_signature(registry, whole.descriptor, key)
        with timings.step("tag", f"setting {', '.join(plan.oci.tags)} to {whole.digest}"):
            for tag in plan.oci.tags:
                registry.push_manifest(whole, tag)
        _report(registry, whole.digest, log)
    return PublishSummary(
        index=whole.digest,
        images=[
            PublishedImage(target=form.form.target, digest=made.manifest.digest)
            for form, made in zip(forms, images, strict=True)
        ],
        signed=key is not None,
    )


def _report(registry: Registry, digest: str, log: Log) -> None:
    sent = registry.counts
    log(
        "publish",
        f"{registry.repository}@{digest}: {sent.blobs} blobs and {sent.manifests} manifests were "
        f"pushed, {sent.bytes} bytes",
        blobs=sent.blobs,
        mounted=sent.mounted,
        manifests=sent.manifests,
        bytes=sent.bytes,
        digest=digest,
    )


class Base:
    """The image that comes first, in its repository."""

    def __init__(self, registry: Registry, digest: str) -> None:
        self.registry = registry
        self.digest = digest


def _base_registry(plan: PublishPlan, environ: Mapping[str, str], stack: ExitStack) -> Base | None:
    """Return the base image; None without one, and for an artifact, which is no file system."""
    if plan.base_image is None or plan.oci.layout is PublishLayout.MODEL_PACK:
        return None
    repository, digest = split_reference(plan.base_image)
    same = repository.partition("/")[0] == plan.oci.repository.partition("/")[0]
    opened = open_registry(repository, environ, insecure=plan.oci.insecure and same)
    return Base(stack.enter_context(opened), digest)


def push_form(registry: Registry, form: LaidOut, base: Base | None, log: Log) -> Image:
    """Push a target's image, after what it names.

    Raises:
        RegistryError.
    """
    if form.facts.layout is PublishLayout.MODEL_PACK:
        contents = _model_files(form)
        made = model_pack(form.facts, [layer for layer, _ in contents])
    else:
        contents = _layers(form)
        first = _copied(registry, base, form) if base is not None else None
        made = image(form.facts, [layer for layer, _ in contents], first)
    for number, (layer, content) in enumerate(contents, start=1):
        log(
            "push",
            f"target {form.form.target}: layer {number} of {len(contents)}, {layer.size} bytes",
            digest=layer.digest,
        )
        registry.push_blob(layer.digest, content)
    registry.push_blob(made.config.digest, Given(made.config.data))
    registry.push_manifest(made.manifest)
    return made


def _copied(registry: Registry, base: Base, form: LaidOut) -> BaseImage:
    """Return the base image for a form's platform, whose layers are in the repository now."""
    found = read_base(base.registry, base.digest, form.facts.platform)
    for layer in found.layers:
        registry.copy_blob(base.registry, layer.digest, layer.size)
    return found


def _layers(form: LaidOut) -> list[tuple[Descriptor, Sized]]:
    """Return the layers of an image; reads all files."""
    archives = [
        Archive(files, folder=MODELS)
        for files in split(dict(form.files), form.objects.__contains__)
    ]
    return [(Descriptor(LAYER, each.digest, len(each)), each) for each in archives]


def _model_files(form: LaidOut) -> list[tuple[Descriptor, Sized]]:
    """Return the layers of an artifact, one for each file; reads all of them."""
    return [
        (model_file(path, digest_of(file), len(file), weights=path in form.objects), file)
        for path, file in form.files.items()
    ]
