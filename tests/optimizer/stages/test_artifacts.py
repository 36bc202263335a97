"""Which of a child's files are stored."""

from __future__ import annotations

from pathlib import Path

import pytest

from mopt_optimizer.errors import ModelError
from mopt_optimizer.sandbox import made_file


def test_a_file_in_the_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "form").mkdir()
    (tmp_path / "form" / "model.onnx").write_bytes(b"x")
    assert made_file(tmp_path, "form/model.onnx") == tmp_path / "form" / "model.onnx"


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../secret", "form/../../secret", "link", "linked/secret", "form", "no"]
)
def test_files_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "work"
    (folder / "form").mkdir(parents=True)
    (tmp_path / "secret").write_text("keys")
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "linked").symlink_to(tmp_path)
    with pytest.raises(ModelError, match="made no file"):
        made_file(folder, name)
