"""Many resources from apply to Ready, and the same Jobs started by a script: the floor."""

from __future__ import annotations

import copy
import itertools
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
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


def at_rate(calls: Iterable[Callable[[], object]], per_second: float = PER_SECOND) -> None:
    """Make calls at a rate, side by side."""
    began = time.monotonic()

    def one(item: tuple[int, Callable[[], object]]) -> None:
        number, call = item
        time.sleep(max(began + number / per_second - time.monotonic(), 0))
        call()

    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(one, enumerate(calls)))


def create_resource(manifest: Json) -> None:
    """Apply one ModelOptimization."""
    client.CustomObjectsApi().create_namespaced_custom_object(
        "mopt.dev", "v1alpha1", manifest["metadata"]["namespace"], "modeloptimizations", manifest
    )


def run_fleet(names: list[str], targets: list[str], per_second: float) -> float:
    """Apply resources; return the seconds from the first apply to the last Ready."""
    found = manifests(names, NAMESPACE, targets)
    with Arrivals(RESOURCES, lambda item: condition(item, "Ready")) as arrivals:
        began = time.monotonic()
        at_rate((lambda m=m: create_resource(m) for m in found), per_second)  # type: ignore[misc]
        arrivals.wait(len(names), PATIENCE)
        return max(arrivals.times.values()) - began


def job_templates(resource: str, ttl: int) -> list[Json]:
    """Return a resource's Jobs, without what belongs to it or to the server.

    Args:
        ttl: Seconds that they stay when they have finished.
    """
    api = client.ApiClient()
    selector = f"{LABEL_NAME}={resource}"
    jobs = client.BatchV1Api().list_namespaced_job(NAMESPACE, label_selector=selector).items
    found = []
    for job in sorted(jobs, key=lambda job: job.metadata.creation_timestamp):
        raw = api.sanitize_for_serialization(job)
        raw["metadata"] = {"name": "", "labels": raw["metadata"]["labels"]}
        raw["spec"].pop("selector")
        raw["spec"]["ttlSecondsAfterFinished"] = ttl
        labels = raw["spec"]["template"]["metadata"]["labels"]
        for label in [key for key in labels if "controller-uid" in key or "job-name" in key]:
            del labels[label]
        del raw["status"]
        found.append(raw)
    return found


class _Script:
    """Starts Jobs in the order of a resource's stages, at most so many at once."""

    def __init__(self, pool: ThreadPoolExecutor, templates: list[Json], at_once: float) -> None:
        self._pool = pool
        self._prepare, *self._measures = templates
        self._free = at_once
        self._waiting: deque[tuple[Json, str]] = deque()
        self._lock = threading.Lock()
        self._batch = client.BatchV1Api()

    def begin(self, name: str) -> None:
        """Start a resource's first Job, when its turn comes."""
        with self._lock:
            self._waiting.append((self._prepare, f"{name}-prepare"))
            self._start()

    def go_on(self, done: str) -> None:
        """Start what follows a Job that is complete, and what waits for its place."""
        name, stage = done.rsplit("-", 1)
        with self._lock:
            self._free += 1
            if stage == "prepare":
                following = [(one, f"{name}-{n}") for n, one in enumerate(self._measures)]
                self._waiting.extendleft(following)
            self._start()

    def _start(self) -> None:
        while self._waiting and self._free > 0:
            self._free -= 1
            self._pool.submit(self._create, *self._waiting.popleft())

    def _create(self, template: Json, name: str) -> None:
        job = copy.deepcopy(template)
        job["metadata"]["name"] = name
        self._batch.create_namespaced_job(NAMESPACE, job)


def run_floor(
    names: list[str], templates: list[Json], per_second: float, at_once: int | None
) -> float:
    """Start the same Jobs, one stage after the other, without an operator; return the seconds."""
    with ThreadPoolExecutor(_THREADS) as pool:
        script = _Script(pool, templates, math.inf if at_once is None else at_once)
        with Arrivals(JOBS, lambda item: condition(item, "Complete"), script.go_on) as arrivals:
            began = time.monotonic()
            at_rate((partial(script.begin, name) for name in names), per_second)
            arrivals.wait(len(names) * len(templates), PATIENCE)
            return max(arrivals.times.values()) - began


def numbered(prefix: str, count: int) -> list[str]:
    """Return that many names."""
    return [f"{prefix}-{number:05}" for number in itertools.islice(itertools.count(), count)]
