"""Real networks go on being opened, as programs and as scripts, and compute the same."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch

from mopt_optimizer.opening.loading import load_exported_program, load_torchscript

from .networks import NETWORKS, SCRIPTS

pytestmark = pytest.mark.optimizer


def same(found: object, expected: object) -> None:
    torch.testing.assert_close(found, expected, equal_nan=True)


@pytest.mark.parametrize("decomposed", [False, True], ids=["exported", "decomposed"])
@pytest.mark.parametrize("name", NETWORKS)
def test_program_is_opened(tmp_path: Path, name: str, decomposed: bool) -> None:
    torch.manual_seed(0)
    network, inputs = NETWORKS[name]()
    network.eval()
    path = tmp_path / "model.pt2"
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch's own
        program = torch.export.export(network, inputs)
        if decomposed:
            program = program.run_decompositions()
        torch.export.save(program, path)
        same(load_exported_program(path, tmp_path).module()(*inputs), network(*inputs))


@pytest.mark.parametrize("way", ["traced", "scripted"])
@pytest.mark.parametrize("name", SCRIPTS)
def test_script_is_opened(tmp_path: Path, name: str, way: str) -> None:
    if way == "traced" and name not in NETWORKS:
        pytest.skip("its control flow depends on its inputs")
    torch.manual_seed(0)
    network, inputs = SCRIPTS[name]()
    network.eval()
    path = tmp_path / "model.ts"
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch.jit is deprecated, and says so
        traced = way == "traced"
        script = torch.jit.trace(network, inputs) if traced else torch.jit.script(network)  # type: ignore[no-untyped-call]
        torch.jit.save(script, path)
        same(tuple(load_torchscript(path, tmp_path)(*inputs)), tuple(network(*inputs)))
