"""Writes a trained network as a model to optimize, with its data: once for each recipe.

A folder in the cache holds `model.pt2`, `weights.pt` (its state), `calibration/*.npz`,
`evaluation/*.npz`, `references/*.npz` (the truth of each evaluation sample) and `training.json`:
what was trained, for how long, and the accuracy that it reached. Its name holds the digest of the
recipe: of this package's files, the steps, and the versions that train.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import time
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from .digits import Part
from .fitting import THREADS, Trained, accuracy, samples_of, train
from .tasks import TASKS, Drawn, Task

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
from examples import programs

CALIBRATION_SAMPLES = 64
EVALUATION_SAMPLES = 256
LARGEST_BATCH = 8
FACTS = "training.json"
_VERSIONS = ("torch", "scikit-learn", "numpy")
_SHOWN_LOSSES = 20


def recipe_digest(name: str, steps: int | None = None) -> str:
    """Return what tells a recipe from another, or from its own older version; 12 hex digits."""
    task = TASKS[name]
    text = hashlib.sha256(f"{name} {steps or task.budget.steps} {THREADS}".encode())
    for package in _VERSIONS:
        text.update(f"{package} {metadata.version(package)}\n".encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        text.update(path.read_bytes())
    return text.hexdigest()[:12]


def built(name: str, cache: Path, steps: int | None = None) -> Path:
    """Return the folder of a trained network, trained first where the cache does not have it.

    Args:
        name: Of TASKS.
        steps: Fewer than the recipe's, to try it; None is the recipe's.
    """
    folder = cache / f"{name}-{recipe_digest(name, steps)}"
    if (folder / FACTS).is_file():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    # Whole or not at all: a run that is ended leaves nothing that looks done.
    with tempfile.TemporaryDirectory(dir=cache, prefix=f"{name}-") as text:
        made = Path(text) / "made"
        made.mkdir()
        _write(name, made, steps)
        made.rename(folder)
    return folder


def exported(task: Task, network: nn.Module) -> ExportedProgram:
    """Return the network as a program with a dynamic batch."""
    name, shape = task.input
    batch = torch.export.Dim("batch", min=1, max=LARGEST_BATCH)
    example = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, of how its recurrent layers keep weights
        return torch.export.export(network, (example,), dynamic_shapes={name: {0: batch}})


def _write(name: str, folder: Path, steps: int | None) -> None:
    task = TASKS[name]
    began = time.monotonic()
    trained = train(task, steps)
    seconds = time.monotonic() - began
    programs.save(exported(task, trained.network), folder / "model.pt2")
    torch.save(trained.network.state_dict(), folder / "weights.pt")
    evaluation = samples_of(task, Part.EVALUATION, EVALUATION_SAMPLES)
    calibration = samples_of(task, Part.CALIBRATION, CALIBRATION_SAMPLES)
    for part, drawn in (("calibration", calibration), ("evaluation", evaluation)):
        _write_samples(folder / part, {task.input[0]: drawn.inputs})
    _write_samples(folder / "references", _truth(task, evaluation))
    facts = _facts(name, task, trained, evaluation) | {
        "seconds": round(seconds, 1),
        "sha256": hashlib.sha256((folder / "model.pt2").read_bytes()).hexdigest(),
    }
    (folder / FACTS).write_text(json.dumps(facts, indent=1) + "\n")


def _truth(task: Task, drawn: Drawn) -> dict[str, Tensor]:
    return dict(zip(task.outputs, drawn.truth, strict=True))


def _write_samples(folder: Path, arrays: dict[str, Tensor]) -> None:
    folder.mkdir()
    for number in range(len(next(iter(arrays.values())))):
        # Typed so that no key can be taken for an option of savez.
        sample: dict[str, Any] = {k: v[number : number + 1].numpy() for k, v in arrays.items()}
        np.savez(folder / f"{number:03}.npz", **sample)


def _facts(name: str, task: Task, trained: Trained, evaluation: Drawn) -> dict[str, Any]:
    losses = trained.losses
    shown = {step: losses[step] for step in range(0, len(losses), -(-len(losses) // _SHOWN_LOSSES))}
    return {
        "task": name,
        "title": task.title,
        "steps": len(losses),
        "losses": {str(step): round(loss, 4) for step, loss in shown.items()},
        "last_loss": round(losses[-1], 4),
        "metric": task.metric.value,
        "reached": accuracy(task, trained.network, evaluation),
        "evaluation_samples": EVALUATION_SAMPLES,
        "parameters": sum(p.numel() for p in trained.network.parameters()),
        "versions": {package: metadata.version(package) for package in _VERSIONS},
        "threads": THREADS,
    }


def network_in(folder: Path) -> nn.Module:
    """Return the network of a folder as its module, for tools that take no exported program."""
    name = json.loads((folder / FACTS).read_text())["task"]
    network = TASKS[name].network()
    network.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
    return network.eval().requires_grad_(False)
