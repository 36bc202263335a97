"""What is to be published of a resource, and the Job that does it. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mopt_api.enums import TargetKind
from mopt_api.figures import VariantState
from mopt_api.jobs.anonymous import anonymous_roles
from mopt_api.jobs.plan import Credentials, PublishPlan
from mopt_api.jobs.publishing import (
    REGISTRY_AUTH_FILE,
    SIGNING_KEY_FILE,
    PublishedForm,
    PublishedResource,
)
from mopt_api.publishing import OciRepository, Publish, PublishLayout, is_loaded
from mopt_api.spec import ModelOptimizationSpec
from mopt_api.status import TargetStatus, VariantStatus
from mopt_api.stores import OCI, takes_credentials
from mopt_operator.config.settings import DEFAULT_PROFILE, Settings
from mopt_operator.objects import Resource

from .holding import form_of
from .request import Request
from .secrets import SecretFile, claims_of, registry_login, stage_files
from .status import blob_uri
from .work import WorkItem, profile_of


@dataclass(frozen=True)
class Order:
    """What is to be published of a resource.

    Attributes:
        forms: One for each target that measures.
        key: Of all that decides on the images' content and where they go, in 16 hex digits.
        replaced: By target, the digest of what was selected there, where another form takes its
            place.
    """

    publish: Publish
    forms: tuple[PublishedForm, ...]
    key: str
    replaced: Mapping[str, str] = field(default_factory=dict)

    @property
    def digests(self) -> tuple[str, ...]:
        """The files' digests, each once."""
        return tuple(dict.fromkeys(form.artifact for form in self.forms))

    def is_done(self, targets: Sequence[TargetStatus]) -> bool:
        """Tell whether status says that all of it is published."""
        known = {target.name: target.published for target in targets}
        published = [known.get(form.target) for form in self.forms]
        return all(each is not None and each.key == self.key for each in published)


def order_of(
    publish: Publish, request: Request, targets: Sequence[TargetStatus], settings: Settings
) -> Order | None:
    """Return what is to be published: what is to be served on every target that measures.

    Args:
        targets: As status has them.

    Returns:
        None where a target that measures has nothing, or none measures.
    """
    known = {target.name: target for target in targets}
    forms, replaced = [], {}
    for target in request.targets:
        kind = profile_of(target, settings).kind
        if kind is TargetKind.BUILD_ONLY:
            continue  # It runs nothing, so it selects nothing.
        status = known.get(target.name)
        if status is None or (form := _form(status, kind, publish.oci.layout)) is None:
            return None
        forms.append(form)
        if status.artifact is not None and status.artifact.digest != form.artifact:
            replaced[target.name] = status.artifact.digest
    if not forms:
        return None
    return Order(publish, tuple(forms), _key(publish.oci, forms, settings), replaced)


def _form(target: TargetStatus, kind: TargetKind, layout: PublishLayout) -> PublishedForm | None:
    """Return what is to be published of a target; None where it has nothing to serve."""
    selected = target.artifact
    if selected is None or selected.uri is None:
        return None
    form = PublishedForm(
        target=target.name,
        kind=kind,
        variant=selected.variant,
        artifact=selected.digest,
        uri=selected.uri,
        result=selected.report,
    )
    other = in_place(target, layout)
    if other is None or other.artifact is None:
        return form
    changed = {"variant": other.name, "artifact": other.artifact.digest, "uri": other.artifact.uri}
    return form.model_copy(update={**changed, "result": target.report.digest})


def in_place(target: TargetStatus, layout: PublishLayout) -> VariantStatus | None:
    """Return the form that is published in place of the selected one, where no server loads that
    from a layout: of those within the gates that have its precision the one that was published
    last, else the fastest.

    A baseline that is kept is often a program of torch.export; what was exported of it computes
    the same. None where what is selected is loaded, or no other form can take its place.
    """
    selected = target.artifact
    if selected is None or is_loaded(selected.format, layout):
        return None
    form = form_of(target, selected.variant, selected.digest)
    if form is None:
        return None  # The figures are not of what is selected.
    able = [
        other
        for other in target.variants
        if other.state == VariantState.PASSED
        and (other.precision, other.float_precision) == (form.precision, form.float_precision)
        and other.artifact is not None
        and other.artifact.uri is not None
        and is_loaded(other.artifact.format, layout)
    ]
    before = target.published.variant if target.published else None
    return max(able, key=lambda o: (o.name == before, o.speedup or 0, o.name), default=None)


def _key(oci: OciRepository, forms: Sequence[PublishedForm], settings: Settings) -> str:
    """Return the key of an order.

    The result that proves a form is not among it: the same form, measured again, is not pushed
    again, since what serves it would have to be rolled out for nothing.
    """
    identity = {
        "repository": oci.repository,
        "layout": oci.layout,
        "tags": oci.tags,
        "baseImage": settings.publish.base_image,
        "signed": settings.publish.signing is not None,
        "forms": [[f.target, f.kind, f.variant, f.artifact] for f in forms],
    }
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def publish_work(
    order: Order, request: Request, resource: Resource, settings: Settings
) -> WorkItem:
    """Return the work of publishing what was ordered, for all targets at once.

    Its generation is part of it, hence of its Job's name: after a change of spec it is begun anew,
    however long the present attempt would wait.
    """
    profile = settings.profiles[DEFAULT_PROFILE]
    execution = request.spec.execution
    return WorkItem(
        plan=PublishPlan(
            oci=order.publish.oci,
            forms=list(order.forms),
            resource=PublishedResource(
                namespace=resource.namespace,
                name=resource.name,
                uid=resource.uid,
                generation=resource.generation,
            ),
            base_image=settings.publish.base_image,
            output_uri=request.output.uri,
            signed=settings.publish.signing is not None,
        ),
        target="",
        profile_name=DEFAULT_PROFILE,
        profile=profile,
        node_selector=profile.node_selector,
        resources=settings.publish.resources,
        secrets=_store_secrets(order, request),
        anonymous=_anonymous(order, request),
        claims=claims_of([*(form.uri for form in order.forms), request.output.uri]),
        deadline_seconds=execution.active_deadline_seconds,
        # The operator tries again, for as long as it takes.
        retries=0,
        queue=execution.queue_name,
        files=_files(order, request.spec, settings),
    )


def _store_secrets(order: Order, request: Request) -> dict[Credentials, str]:
    """Return the Secret of each store that forms are read from; the output's is the default.

    The source model is served from where it lies: as the baseline, and as a form that is the same
    file.
    """
    output = request.output.credentials_secret_ref
    named = {Credentials.OUTPUT: output}
    model = request.spec.model
    if _reads_model(order, request) and takes_credentials(model.uri):
        named[Credentials.MODEL] = model.credentials_secret_ref or output
    return {role: ref.name for role, ref in named.items() if ref is not None}


def _reads_model(order: Order, request: Request) -> bool:
    """Tell whether a form lies where the model does, and not among the output's."""
    root = request.output.uri
    return any(form.uri != blob_uri(root, form.artifact) for form in order.forms)


def _anonymous(order: Order, request: Request) -> tuple[Credentials, ...]:
    if not _reads_model(order, request):
        return ()
    return tuple(role for role in anonymous_roles(request.spec) if role is Credentials.MODEL)


def _files(order: Order, spec: ModelOptimizationSpec, settings: Settings) -> tuple[SecretFile, ...]:
    files = []
    if ref := order.publish.oci.credentials_secret_ref:
        files.append(registry_login("registry", ref.name, REGISTRY_AUTH_FILE))
    if any(form.uri.startswith(f"{OCI}://") for form in order.forms):
        files += stage_files(spec)
    if key := settings.publish.signing:
        files.append(SecretFile("signing", key.secret_name, key.key, SIGNING_KEY_FILE))
    return tuple(files)
