"""A network's variants recomputed from their artifacts by plain runtimes, beside PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from architectures import ARCHITECTURES

from mopt_api.enums import Precision

from .bars import alike, cosine, near
from .prepared import FILES, Feeds, Model, Prepared, Values, prepare
from .steps import rejection

FP32_ERROR = 1e-3
HALF_ERROR = 2e-2
"""Of the largest value of the network's output: what FP32 and FP16 files may differ by."""
LEAST_COSINE = 0.99
ELSEWHERE = 0.95
"""Cosine of an INT8 file that mopt's gates let pass: on evaluation data, and at other sizes, which
neither calibration nor a gate has seen."""


@dataclass(frozen=True)
class Recomputed:
    """One variant.

    Attributes:
        rejected: Why mopt's gates reject it on the evaluation data; empty where they let it pass.
        evaluation, elsewhere: Smallest cosine of all outputs and samples, on evaluation data and
            at three other sizes of the declared ranges.
        wrong: What is outside the bars though it passes; empty where nothing is.
    """

    network: str
    variant: str
    rejected: str
    evaluation: float
    elsewhere: float
    wrong: str

    def record(self) -> dict[str, Any]:
        """Return it for a line of JSON."""
        return asdict(self)


def recompute(name: str, folder: Path, forms: Sequence[str]) -> list[Recomputed]:
    """Prepare a network of ARCHITECTURES and recompute each variant whose file was made."""
    prepared = prepare(ARCHITECTURES[name], folder, forms)
    elsewhere = prepared.at_other_sizes()
    expected = _run(prepared.network, prepared.evaluation), _run(prepared.network, elsewhere)
    return [
        _recomputed(name, variant, prepared, elsewhere, expected)
        for variant, (file, _, _) in FILES.items()
        if file in prepared.files
    ]


def _run(model: Model, samples: Sequence[Feeds]) -> list[Values]:
    return [model(sample) for sample in samples]


def _recomputed(
    name: str,
    variant: str,
    prepared: Prepared,
    elsewhere: Sequence[Feeds],
    expected: tuple[list[Values], list[Values]],
) -> Recomputed:
    file, precision, opened = FILES[variant]
    model = opened(prepared.files[file])
    found = _run(model, prepared.evaluation), _run(model, elsewhere)
    gates = prepared.spec.quality
    rejected = rejection(_named(expected[0]), _named(found[0]), gates, precision) or ""
    wrong = "" if rejected else _wrong(precision, found, expected)
    return Recomputed(
        network=name,
        variant=variant,
        rejected=rejected,
        evaluation=_least(found[0], expected[0]),
        elsewhere=_least(found[1], expected[1]),
        wrong=wrong,
    )


def _named(samples: Sequence[Values]) -> list[dict[str, Any]]:
    return [{f"output_{number}": v for number, v in enumerate(values)} for values in samples]


def _wrong(
    precision: Precision,
    found: tuple[list[Values], list[Values]],
    expected: tuple[list[Values], list[Values]],
) -> str:
    wheres = ("on evaluation data", "at another size")
    for where, cosines, ones, wanted in zip(
        wheres, (LEAST_COSINE, ELSEWHERE), found, expected, strict=True
    ):
        for one, reference in zip(ones, wanted, strict=True):
            if precision is Precision.INT8:
                said = alike(one, reference, cosines)
            else:
                bar = FP32_ERROR if precision is Precision.FP32 else HALF_ERROR
                said = near(one, reference, bar)
            if said:
                return f"{where}: {said}"
    return ""


def _least(found: Sequence[Values], expected: Sequence[Values]) -> float:
    """Return the smallest cosine; 0 where shapes differ."""
    values = [
        _value(one, wanted)
        for ones, outputs in zip(found, expected, strict=True)
        for one, wanted in zip(ones, outputs, strict=True)
    ]
    return round(min(values), 5)


def _value(one: Any, wanted: Any) -> float:
    if one.shape != wanted.shape:
        return 0.0
    finite = np.isfinite(wanted) & np.isfinite(one)
    return cosine(one[finite].astype(np.float64), wanted[finite].astype(np.float64))
