"""A real registry, and a store with measured forms."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from published_forms import write_model
from registry import Registry, running_registry

from mopt_api.jobs.plan import Credentials
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.registry import open_store


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with running_registry(tmp_path / "registry") as running:
        yield running


@pytest.fixture
def output_uri(tmp_path: Path) -> str:
    (tmp_path / "output").mkdir()
    return f"file://{tmp_path / 'output'}"


@pytest.fixture
def blobs(output_uri: str) -> Blobs:
    return Blobs(*open_store(output_uri, Credentials.OUTPUT, {}))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model whose weights lie beside it."""
    return write_model(tmp_path / "model" / "model.onnx", beside=True)
