"""An hour of users, controllers and accidents: what of the operator grows, and what is left.

    .venv/bin/python -m bench.operator.soak [--minutes 60] [--seed N] [--record FILE]

On the cluster of bench.operator: resources are created, edited, suspended, asked to run again and
deleted at random, five times a second; Jobs and Pods are deleted under them, and now and then the
operator is killed. Memory, tasks and descriptors are read each ten seconds; in the end all
resources are deleted, and the bench waits until nothing of them is left.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from kubernetes.client.exceptions import ApiException

from .cluster import NAMESPACE, client, cluster, operator
from .fleet import create_resource
from .messages import kwok_stages, manifests
from .process import Operator, end_in_order, until

Json = dict[str, Any]

PER_SECOND = 5.0
SAMPLE_SECONDS = 10.0
# Of the operator: it must not be what is measured.
KILL_SECONDS = 600.0
MOST_RESOURCES = 200
TARGETS = ["default", "second"]
_WHERE = ("mopt.dev", "v1alpha1", NAMESPACE, "modeloptimizations")


class Users:
    """Does something at random to a resource, a Job or a Pod."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)  # noqa: S311 - drawn again from its seed
        self._objects = client.CustomObjectsApi()
        self._names: list[str] = []
        self._made = 0
        self.done: dict[str, int] = {}

    def act(self) -> None:
        """Do one thing; that an object is gone or changed meanwhile is no fault."""
        deeds: list[Callable[[], object]] = [self.edit, self.ask, self.suspend, self.accident]
        full = len(self._names) >= MOST_RESOURCES
        weights = [2, 1, 1, 1]
        chosen = self._chance.choices(
            [self.create, self.delete, *deeds], [0 if full else 4, 8 if full else 3, *weights]
        )[0]
        if not self._names:
            chosen = self.create
        name = chosen.__name__
        self.done[name] = self.done.get(name, 0) + 1
        try:
            chosen()
        except ApiException as error:
            if error.status not in (404, 409):
                raise

    def create(self) -> None:
        self._made += 1
        name = f"soak-{self._made:06}"
        targets = self._chance.sample(TARGETS, self._chance.randint(1, len(TARGETS)))
        (manifest,) = manifests([name], NAMESPACE, targets)
        create_resource(manifest)
        self._names.append(name)

    def delete(self) -> None:
        name = self._names.pop(self._chance.randrange(len(self._names)))
        self._objects.delete_namespaced_custom_object(*_WHERE, name)

    def edit(self) -> None:
        seconds = self._chance.choice([0.5, 1.0, 2.0])
        self._patch({"spec": {"benchmark": {"minDurationSeconds": seconds}}})

    def ask(self) -> None:
        asked = {"mopt.dev/requestedAt": str(self._chance.random())}
        self._patch({"metadata": {"annotations": asked}})

    def suspend(self) -> None:
        self._patch({"spec": {"execution": {"suspend": self._chance.random() < 0.5}}})

    def accident(self) -> None:
        """Delete a Job or a Pod."""
        of_jobs = self._chance.random() < 0.5
        core, batch = client.CoreV1Api(), client.BatchV1Api()
        found = (
            batch.list_namespaced_job(NAMESPACE, limit=50)
            if of_jobs
            else core.list_namespaced_pod(NAMESPACE, limit=50)
        ).items
        if not found:
            return
        name = self._chance.choice(found).metadata.name
        if of_jobs:
            batch.delete_namespaced_job(name, NAMESPACE, propagation_policy="Background")
        else:
            core.delete_namespaced_pod(name, NAMESPACE)

    def delete_all(self) -> None:
        self._objects.delete_collection_namespaced_custom_object(*_WHERE)

    def _patch(self, body: Json) -> None:
        name = self._chance.choice(self._names)
        self._objects.patch_namespaced_custom_object(
            *_WHERE, name, body, _content_type="application/merge-patch+json"
        )


def sample(process: Operator, began: float) -> Json:
    """Return what the operator holds now."""
    return {
        "seconds": round(time.monotonic() - began, 1),
        "resident_mib": round(process.memory_mib("VmRSS"), 2),
        "descriptors": len(os.listdir(f"/proc/{process.process.pid}/fd")),
        "threads": len(os.listdir(f"/proc/{process.process.pid}/task")),
        "tasks": process.metric("mopt_event_loop_tasks"),
        "cpu_seconds": round(process.cpu_seconds(), 2),
    }


def slope_per_hour(samples: Sequence[Json], field: str) -> float:
    """Return how much a figure grows in an hour: least squares over the second half, when what is
    kept of finished work has reached its size."""
    rest = samples[len(samples) // 2 :]
    x, y = [s["seconds"] / 3600 for s in rest], [s[field] for s in rest]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    spread = sum((a - mean_x) ** 2 for a in x)
    return float(sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread)


def left() -> Json:
    """Count the objects of the namespace that resources had."""
    core, batch = client.CoreV1Api(), client.BatchV1Api()
    return {
        "modeloptimizations": len(
            client.CustomObjectsApi().list_namespaced_custom_object(*_WHERE)["items"]
        ),
        "jobs": len(batch.list_namespaced_job(NAMESPACE).items),
        "pods": len(core.list_namespaced_pod(NAMESPACE).items),
    }


def soak(kubeconfig: Path, folder: Path, minutes: float, seed: int) -> Json:
    """Let users act for so long; return the samples of the last operator, and what is left."""
    users, samples, kills = Users(seed), [], 0
    end = time.monotonic() + minutes * 60
    with ExitStack() as running:
        process = running.enter_context(operator(kubeconfig, folder, name="operator-0"))
        began = looked = killed = time.monotonic()
        while (now := time.monotonic()) < end:
            users.act()
            if now - looked >= SAMPLE_SECONDS:
                looked = now
                samples.append({"operator": kills, **sample(process, began)})
            # The last one lives for half of the time: its growth is what counts.
            if now - killed >= KILL_SECONDS and end - now > minutes * 30:
                killed, kills = now, kills + 1
                os.kill(process.process.pid, signal.SIGKILL)
                name = f"operator-{kills}"
                process = running.enter_context(operator(kubeconfig, folder, name=name))
            time.sleep(max(0.0, 1 / PER_SECOND - (time.monotonic() - now)))
        users.delete_all()
        until(lambda: not any(left().values()), 600)
        last = sample(process, began)
    own = [s for s in samples if s["operator"] == kills]
    fields = ("resident_mib", "tasks", "descriptors", "threads")
    return {
        "minutes": minutes,
        "seed": seed,
        "kills": kills,
        "done": users.done,
        "slopes_per_hour": {field: round(slope_per_hour(own, field), 3) for field in fields},
        "peak_mib": max(s["resident_mib"] for s in samples),
        "after": last,
        "logged": logged(folder),
        "samples": samples,
    }


def logged(folder: Path) -> dict[str, int]:
    """Return how many lines of each level above info the operators logged."""
    counted: dict[str, int] = {}
    for log in sorted(folder.glob("operator-*.log")):
        for line in log.read_text().splitlines():
            level = json.loads(line).get("level", "") if line.startswith("{") else "other"
            if level != "info":
                counted[level] = counted.get(level, 0) + 1
    return counted


def main() -> int:
    """Soak and print what grew."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=os.getpid())
    parser.add_argument("--record", type=Path)
    arguments = parser.parse_args()
    end_in_order()
    with tempfile.TemporaryDirectory(prefix="mopt-soak-") as text:
        folder = Path(text)
        with cluster(folder, kwok_stages(TARGETS, 8)) as kubeconfig:
            found = soak(kubeconfig, folder, arguments.minutes, arguments.seed)
    if arguments.record:
        arguments.record.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps({k: v for k, v in found.items() if k != "samples"}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
