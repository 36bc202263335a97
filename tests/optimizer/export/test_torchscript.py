"""TorchScript files: opened after checks, or refused before torch sees them."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from mopt_optimizer.errors import ModelError, UnsafeModelError
from mopt_optimizer.export import ONNXExportConfig, ONNXExporter
from mopt_optimizer.opening.loading import load_torchscript

pytestmark = [
    pytest.mark.optimizer,
    # It says so each time it is used.
    pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning"),
]

Change = Callable[[str, bytes], bytes | None]
Tampered = Callable[[Change], Path]


@pytest.fixture
def saved(upscaler: nn.Module, tmp_path: Path) -> Path:
    path = tmp_path / "saved.ts"
    script = torch.jit.trace(  # type: ignore[no-untyped-call]
        upscaler, torch.rand(2, 3, 8, 8)
    )
    torch.jit.save(script, path)
    return path


@pytest.fixture
def tampered(saved: Path, tmp_path: Path) -> Tampered:
    """Return what rewrites the file's records; None drops one."""

    def tampered(change: Change) -> Path:
        path = tmp_path / "tampered.ts"
        with zipfile.ZipFile(saved) as archive, zipfile.ZipFile(path, "w") as copy:
            for name in archive.namelist():
                data = change(name, archive.read(name))
                if data is not None:
                    copy.writestr(name, data)
        return path

    return tampered


def _with_line(line: str) -> Change:
    """Return a change that puts a line into forward, before it returns."""

    def change(name: str, data: bytes) -> bytes:
        start = b"    body = self.body\n"
        return data.replace(start, f"    {line}\n".encode() + start)

    return change


def test_file_is_opened_and_exported(saved: Path, upscaler: nn.Module, tmp_path: Path) -> None:
    script = load_torchscript(saved, tmp_path)
    image = torch.rand(1, 3, 5, 6)
    with torch.no_grad():
        torch.testing.assert_close(script(image), upscaler(image))
    assert [p.name for p in tmp_path.iterdir()] == ["saved.ts"]
    config = ONNXExportConfig(optimize=False)
    metadata = ONNXExporter(config).export(
        script, image, tmp_path / "m.onnx", {"image": {0: "n", 2: "h", 3: "w"}}
    )
    assert metadata["verified"]


def test_scripted_control_flow_is_opened(tmp_path: Path) -> None:
    class Doubles(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for _ in range(2):
                if bool(x.sum() > 0):
                    x = x * 2
            return x

    path = tmp_path / "saved.ts"
    torch.jit.save(torch.jit.script(Doubles()), path)
    assert load_torchscript(path, tmp_path)(torch.ones(2)).tolist() == [4, 4]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('torch.save(image, "witness")', "uses 'save'"),
        ('image.save("witness")', "uses 'save'"),
        ('_ = torch.from_file("/etc/passwd", True, 10)', "uses 'from_file'"),
        ("_ = ops.evil.run(image)", "the extension 'evil'"),
        ('_ = getattr(image, "save")', "uses 'save'"),
        ("import os", "imports modules"),
    ],
)
def test_code_that_reaches_out_is_refused(
    tampered: Tampered, tmp_path: Path, line: str, message: str
) -> None:
    path = tampered(_with_line(line))
    with pytest.raises(UnsafeModelError, match=message):
        load_torchscript(path, tmp_path)
    assert not (tmp_path / "checked.ts").exists()


def test_pickle_that_names_python_is_refused(tampered: Tampered, tmp_path: Path) -> None:
    def change(name: str, data: bytes) -> bytes:
        return b"\x80\x02cos\nsystem\n." if name.endswith("/data.pkl") else data

    with pytest.raises(UnsafeModelError, match=r"pickle that would load 'os system'"):
        load_torchscript(tampered(change), tmp_path)


def test_missing_record_is_named(tampered: Tampered, tmp_path: Path) -> None:
    path = tampered(lambda name, data: None if name.endswith("/constants.pkl") else data)
    with pytest.raises(ModelError, match=r"it lacks constants\.pkl"):
        load_torchscript(path, tmp_path)


def test_code_that_does_not_compile_is_a_model_error(tampered: Tampered, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot load it"):
        load_torchscript(tampered(_with_line("_ = torch.no_such_operator(image)")), tmp_path)


def test_unknown_record_is_refused(saved: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(saved, "a") as archive:
        archive.writestr("saved/payload.so", b"")
    with pytest.raises(UnsafeModelError, match=r"'payload\.so'"):
        load_torchscript(saved, tmp_path)


@pytest.mark.parametrize("keep", [0, 10, -200])
def test_truncated_file_says_so(saved: Path, tmp_path: Path, keep: int) -> None:
    saved.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(ModelError, match="TorchScript"):
        load_torchscript(saved, tmp_path)
