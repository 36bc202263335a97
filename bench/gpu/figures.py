"""The figures of one model's forms: speed, quality, memory and energy, each a row as it comes."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mopt_api.enums import QualityMetric
from mopt_api.spec import QualityGate
from mopt_optimizer import OptimizerError
from mopt_optimizer.errors import first_line
from mopt_optimizer.quality import Comparison, ComparisonError, data_ranges

from .building import Call, Workshop
from .device import clocks, energy_meter, joules_per_1000
from .forms import BASELINE, BASELINES, Facts, Form, Type, forms_of
from .models import Bundle, batch_of
from .rows import Row, Writer, latency, rounded
from .schedule import Work
from .timing import Device, Timed, side_by_side

# What torch and Inductor raise for a form that does not work.
_FAILURES = (
    OptimizerError,
    torch._dynamo.exc.TorchDynamoException,
    RuntimeError,
    ValueError,
    TypeError,
    AssertionError,
    OSError,
)
# Input sets that the calls go through in turn: one alone may stay in the cache.
_INPUT_SETS = 4
# The first compiles, the second may record a graph, which the third replays.
_FIRST_CALLS = 3
_ENERGY_SECONDS = 1.0
_SHOWN_SAMPLES = 1000


@dataclass
class Subject:
    """A model with its inputs, on a device.

    Attributes:
        samples: On the host, each with a batch of one.
        calls: Of the baselines, which stay there.
        held: Bytes that each of these keeps on the device.
        expected: The baseline's outputs on the samples.
    """

    name: str
    bundle: Bundle
    workshop: Workshop
    device: Device
    samples: list[torch.Tensor]
    inputs: dict[int, list[torch.Tensor]] = field(default_factory=dict)
    calls: dict[Form, Call] = field(default_factory=dict)
    held: dict[Form, int] = field(default_factory=dict)
    expected: list[list[Any]] = field(default_factory=list)

    @property
    def gate(self) -> QualityGate:
        """What outputs are judged by."""
        metric, minimum, span = self.bundle.model(self.name).gate
        return QualityGate(metric=QualityMetric(metric), minimum=minimum, data_range=span)


def open_subject(name: str, bundle: Bundle, workdir: Path, device: Device) -> Subject:
    """Open a model and its samples."""
    model = bundle.model(name)
    path = bundle.program_file(name, workdir)
    found = bundle.samples(name, workdir)
    subject = Subject(
        name,
        bundle,
        Workshop(path, workdir, device.torch),
        device,
        [torch.from_numpy(sample[model.input[0]]) for sample in found],
    )
    for batch in model.batches:
        subject.inputs[batch] = [
            torch.from_numpy(batch_of(found, model.input[0], batch, first)).to(device.torch)
            for first in range(_INPUT_SETS)
        ]
    return subject


def measure_figures(
    work: Work,
    subject: Subject,
    capability: str,
    write: Writer,
    *,
    only: Callable[[Form], bool] = lambda _form: True,
) -> None:
    """Write a row for each form and batch size; one that fails has its reason.

    Args:
        work: FIGURES or TUNED.
        capability: Compute capability of the GPU.
        only: Which forms; all but in tests.
    """
    layers = subject.workshop.layers
    forms, without = forms_of(work, Facts(capability, layers.linear, layers.convolutions))
    if subject.workshop.note:
        write("note", model=subject.name, text=subject.workshop.note)
    for form in BASELINES:
        before = subject.device.allocated()
        subject.calls[form] = subject.workshop.form(form, subject.samples[0])
        subject.held[form] = subject.device.allocated() - before
    subject.device.use_tf32(False)
    subject.expected = list(_outputs(subject, subject.calls[BASELINE]))
    for form in filter(only, forms):
        for row in _rows(subject, form):
            write("figure", model=subject.name, **row)
    for form, why in without:
        write("figure", model=subject.name, **_identity(form), state="skipped", reason=why)


def _identity(form: Form) -> Row:
    return {
        "form": form.name,
        "type": str(form.type),
        "mode": str(form.mode),
        "channelsLast": form.channels_last,
    }


def _rows(subject: Subject, form: Form) -> Iterator[Row]:
    allocated = subject.device.allocated()
    started = time.monotonic()
    row = _identity(form)
    try:
        call = subject.calls.get(form) or subject.workshop.form(form, subject.samples[0])
        subject.device.use_tf32(form.type is Type.TF32)
        row |= {"quality": _quality(subject, call)}
    except (*_FAILURES, ComparisonError) as error:
        yield row | {"state": "failed", "reason": _words(error)}
        return
    # Weights, and of CUDA graphs the memory that their calls compute in.
    held = subject.held.get(form, subject.device.allocated() - allocated)
    row["firstCallsSeconds"] = round(time.monotonic() - started, 3)
    for batch in subject.inputs:
        try:
            yield row | _measured(subject, form, call, batch, held) | {"state": "measured"}
        except _FAILURES as error:
            yield row | {"batch": batch, "state": "failed", "reason": _words(error)}


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {first_line(error)}"[:500]


def _outputs(subject: Subject, call: Call) -> Iterator[list[Any]]:
    for sample in subject.samples:
        found = call(sample.to(subject.device.torch))
        # To the host: a CUDA graph writes the next outputs where these are.
        yield [tensor.float().cpu().numpy().copy() for tensor in found]


def _quality(subject: Subject, call: Call) -> list[Row]:
    """Return the agreement with FP32 on the samples, judged as a gate of the API is.

    Raises:
        ComparisonError: Outputs of another shape, or not finite.
    """
    gate = subject.gate
    comparison = Comparison(data_ranges([gate]))
    for expected, found in zip(subject.expected, _outputs(subject, call), strict=True):
        comparison.add(expected, found)
    bound = gate.minimum or 0.0
    return [
        {
            "metric": str(result.metric),
            "worst": result.worst,
            "mean": result.mean,
            "exact": result.exact,
            "gate": bound,
            "passed": result.worst >= bound,
        }
        for result in comparison.results()
    ]


def _timed(subject: Subject, form: Form, call: Call, batch: int) -> Timed:
    sets = itertools.cycle(subject.inputs[batch])
    return Timed(
        form.name,
        lambda: call(next(sets)),
        subject.device,
        tf32=form.type is Type.TF32,
    )


def _measured(subject: Subject, form: Form, call: Call, batch: int, held: int) -> Row:
    calls = {one: subject.calls[one] for one in BASELINES} | {form: call}
    timed = {one: _timed(subject, one, each, batch) for one, each in calls.items()}
    before = clocks()
    for _ in range(_FIRST_CALLS):
        timed[form].once()
    allocated = subject.device.allocated()
    peak = subject.device.peak_of(timed[form].once)
    subject.device.taken_ms()
    times = side_by_side(list(timed.values()))
    medians = {one: latency(times[one.name])["p50"] for one in calls}
    own, device_ms = times[form.name], timed[form].device_ms
    energy, energy_calls = _energy(timed[form], batch)
    return {
        "batch": batch,
        "latencyMs": latency(own),
        "deviceMs": latency(device_ms) if device_ms else None,
        "samplesPerSecond": batch * 1e3 / medians[form],
        "speedup": {one.name: medians[one] / medians[form] for one in BASELINES},
        "peakBytes": None if peak is None else peak - allocated + held,
        "joulesPer1000": energy,
        "energyCalls": energy_calls,
        "clocksBefore": before,
        "clocksAfter": clocks(),
        "samplesMs": rounded(_spread(own)),
        "deviceSamplesMs": rounded(_spread(device_ms)),
        "baselineSamplesMs": {one.name: rounded(_spread(times[one.name])) for one in BASELINES},
    }


def _spread(values: list[float]) -> list[float]:
    """Return values, of very many every n-th, so that the record stays small."""
    return values[:: max(1, -(-len(values) // _SHOWN_SAMPLES))]


def _energy(timed: Timed, batch: int) -> tuple[float | None, int]:
    with energy_meter() as read:
        before = read()
        if before is None:
            return None, 0
        calls, _ = timed.run_for(_ENERGY_SECONDS)
        return joules_per_1000(before, read(), calls * batch), calls
