"""A bucket with a model and photographs, on which the prepare stage is run."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from minio_server import MinioServer

from mopt_api.jobs.plan import Credentials, PreparePlan
from mopt_api.jobs.prepare_result import PrepareResult
from mopt_optimizer.stages.prepare.stage import prepare
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.registry import open_store


class Bench:
    """A bucket with the model and the photographs, and what runs plans against it."""

    def __init__(self, minio: MinioServer, model: Path, photographs: Path, workdir: Path) -> None:
        self.environ = minio.environ()
        self.bucket = minio.bucket()
        self.workdir = workdir
        self.photographs = photographs
        self.steps: list[str] = []
        self.outcomes: dict[str, str] = {}
        self.store, _ = open_store(f"s3://{self.bucket}", Credentials.OUTPUT, self.environ)
        self.store.put_file("models/model.pt2", model)
        for path in photographs.iterdir():
            self.store.put_file(f"data/{path.name}", path)
        self.sha256 = hashlib.sha256(model.read_bytes()).hexdigest()
        self.blobs = Blobs(self.store, "out")

    def log(self, step: str, message: str, **fields: object) -> None:  # noqa: ARG002
        self.steps.append(step)
        if "outcome" in fields:
            self.outcomes[str(fields["name"])] = str(fields["outcome"])

    def run(self, plan: PreparePlan) -> tuple[PrepareResult, str]:
        self.steps.clear()
        self.outcomes.clear()
        return prepare(plan, self.environ, self.workdir, self.log)

    @property
    def served(self) -> bool:
        """Whether the last run made nothing."""
        return set(self.outcomes.values()) == {"Served"}


def psnr(found: np.ndarray, expected: np.ndarray) -> float:
    return float(10 * np.log10(1 / np.mean((found - expected) ** 2)))
