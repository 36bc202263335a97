"""A MinIO for a session of tests."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from free_ports import free_port
from minio_process import MinioProcess

from mopt_api.jobs.plan import Credentials

if TYPE_CHECKING:
    from minio import Minio


@dataclass
class MinioServer:
    """A running MinIO; `environ` and `bucket` are all that most tests need."""

    endpoint: str
    access_key: str
    secret_key: str
    _numbers: Iterator[int] = field(default_factory=count)

    def keys(self) -> dict[str, str]:
        """Return the environment that gives access to it, as users set it."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_ENDPOINT_URL": self.endpoint,
        }

    def environ(self, *roles: Credentials) -> dict[str, str]:
        """Return the environment that gives roles (all by default) access to it."""
        return {
            role.variable(key): value
            for role in roles or tuple(Credentials)
            for key, value in self.keys().items()
        }

    def bucket(self) -> str:
        """Make an empty bucket and return its name."""
        name = f"bucket-{os.getpid()}-{next(self._numbers)}"
        self._client().make_bucket(name)
        return name

    def publish(self, bucket: str) -> None:
        """Let everybody read and list a bucket."""
        policy = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"AWS": ["*"]},
                    "Action": ["s3:GetObject", "s3:ListBucket"],
                    "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
                }
            ],
        }
        self._client().set_bucket_policy(bucket, json.dumps(policy))

    def _client(self) -> Minio:
        from minio import Minio

        host = self.endpoint.removeprefix("http://")
        return Minio(host, self.access_key, self.secret_key, secure=False, region="us-east-1")


@contextmanager
def minio_running(folder: Path, **settings: str) -> Iterator[MinioServer]:
    """Let a MinIO run on a folder, with settings of its environment."""
    server = MinioServer(f"http://127.0.0.1:{free_port()}", "test-access", "test-secret-key")
    address = server.endpoint.removeprefix("http://")
    keys = {"access_key": server.access_key, "secret_key": server.secret_key}
    process = MinioProcess(folder, address, **keys, settings=settings)
    process.start()
    yield server
    process.stop()
