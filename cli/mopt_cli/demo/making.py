"""Makes the example in an empty folder: python -m mopt_cli.demo.making FOLDER.

A process of its own, as the stages are: it logs as they do, and takes torch with it.
"""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from mopt_optimizer.digests import file_digest
from mopt_optimizer.progress import Log, Timings, json_log

from .photographs import LEARNED, UNSEEN, cut_tiles, opened

if TYPE_CHECKING:
    from .network import Enlarger

RESOURCE = "resource.yaml"
_MODEL = "model.pt2"


def make(folder: Path, log: Log) -> None:
    """Write model, data and, last, the resource into a folder that is there."""
    timings = Timings(log)
    with timings.step("train", "training a small network to double the size of photographs"):
        network = _trained(log)
    with timings.step("export", f"writing it as {_MODEL}"):
        from .network import export

        export(network, folder / _MODEL)
    with timings.step("data", "cutting tiles of photographs"):
        cut_tiles(LEARNED, folder / "calibration")
        cut_tiles(UNSEEN, folder / "evaluation")
    text = files(__package__).joinpath(RESOURCE).read_text(encoding="utf-8")
    digest = file_digest(folder / _MODEL).removeprefix("sha256:")
    (folder / RESOURCE).write_text(text.replace("SHA256", digest), encoding="utf-8")


def _trained(log: Log) -> Enlarger:
    # Within the step: it takes seconds, and somebody waits.
    import numpy as np
    import torch

    from .network import trained

    photographs = [
        torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255
        for _, picture in opened(LEARNED)
    ]
    return trained(photographs, log)


if __name__ == "__main__":
    make(Path(sys.argv[1]), json_log())
