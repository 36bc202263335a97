"""The benchmark's own networks: they learn, and what is exported is what was trained."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from training import FACTS, TASKS, built, network_in
from training.building import CALIBRATION_SAMPLES, EVALUATION_SAMPLES, exported, recipe_digest
from training.digits import (
    COLUMNS,
    MOST_DIGITS,
    SCENE_SIDE,
    Part,
    digits_of,
    pictures,
    scenes,
    sums,
)
from training.fitting import accuracy, samples_of, share, train

from mopt_optimizer.opening.loading import load_exported_program

pytestmark = pytest.mark.optimizer

STEPS = 20


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_no_digit_has_two_parts() -> None:
    numbers = [digits_of(part).numbers.tolist() for part in Part]
    assert sorted(n for some in numbers for n in some) == list(range(1797))


@pytest.mark.parametrize("part", Part)
def test_each_part_has_every_digit_and_is_always_the_same(part: Part) -> None:
    digits = digits_of(part)
    assert set(digits.labels.tolist()) == set(range(10))
    assert torch.equal(digits.images, digits_of(part).images)
    assert (digits.images.min().item(), digits.images.max().item()) == (0, 1)


def test_pictures_are_in_range_and_drawn_by_the_generator_alone() -> None:
    digits = digits_of(Part.TRAINING)
    one, again, other = (pictures(digits, 4, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(one.images, again.images)
    assert not torch.equal(one.images, other.images)
    assert one.images.min() >= 0
    assert one.images.max() <= 1


def test_boxes_lie_around_the_ink_and_scenes_hold_none_to_most() -> None:
    found = scenes(digits_of(Part.TRAINING), 64, generator())
    assert set(found.present.sum(1).tolist()) == set(range(MOST_DIGITS + 1))
    low, high = found.boxes[..., :2], found.boxes[..., 2:]
    assert (low >= 0).all()
    assert (high <= SCENE_SIDE).all()
    sizes = high - low
    assert sizes.min() >= 4
    assert sizes.max() <= 40
    alone = found.present.sum(1) == 1
    assert alone.any()
    for image, box in zip(found.images[alone], found.boxes[alone, 0].int().tolist(), strict=True):
        inside = torch.zeros(SCENE_SIDE, SCENE_SIDE, dtype=torch.bool)
        inside[box[1] : box[3], box[0] : box[2]] = True
        grey = image.mean(0)
        # Ink is unlike its ground: the picture varies more there than everywhere else.
        assert grey[inside].std() > 1.5 * grey[~inside].std()


def test_sums_are_what_the_digits_add_up_to() -> None:
    digits = digits_of(Part.EVALUATION)
    found = sums(digits, 8, generator(3))
    _, labels = digits.drawn(8 * COLUMNS * 2, generator(3))
    for numbers, answer in zip(labels.reshape(8, COLUMNS, 2), found.answers, strict=True):
        first, second = (
            int("".join(map(str, reversed(numbers[:, which].tolist())))) for which in (0, 1)
        )
        assert int("".join(map(str, reversed(answer.tolist())))) == first + second


@pytest.mark.parametrize("steps", [1, 2, 10, 600])
def test_the_learning_rate_rises_and_falls(steps: int) -> None:
    shares = [share(step, steps) for step in range(steps)]
    top = shares.index(1.0)
    assert all(0 < each <= 1 for each in shares)
    assert shares[: top + 1] == sorted(shares[: top + 1])
    assert shares[top:] == sorted(shares[top:], reverse=True)
    assert top < max(1, steps * 0.11)


@pytest.mark.parametrize("name", TASKS)
def test_its_loss_falls(name: str) -> None:
    losses = train(TASKS[name], STEPS).losses
    assert len(losses) == STEPS
    assert np.mean(losses[-3:]) < np.mean(losses[:3])


@pytest.mark.parametrize("name", TASKS)
def test_what_is_exported_is_the_network_at_every_batch(name: str) -> None:
    task = TASKS[name]
    network = train(task, 1).network
    program = exported(task, network)
    for batch in (1, 3):
        inputs = samples_of(task, Part.CALIBRATION, batch).inputs
        assert inputs.shape[1:] == task.input[1]
        wanted, found = network(inputs), program.module()(inputs)
        pairs = (
            [(wanted, found)]
            if isinstance(wanted, torch.Tensor)
            else zip(wanted, found, strict=True)
        )
        for one, other in pairs:
            torch.testing.assert_close(other, one)


def test_training_is_the_same_from_run_to_run_and_leaves_torch_as_it_was() -> None:
    task = TASKS["adder"]
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    one, again = train(task, 3), train(task, 3)
    assert one.losses == again.losses
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_the_right_answers_are_perfect_and_wrong_ones_are_not() -> None:
    task = TASKS["detector"]
    drawn = samples_of(task, Part.EVALUATION, 8)

    class Answers(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return tuple(part[: len(image)] for part in drawn.truth)

    class Nothing(Answers):
        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
            boxes, scores, labels = super().forward(image)
            return boxes, scores * 0, labels

    assert accuracy(task, Answers(), drawn) == 1
    assert accuracy(task, Nothing(), drawn) < 0.5


def test_a_recipe_is_built_once_and_says_what_it_reached(tmp_path: Path) -> None:
    folder = built("adder", tmp_path, 2)
    written = (folder / "model.pt2").stat().st_mtime_ns
    assert built("adder", tmp_path, 2) == folder
    assert (folder / "model.pt2").stat().st_mtime_ns == written
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    assert recipe_digest("adder", 2) != recipe_digest("adder", 3) != recipe_digest("adder")

    facts = json.loads((folder / FACTS).read_text())
    task, network = TASKS["adder"], network_in(folder)
    evaluation = samples_of(task, Part.EVALUATION, EVALUATION_SAMPLES)
    assert facts["reached"] == accuracy(task, network, evaluation)
    assert (facts["steps"], facts["metric"]) == (2, "SequenceAgreement")

    program = load_exported_program(folder / "model.pt2", tmp_path).module()
    names = [path.name for path in sorted((folder / "evaluation").iterdir())]
    assert len(names) == EVALUATION_SAMPLES
    assert names == [path.name for path in sorted((folder / "references").iterdir())]
    assert len(list((folder / "calibration").iterdir())) == CALIBRATION_SAMPLES
    columns = torch.from_numpy(np.load(folder / "evaluation" / names[7])["columns"])
    torch.testing.assert_close(program(columns), network(columns))
    answers = np.load(folder / "references" / names[7])["scores"]
    assert (answers == evaluation.truth[0][7:8].numpy()).all()
