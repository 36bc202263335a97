"""Kubernetes manifests of what a resource published, pinned by digest. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mopt_api.enums import Runtime
from mopt_api.publishing import Published, PublishLayout
from mopt_api.runtimes import THREAD_VARIABLES
from mopt_api.status import SelectedArtifact, TargetStatus, VariantStatus

from ._errors import CliError
from .pod_resources import cpu_quantity, memory_quantity, served_cpus

MOUNT = "/mnt/mopt"
_MODELS = f"{MOUNT}/models"
_ARTIFACT = "mopt.dev/artifact"
_REPOSITORY = PublishLayout.MODEL_REPOSITORY.value

_ARGUMENTS = {
    True: [f"--config_path={_MODELS}/config.json", "--port=9000", "--rest_port=8000"],
    False: ["tritonserver", f"--model-repository={_MODELS}"],
}

# As KServe's runtimes run OpenVINO Model Server and Triton, whose images name no numeric user.
_USERS = {True: 5000, False: 1000}
# What the Pod Security Standard restricted asks for.
_RESTRICTED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


@dataclass(frozen=True)
class Served:
    """What a target published, and how it is to be run.

    Attributes:
        threads: Of each copy; None where they are not known.
        copies: How many compute at the same time.
        cpus: CPU limit; None where it is not known.
        memory: Memory to request, a quantity; None where it is not known.
        arguments: Options of OpenVINO Model Server, where it is started without its config.json.
    """

    name: str
    published: Published
    artifact: SelectedArtifact
    threads: int | None
    gpu: bool
    node_selector: Mapping[str, str]
    copies: int = 1
    cpus: float | None = None
    memory: str | None = None
    arguments: tuple[str, ...] = ()

    @property
    def by_openvino(self) -> bool:
        """Whether OpenVINO Model Server serves it; else Triton does."""
        return self.artifact.runtime == Runtime.OPENVINO

    @property
    def metadata(self) -> dict[str, Any]:
        """Of the object that serves it."""
        return {"name": self.name, "annotations": {_ARTIFACT: self.artifact.digest}}

    @property
    def resources(self) -> dict[str, Any]:
        """CPUs, memory, and a GPU where it was measured on one.

        Memory is requested without a limit: it was measured of our process, not of this server.
        """
        cpu = {} if self.cpus is None else {"cpu": cpu_quantity(self.cpus)}
        memory = {} if self.memory is None else {"memory": self.memory}
        gpu = {"nvidia.com/gpu": "1"} if self.gpu else {}
        found = {"requests": cpu | memory, "limits": cpu | gpu}
        return {kind: amounts for kind, amounts in found.items() if amounts}

    @property
    def settings(self) -> dict[str, Any]:
        """Fields of a container: its resources, and the environment that libraries read."""
        known = "" if self.threads is None else str(self.threads)
        environment = [{"name": name, "value": known} for name in THREAD_VARIABLES if known]
        return {
            **({"env": environment} if environment else {}),
            **({"resources": self.resources} if self.resources else {}),
        }


def served(raw: Mapping[str, Any], target: TargetStatus) -> Served:
    """Return what a target published.

    Raises:
        CliError: Nothing, or another form than what is to be served, or in a layout that no server
            loads; says what to do.
    """
    name, artifact, published = raw["metadata"]["name"], target.artifact, target.published
    spec = raw.get("spec") or {}
    oci = (spec.get("publish") or {}).get("oci") or {}
    if artifact is None:
        raise CliError(f"{name}: nothing is selected for target {target.name}")
    if published is None:
        do = (
            "wait for condition Published, whose message says what is wrong"
            if oci
            else "set spec.publish.oci, or use --as kserve or --as triton and serve the folder"
        )
        raise CliError(
            f"{name} has published nothing for target {target.name}, and no server loads the file "
            f"from {artifact.uri or 'its store'} alone: {do}"
        )
    if published.selected != artifact.digest:
        raise CliError(
            f"{name} serves {artifact.digest} on target {target.name}, and has published "
            f"{published.artifact}: wait for condition Published, or approve it"
        )
    if (layout := oci.get("layout", _REPOSITORY)) != _REPOSITORY:
        raise CliError(
            f"{name} publishes the layout {layout}, which no server loads: set "
            f"spec.publish.oci.layout to {_REPOSITORY}"
        )
    selector = next(
        (t.get("nodeSelector") for t in spec.get("targets") or () if t.get("name") == target.name),
        None,
    )
    variant = published.variant if published.instead_of else artifact.variant
    form = next((each for each in target.everyone if each.name == variant), None)
    if published.instead_of:
        artifact = _in_place(artifact, form, published)
    serving = form.load.serving if form is not None and form.load is not None else None
    threads = serving.threads if serving else target.hardware.threads or None
    copies = serving.instances if serving else 1
    # On a GPU the peak is of the GPU's memory.
    peak = form.peak_memory_bytes if form is not None and target.hardware.gpu is None else None
    return Served(
        name=name,
        published=published,
        artifact=artifact,
        threads=threads,
        copies=copies,
        cpus=served_cpus(target.hardware, threads, copies),
        memory=memory_quantity(peak, copies),
        gpu=target.hardware.gpu is not None and not target.hardware.gpu.mig,
        node_selector=selector or {},
    )


def _in_place(
    selected: SelectedArtifact, form: VariantStatus | None, published: Published
) -> SelectedArtifact:
    """Return what was published in place of what was selected.

    Raises:
        CliError: The target's figures are of a later run, which has no such form.
    """
    if form is None or form.artifact is None or form.artifact.digest != published.artifact:
        raise CliError(
            f"what was published, {published.artifact}, is no form of the last run: wait for "
            "condition Published"
        )
    return SelectedArtifact.of(
        form,
        form.artifact,
        report=selected.report,
        generation=selected.generation,
        time=selected.time,
    )


def inference_service(form: Served) -> dict[str, Any]:
    """Return KServe's InferenceService, whose model is the image."""
    model = {
        "modelFormat": {"name": "openvino" if form.by_openvino else "triton"},
        "runtime": "kserve-openvino" if form.by_openvino else "kserve-tritonserver",
        "protocolVersion": "v2",
        **_pinned(form),
    }
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": form.metadata,
        "spec": {"predictor": {**_placed(form), "model": model}},
    }


def pod(form: Served, image: str) -> dict[str, Any]:
    """Return a Pod with the model as an image volume.

    Args:
        image: Of the server.
    """
    container = {
        "name": "server",
        "image": image,
        "args": _ARGUMENTS[form.by_openvino],
        "securityContext": _RESTRICTED,
        **form.settings,
        "volumeMounts": [{"name": "model", "mountPath": MOUNT, "readOnly": True}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": form.metadata,
        "spec": {
            **_placed(form),
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": _USERS[form.by_openvino],
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": [_volume(form)],
        },
    }


def kustomization(form: Served) -> dict[str, Any]:
    """Return a Component that pins the model in what it is added to: the volume named model of the
    Deployment, and the InferenceService with its options, of the resource's name.

    Which container of a Deployment is the server it cannot know; the options of the model are in
    the image's own files.
    """
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": form.metadata,
        "spec": {"template": {"spec": {"volumes": [_volume(form)]}}},
    }
    service = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": form.metadata,
        "spec": {"predictor": {"model": _pinned(form)}},
    }
    return {
        "apiVersion": "kustomize.config.k8s.io/v1alpha1",
        "kind": "Component",
        "patches": [
            {
                "target": {"kind": patch["kind"], "name": form.name},
                # JSON is YAML; the patch is text here.
                "patch": json.dumps(patch, indent=2),
            }
            for patch in (deployment, service)
        ],
    }


def _pinned(form: Served) -> dict[str, Any]:
    """Return the fields of an InferenceService's model that come from the measurement."""
    return {
        "storageUri": f"oci://{form.published.reference}",
        **({"args": list(form.arguments)} if form.arguments else {}),
        **form.settings,
    }


def _volume(form: Served) -> dict[str, Any]:
    image = {"reference": form.published.reference, "pullPolicy": "IfNotPresent"}
    return {"name": "model", "image": image}


def _placed(form: Served) -> dict[str, Any]:
    return {"nodeSelector": dict(form.node_selector)} if form.node_selector else {}
