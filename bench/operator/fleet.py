"""Many resources from apply to Ready, and the same Jobs started by a script: the floor."""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mopt_api.labels import LABEL_NAME

from .cluster import NAMESPACE, client
from .messages import manifests
from .watching import JOBS, RESOURCES, Arrivals, condition

Json = dict[str, Any]

PER_SECOND = 100.0
# What a busy machine may take between two arrivals.
PATIENCE = 180.0
_THREADS = 16


def at_rate(calls: Iterable[Callable[[], object]]) -> None:
    """Make calls at the bench's rate, side by side."""
    began = time.monotonic()

    def one(item: tuple[int, Callable[[], object]]) -> None:
        number, call = item
        time.sleep(max(began + number / PER_SECOND - time.monotonic(), 0))
        call()

    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(one, enumerate(calls)))


def create_resource(manifest: Json) -> None:
    """Apply one ModelOptimization."""
    client.CustomObjectsApi().create_namespaced_custom_object(
        "mopt.dev", "v1alpha1", manifest["metadata"]["namespace"], "modeloptimizations", manifest
    )


def run_fleet(names: list[str], targets: list[str]) -> float:
    """Apply resources; return the seconds from the first apply to the last Ready."""
    found = manifests(names, NAMESPACE, targets)
    with Arrivals(RESOURCES, lambda item: condition(item, "Ready")) as arrivals:
        began = time.monotonic()
        at_rate(lambda m=m: create_resource(m) for m in found)  # type: ignore[misc]
        arrivals.wait(len(names), PATIENCE)
        return max(arrivals.times.values()) - began


def job_templates(resource: str) -> list[Json]:
    """Return a resource's Jobs, without what belongs to it or to the server."""
    api = client.ApiClient()
    selector = f"{LABEL_NAME}={resource}"
    jobs = client.BatchV1Api().list_namespaced_job(NAMESPACE, label_selector=selector).items
    found = []
    for job in sorted(jobs, key=lambda job: job.metadata.creation_timestamp):
        raw = api.sanitize_for_serialization(job)
        raw["metadata"] = {"name": "", "labels": raw["metadata"]["labels"]}
        raw["spec"].pop("selector")
        labels = raw["spec"]["template"]["metadata"]["labels"]
        for label in [key for key in labels if "controller-uid" in key or "job-name" in key]:
            del labels[label]
        del raw["status"]
        found.append(raw)
    return found


def run_floor(names: list[str], templates: list[Json]) -> float:
    """Start the same Jobs, one stage after the other, without an operator; return the seconds."""
    prepare, *measures = templates
    batch = client.BatchV1Api()

    def create(template: Json, name: str) -> None:
        job = copy.deepcopy(template)
        job["metadata"]["name"] = name
        batch.create_namespaced_job(NAMESPACE, job)

    with ThreadPoolExecutor(_THREADS) as pool:

        def go_on(done: str) -> None:
            name, stage = done.rsplit("-", 1)
            if stage == "prepare":
                for number, template in enumerate(measures):
                    pool.submit(create, template, f"{name}-{number}")

        with Arrivals(JOBS, lambda item: condition(item, "Complete"), go_on) as arrivals:
            began = time.monotonic()
            at_rate(lambda n=n: create(prepare, f"{n}-prepare") for n in names)  # type: ignore[misc]
            arrivals.wait(len(names) * len(templates), PATIENCE)
            return max(arrivals.times.values()) - began


def numbered(prefix: str, count: int) -> list[str]:
    """Return that many names."""
    return [f"{prefix}-{number:05}" for number in itertools.islice(itertools.count(), count)]
