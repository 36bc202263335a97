"""Trains a network by its recipe, and says how well it does what it learned."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from mopt_optimizer.quality import Comparison

from .digits import Digits, Part, digits_of
from .tasks import Drawn, Task

THREADS = 1
"""Of training: sums of floats depend on how many share them, and one is the same everywhere."""
_SEED = 20_261_130
_SEEDS = {Part.TRAINING: _SEED + 1, Part.CALIBRATION: _SEED + 2, Part.EVALUATION: _SEED + 3}
_LARGEST_GRADIENT = 1.0
_DECAY = 0.02
_WARM_UP = 0.1
_SCORED_AT_ONCE = 32


@dataclass(frozen=True)
class Trained:
    """What a recipe made.

    Attributes:
        network: In evaluation mode, its weights fixed.
        losses: Of each step.
    """

    network: nn.Module
    losses: tuple[float, ...]


@contextmanager
def _reproducible() -> Iterator[None]:
    """Compute as the recipe does, and leave torch's state as it was."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        torch.set_num_threads(THREADS)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def train(task: Task, steps: int | None = None) -> Trained:
    """Return the network, the same from run to run on the same machine and versions.

    Args:
        steps: At least one; None is the recipe's own.
    """
    budget, total = task.budget, steps or task.budget.steps
    digits, generator = digits_of(Part.TRAINING), generator_of(Part.TRAINING)
    with _reproducible():
        network = task.network().train()
        optimizer = torch.optim.AdamW(network.parameters(), budget.rate, weight_decay=_DECAY)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: share(step, total))
        losses = []
        for _ in range(total):
            loss = task.loss(network, task.draw(digits, budget.batch, generator))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), _LARGEST_GRADIENT)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
    return Trained(network.eval().requires_grad_(False), tuple(losses))


def share(step: int, steps: int) -> float:
    """Return a step's learning rate as a share of the highest; above 0, at most 1. Pure.

    It rises for a tenth of the steps, then falls as half a cosine does.
    """
    warm = max(1, round(steps * _WARM_UP))
    if step < warm:
        return (step + 1) / warm
    return (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))) / 2


def generator_of(part: Part) -> torch.Generator:
    """Return the random numbers that a part's batches are drawn with."""
    return torch.Generator().manual_seed(_SEEDS[part])


def samples_of(task: Task, part: Part, count: int) -> Drawn:
    """Return so many samples of a part: always the same ones."""
    digits: Digits = digits_of(part)
    return task.draw(digits, count, generator_of(part))


def accuracy(task: Task, network: nn.Module, drawn: Drawn) -> float:
    """Return the mean of the task's metric over the samples, from 0 to 1, against their truth."""
    comparison = Comparison({task.metric: None}, names=task.outputs)
    count = len(drawn.inputs)
    with torch.no_grad():
        for first in range(0, count, _SCORED_AT_ONCE):
            found = network(drawn.inputs[first : first + _SCORED_AT_ONCE])
            outputs = found if isinstance(found, tuple) else (found,)
            for index in range(len(outputs[0])):
                number = first + index
                comparison.add_truth(
                    [array[number : number + 1].numpy() for array in drawn.truth],
                    [output[index : index + 1].numpy() for output in outputs],
                )
    (result,) = comparison.results()
    return result.mean
