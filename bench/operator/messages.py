"""What the Pods of the bench return, and the kwok stages by which they do.

One message per stage and target serves all resources: the operator checks both, and takes the rest
for what it says.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))

from job_messages import digest, measured, prepare_message, source

from mopt_api.figures import Hardware, QualityResult
from mopt_api.jobs.termination import MeasureSummary, encode
from mopt_api.labels import CONTAINER, LABEL_STAGE, LABEL_TARGET

Json = dict[str, Any]

MODEL_SHA = source().sha256
WORK_SECONDS = 1.0
"""How long a Pod "works" after the kubelet has started it, unless a run says otherwise."""

_RUNTIMES = ("ONNXRuntime", "OpenVINO")
_PRECISIONS = ("FP32", "FP16", "BF16", "INT8")


def variant_names(count: int) -> list[tuple[str, str, str]]:
    """Return name, runtime and precision of that many variants, eight at most."""
    pairs = [(runtime, precision) for precision in _PRECISIONS for runtime in _RUNTIMES]
    return [(f"{r}-{p}".lower(), r, p) for r, p in pairs[:count]]


def measure_message(target: str, variants: int) -> str:
    """Return what a measurement of that many variants returns; the last one is the fastest."""
    found = [
        measured(name, runtime, precision, speedup=2.0 + index / 4, psnr=60.0 - index)
        for index, (name, runtime, precision) in enumerate(variant_names(variants))
    ]
    return encode(
        MeasureSummary(
            target=target,
            result=digest(f"result of {target}"),
            point="one",
            hardware=Hardware(cpu="kwok", threads=2, node="kwok-0"),
            software={"mopt": "0.1.0+000000000000", "onnxruntime": "1.0", "openvino": "1.0"},
            measured_at="2026-11-01T12:00:00Z",
            baseline=measured("baseline", "PyTorch", "FP32", 1.0, None).model_copy(
                update={"quality": [QualityResult(metric="PSNR", worst=200.0, mean=200.0)]}
            ),
            variants=found,
            selected=found[-1].name,
        )
    )


def kwok_stages(targets: list[str], variants: int, work: float = WORK_SECONDS) -> str:
    """Return kwok's configuration: Pods start, work, and succeed with their message.

    Args:
        work: Seconds that each works.
    """
    stages = [_node(), _started(), _deleted(), _finished("prepare", None, prepare_message(), work)]
    stages += [
        _finished("measure", name, measure_message(name, variants), work) for name in targets
    ]
    return yaml.safe_dump_all(stages, sort_keys=False)


def _stage(
    name: str, conditions: list[Json], then: Json, *, kind: str = "Pod", **more: Any
) -> Json:
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": kind},
            "selector": {
                "matchExpressions": conditions,
                **({"matchLabels": more["labels"]} if "labels" in more else {}),
            },
            **({"delay": {"durationMilliseconds": more["delay"]}} if "delay" in more else {}),
            "next": then,
        },
    }


def _where(key: str, operator: str, *values: str) -> Json:
    return {"key": key, "operator": operator, **({"values": list(values)} if values else {})}


_KEPT = _where(".metadata.deletionTimestamp", "DoesNotExist")


def _status(phase: str, state: str, conditions: str = "") -> Json:
    template = (
        f"{{{{ $now := Now }}}}\nphase: {phase}\n{conditions}containerStatuses:\n"
        f'- name: {CONTAINER}\n  image: "{{{{ (index .spec.containers 0).image }}}}"\n'
        f'  imageID: ""\n  ready: {"true" if phase == "Running" else "false"}\n'
        f"  restartCount: 0\n  state: {state}\n"
    )
    return {"statusTemplate": template}


def _node() -> Json:
    """Return the stage by which a new node becomes ready; kwok renews its Lease from then on."""
    ready = '.status.conditions.[] | select( .type == "Ready" ) | .status'
    template = (
        "{{ $now := Now }}\nphase: Running\nconditions:\n"
        '- {type: Ready, status: "True", reason: KubeletReady, message: "",'
        " lastHeartbeatTime: {{ $now | Quote }}, lastTransitionTime: {{ $now | Quote }}}\n"
        "allocatable: &all {cpu: 4, memory: 64Gi, pods: 110, ephemeral-storage: 1Ti}\n"
        "capacity: *all\n"
    )
    then = {"statusTemplate": template}
    return _stage("node-ready", [_where(ready, "NotIn", "True")], then, kind="Node")


def _started() -> Json:
    ready = "".join(
        f'- {{type: {kind}, status: "True", lastTransitionTime: {{{{ $now | Quote }}}}}}\n'
        for kind in ("Initialized", "ContainersReady", "Ready")
    )
    then = _status(
        "Running",
        "{running: {startedAt: {{ $now | Quote }}}}",
        f"startTime: {{{{ $now | Quote }}}}\nconditions:\n{ready}",
    )
    return _stage("pod-started", [_KEPT, _where(".status.phase", "In", "Pending")], then)


def _finished(stage: str, target: str | None, message: str, work: float) -> Json:
    times = "startedAt: {{ $now | Quote }}, finishedAt: {{ $now | Quote }}"
    ended = f'{{terminated: {{exitCode: 0, reason: Completed, {times}, message: "{message}"}}}}'
    labels = {LABEL_STAGE: stage} | ({LABEL_TARGET: target} if target else {})
    return _stage(
        f"pod-finished-{stage}" + (f"-{target}" if target else ""),
        [_KEPT, _where(".status.phase", "In", "Running")],
        _status("Succeeded", ended),
        labels=labels,
        delay=round(1000 * work),
    )


def _deleted() -> Json:
    gone = {"finalizers": {"empty": True}, "delete": True}
    return _stage("pod-deleted", [_where(".metadata.deletionTimestamp", "Exists")], gone)


def manifests(names: list[str], namespace: str, targets: list[str]) -> Iterator[Json]:
    """Yield a resource for each name."""
    for name in names:
        yield {
            "apiVersion": "mopt.dev/v1alpha1",
            "kind": "ModelOptimization",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "model": {
                    # No two ask for the same, which the operator would read once for both.
                    "uri": f"s3://models/{name}.pt2",
                    "sha256": MODEL_SHA,
                    "format": "ExportedProgram",
                },
                "inputs": [{"name": "x", "shape": [1, 3, 8, 8]}],
                "benchmark": {"points": [{"name": "one"}]},
                "targets": [{"name": target} for target in targets],
                "output": {"uri": "s3://optimized", "credentialsSecretRef": {"name": "store"}},
            },
        }
