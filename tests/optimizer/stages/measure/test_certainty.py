"""Real forms in processes: one of them twice is no winner, one with a quarter of the work is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from synthetic_rounds import BASELINE, Outcome

from mopt_api.enums import ObjectiveMetric, Precision, Runtime
from mopt_optimizer.data.npy import save_array
from mopt_optimizer.errors import VariantFailure
from mopt_optimizer.runtimes.base import Opening
from mopt_optimizer.stages.measure.process import VariantProcess
from mopt_optimizer.timing.deciding import Budget, Contest
from mopt_optimizer.timing.interleave import take_rounds

SHAPE = [1, 16, 48, 48]


def chain(path: Path, layers: int) -> None:
    """Write so many convolutions after each other."""
    weights = np.random.default_rng(0).standard_normal((layers, 16, 16, 3, 3)).astype(np.float32)
    names = ["image", *(f"v{i}" for i in range(layers))]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", [names[i], f"w{i}"], [names[i + 1]], pads=[1, 1, 1, 1])
            for i in range(layers)
        ],
        "chain",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info(names[-1], TensorProto.FLOAT, SHAPE)],
        [numpy_helper.from_array(weight / 16, f"w{i}") for i, weight in enumerate(weights)],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)


def race(folder: Path, layers: Mapping[str, int]) -> Outcome:
    """Return the outcome of forms with so many layers each, of which one is the baseline."""
    image = folder / "image.npy"
    save_array(image, np.random.default_rng(1).random(SHAPE, np.float32))

    def fail(_form: VariantProcess, failure: VariantFailure) -> None:
        raise failure

    with ExitStack() as stack:
        forms = []
        for name, count in layers.items():
            chain(folder / f"{count}.onnx", count)
            opening = Opening(
                runtime=Runtime.ONNX_RUNTIME,
                precision=Precision.FP32,
                path=folder / f"{count}.onnx",
                threads=1,
            )
            form = VariantProcess(name, opening, workdir=folder, environ=os.environ, read=[folder])
            stack.callback(form.close)
            form.bind("p", {"image": image})
            forms.append(form)
        budget = Budget.of(0.24, 0.48)
        # It may take as long as the machine needs: rounds are what is bounded.
        contest = Contest(
            list(layers),
            BASELINE,
            list(layers),
            ObjectiveMetric.LATENCY_P50,
            budget,
            clock=lambda: 0.0,
        )
        rounds = take_rounds(
            forms,
            "p",
            contest.schedule,
            warmup_seconds=0.05,
            drop=fail,
            failures=VariantFailure,
            after=contest.after,
        )
    return Outcome(contest, rounds, contest.standing(rounds))


def test_the_same_file_twice_has_no_winner_by_more_than_a_tie(tmp_path: Path) -> None:
    outcome = race(tmp_path, {BASELINE: 8, "one": 2, "again": 2})
    found = outcome.contest.compared(outcome.rounds)["one"]
    between = next(
        c.ratio for c in found if (c.than, c.metric) == ("again", ObjectiveMetric.LATENCY_P50)
    )
    assert outcome.winner is None or 1 / 1.02 <= between <= 1.02
    assert outcome.winner != BASELINE


def test_a_quarter_of_the_work_is_certain_to_be_better(tmp_path: Path) -> None:
    outcome = race(tmp_path, {BASELINE: 8, "quarter": 2})
    assert outcome.winner == "quarter"
    ratio, low, high = outcome.ratio("quarter")
    assert 1 < low <= ratio <= high
