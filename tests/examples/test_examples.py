"""The examples' models do what they are for, and each is taken through `mopt run`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_process import run_mopt
from example_folders import EXAMPLES, NAMES, Example, build_example
from numpy.typing import NDArray

from mopt_api.jobs.gates import gate_failure
from mopt_api.jobs.measure_result import BASELINE, MeasureResult
from mopt_optimizer.onnx_files.verify import OnnxSession

pytestmark = pytest.mark.optimizer

Array = NDArray[Any]
Built = Callable[[str], Example]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Return an example, built once."""
    known: dict[str, Example] = {}

    def build(name: str) -> Example:
        if name not in known:
            known[name] = build_example(name, tmp_path_factory.mktemp(name))
        return known[name]

    return build


def samples(folder: Path) -> list[dict[str, Array]]:
    return [dict(np.load(path)) for path in sorted(folder.glob("*.npz"))]


def test_every_folder_with_a_resource_is_tested() -> None:
    folders = {path.parent.name for path in EXAMPLES.glob("*/resource.yaml")}
    assert folders - {"super_resolution"} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_build_makes_what_the_resource_names(name: str, built: Built) -> None:
    example = built(name)
    spec = example.spec
    assert example.digest == spec.model.sha256
    assert spec.data is not None
    for part in (spec.data.calibration, spec.data.evaluation):
        assert part is not None
        found = samples(example.files / Path(part.uri.rstrip("/")).name)
        assert len(found) == part.samples
        for sample in found:
            shapes = {i.name: (i.dtype.value, len(i.shape)) for i in spec.inputs}
            assert {k: (str(v.dtype), v.ndim) for k, v in sample.items()} == shapes
    readme = (EXAMPLES / name / "README.md").read_text()
    assert f"examples/{name}/build.py" in readme
    assert f"examples/{name}/resource.yaml" in readme


def decibels(one: Array, other: Array) -> float:
    return float(-10 * np.log10(np.mean(np.square(one - other))))


def test_interpolated_frame_is_nearer_to_the_one_between_than_their_mean() -> None:
    import torch
    from examples.frame_interpolation import build, rife

    pixels = build.photograph("coffee.png")
    left, middle, right = (build.square(pixels, 40 + shift, 4) for shift in (0, 5, 10))
    with torch.no_grad():
        network = rife.load()
        found = network(torch.from_numpy(left.copy()), torch.from_numpy(right.copy())).numpy()
    assert decibels(found, middle) > decibels((left + right) / 2, middle) + 3


def test_style_is_that_of_its_weights(built: Built) -> None:
    example = built("style_transfer")
    session = OnnxSession(example.model)
    first, second = samples(example.files / "evaluation")[:2]
    (one,), (again,) = session.run(first), session.run(first)
    (other,) = session.run(first | {"style_weights": second["style_weights"]})
    assert np.array_equal(one, again)
    assert decibels(one, other) < 25


def test_sentences_of_one_meaning_are_near() -> None:
    import torch
    from examples.text_embedding import build, minilm
    from tokenizers import Tokenizer

    folder = build.model_directory()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding(length=build.TOKENS)
    network = minilm.load(folder / "model.safetensors")
    texts = ("A man is eating food.", "Someone has a meal.", "The rocket left its launch pad.")
    encoded = tokenizer.encode_batch(list(texts))
    with torch.no_grad():
        found = network(
            torch.tensor([e.ids for e in encoded]),
            torch.tensor([e.attention_mask for e in encoded]),
        )
    assert torch.allclose(found.norm(dim=1), torch.ones(3), atol=1e-5)
    alike, unlike = float(found[0] @ found[1]), float(found[0] @ found[2])
    assert alike > 0.5 > unlike + 0.3


@pytest.mark.examples
@pytest.mark.parametrize("name", NAMES)
def test_it_runs_without_an_edit(name: str, built: Built, tmp_path: Path) -> None:
    example = built(name)
    files = ("--model", example.model)
    data = [(f"--{part}", example.files / part) for part in ("calibration", "evaluation")]
    done = run_mopt(
        tmp_path,
        *("run", example.resource, *files, *data[0], *data[1]),
        *("--output", tmp_path / "out", "-o", "json"),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result = MeasureResult.model_validate(json.loads(done.stdout)["result"])
    chosen = next(v for v in result.everyone if v.name == result.selected)
    if chosen.name != BASELINE:
        assert [gate_failure(gate, chosen.quality) for gate in example.spec.quality] == [
            None for _ in example.spec.quality
        ]
    assert {v.name for v in result.variants if v.state == "Failed"} == set()
