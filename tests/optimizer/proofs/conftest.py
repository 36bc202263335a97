"""Keys as an administrator makes them, and an image with its proof on the disk."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from proved_image import Folder, Keys, make_keys, publish


@dataclass(frozen=True)
class Proved:
    """An image with its proof in an OCI image layout."""

    folder: Folder
    digest: str
    keys: Keys


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="session")
def proved(tmp_path_factory: pytest.TempPathFactory, keys: Keys) -> Proved:
    """An image that no test changes."""
    scratch = tmp_path_factory.mktemp("proved")
    folder = Folder(scratch / "layout")
    return Proved(folder, publish(folder, scratch / "files", keys.private), keys)
