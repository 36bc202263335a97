"""Whether what results depend on is another now: the condition Outdated. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from mopt_api.jobs.gates import gate_name
from mopt_api.reasons import AWAIT_RUN, MEASURE_AGAIN, OUTDATED_REASONS, Reason
from mopt_api.spec import ModelOptimizationSpec, QualityGate
from mopt_api.status import Condition, ConditionType, ModelOptimizationStatus, TargetStatus
from mopt_operator.told import DATA_PARTS, PRODUCT, Cpu, DataAt

from .asked import read_asked
from .basis import GATES, limit_changes, limits_of, parts_of
from .conditions import lasting
from .outdated import Optimizers
from .rejudge import measures_all
from .request import InvalidRequest

# Of a digest, for people: the algorithm and twelve digits.
_SHOWN = 19
_NOW_NONE = "nothing"


class Cause(NamedTuple):
    """Why results are outdated.

    Attributes:
        message: What was measured, and what is now.
        remedy: What to do.
    """

    reason: Reason
    message: str
    remedy: str


def with_outdated(
    conditions: Sequence[Condition],
    targets: Sequence[TargetStatus],
    optimizers: Optimizers,
    before: ModelOptimizationStatus,
    *,
    now: datetime,
) -> list[Condition]:
    """Return conditions with Outdated as it is now. Ready is not touched.

    Args:
        targets: Those that status is going to show.
        before: Status as it is: Outdated keeps its transition time while it holds.
    """
    others = [c for c in conditions if c.type != ConditionType.OUTDATED]
    found = sorted(causes(targets, optimizers, before), key=lambda cause: _ORDER[cause.reason])
    if not found:
        return others
    sentences = [*(cause.message for cause in found), *(cause.remedy for cause in found)]
    outdated = lasting(
        ConditionType.OUTDATED,
        found[0].reason,
        message=" ".join(dict.fromkeys(sentences)),
        previous=before.conditions,
        generation=optimizers.resource.generation,
        now=now,
    )
    return [*others, outdated]


_ORDER = {reason: place for place, reason in enumerate(OUTDATED_REASONS)}


def causes(
    targets: Sequence[TargetStatus], optimizers: Optimizers, status: ModelOptimizationStatus
) -> Iterator[Cause]:
    """Yield why what targets show is outdated.

    Args:
        status: As it is: what it says of the model.
    """
    present = [target for target in targets if not target.from_earlier_run]
    earlier = [target for target in targets if target.from_earlier_run]
    yield from _known_bad(targets, optimizers)
    yield from _other_optimizer(present, optimizers)
    yield from _other_data(present)
    yield from _data_elsewhere(present, optimizers)
    yield from _other_cpu(present, optimizers)
    yield from _other_limits(targets, optimizers, status)
    if earlier:
        yield from _other_wish(earlier, optimizers)


def _cause(reason: Reason, message: str) -> Cause:
    return Cause(reason, message, OUTDATED_REASONS[reason].remedy)


def _known_bad(targets: Sequence[TargetStatus], optimizers: Optimizers) -> Iterator[Cause]:
    for bad in optimizers.settings.known_bad:
        made = [
            f"{target.name} by {package} {version}"
            for target in targets
            for package, version in sorted(
                {*target.software.items(), *target.basis.software.items()}
            )
            if bad.matches(package, version)
        ]
        if made:
            text = f"{', '.join(made)}: {bad.package} {bad.versions} is known to be bad"
            yield _cause(Reason.KNOWN_BAD_VERSION, f"{text}: {bad.because.rstrip('.')}.")


def _other_optimizer(targets: Sequence[TargetStatus], optimizers: Optimizers) -> Iterator[Cause]:
    for reason, what in (
        (Reason.OLDER_OPTIMIZER, "another optimizer than the present"),
        (Reason.RUNTIME_CHANGED, "other tools than the same mopt has in the present"),
    ):
        older = [target for target in targets if optimizers.change_of(target) is reason]
        if older:
            made = "; ".join(map(optimizers.maker_of, older))
            present = ", ".join(dict.fromkeys(optimizers.image_of(t.name) for t in older))
            yield _cause(reason, f"Measured by {what} {present}: {made}.")


def _other_data(targets: Sequence[TargetStatus]) -> Iterator[Cause]:
    """Yield why targets are not comparable, if the data changed from one to the next.

    Nobody but a Job looks at the data: its digests are in the result of each.
    """
    for part in DATA_PARTS:
        digests = {target.name: _digest(target, part) for target in targets}
        known = {target: digest for target, digest in digests.items() if digest}
        if len({*known.values()}) > 1:
            seen = ", ".join(f"{target} {digest[:_SHOWN]}" for target, digest in known.items())
            text = f"{_field(part)} changed between measurements: {seen}."
            yield _cause(Reason.DATA_CHANGED, text)
            return


def _data_elsewhere(targets: Sequence[TargetStatus], optimizers: Optimizers) -> Iterator[Cause]:
    """Yield which data a later result, also another resource's, saw otherwise at its place."""
    for target in targets:
        for part, source in _parts(target).items():
            read_by = target.software.get(PRODUCT, "")
            place = DataAt(optimizers.resource.namespace, source, read_by)
            seen = optimizers.told.data.get(place)
            digest = _digest(target, part)
            if digest and seen and _is_later(seen.time, target) and seen.value != digest:
                yield _cause(
                    Reason.DATA_CHANGED,
                    f"{_field(part)} of {target.name} changed: measured with {digest[:_SHOWN]}; a "
                    f"result of {seen.time} saw {seen.value[:_SHOWN]} at the same place.",
                )


def _digest(target: TargetStatus, part: str) -> str | None:
    digest: str | None = getattr(target.data, part, None)
    return digest


def _parts(target: TargetStatus) -> dict[str, str]:
    return (target.measurement and target.measurement.parts) or {}


def _field(part: str) -> str:
    return "data.evaluation.references" if part == "references" else f"data.{part}"


def _is_later(time: str, target: TargetStatus) -> bool:
    measured_at = target.basis.measured_at
    return measured_at is not None and time > measured_at


def _other_cpu(targets: Sequence[TargetStatus], optimizers: Optimizers) -> Iterator[Cause]:
    for target in targets:
        measured, node = target.basis.hardware, target.basis.hardware.node
        seen = optimizers.told.cpus.get(node) if node else None
        if seen is None or measured.cpu is None or not _is_later(seen.time, target):
            continue
        named_by = target.basis.software.get(PRODUCT, "")
        cpu = Cpu(measured.cpu, frozenset(measured.cpu_features), named_by)
        if changes := _cpu_changes(cpu, seen.value):
            text = f"Node {node}, on which {target.name} was measured, is another since {seen.time}"
            yield _cause(Reason.HARDWARE_CHANGED, f"{text}: {', '.join(changes)}.")


def _cpu_changes(measured: Cpu, present: Cpu) -> list[str]:
    """Return how a CPU differs, for people. Long models are cut where there is no room."""
    one, other = measured.model, present.model
    found = [] if one.startswith(other) or other.startswith(one) else [f"{one}, now {other}"]
    comparable = measured.named_by == present.named_by
    if comparable and measured.features and present.features:
        lost, new = measured.features - present.features, present.features - measured.features
        found += [f"without {' '.join(sorted(lost))}"] if lost else []
        found += [f"with {' '.join(sorted(new))}"] if new else []
    return found


def _other_limits(
    targets: Sequence[TargetStatus], optimizers: Optimizers, status: ModelOptimizationStatus
) -> Iterator[Cause]:
    """Yield which limits are others now; what only builds is no matter of limits."""
    for target in targets:
        measured = target.basis.limits
        wanted = optimizers.target(target.name) if measured is not None else None
        if measured is None or wanted is None or target.baseline is None:
            continue
        present = limits_of(wanted, optimizers.settings, target.source or status.source)
        if changes := limit_changes(measured, present):
            text = f"{target.name} was measured with {', '.join(changes)}."
            remedy = AWAIT_RUN if target.from_earlier_run else MEASURE_AGAIN
            yield Cause(Reason.RESOURCES_CHANGED, text, remedy)


def _other_wish(targets: Sequence[TargetStatus], optimizers: Optimizers) -> Iterator[Cause]:
    """Yield what spec asks for otherwise than the earlier runs behind targets were asked."""
    try:
        request = read_asked(optimizers.resource, optimizers.settings).request
    except InvalidRequest:
        return
    spec, present = request.spec, parts_of(request)
    for target in targets:
        if target.source is not None and target.source.sha256 != spec.model.sha256:
            text = f"{target.name} shows an earlier run's figures, of the model"
            text += f" {target.source.sha256[:12]}; spec.model.sha256 is {spec.model.sha256[:12]}."
            yield Cause(Reason.MODEL_CHANGED, text, AWAIT_RUN)
        if gates := _other_gates(target, spec, present[GATES]):
            yield Cause(Reason.GATES_CHANGED, gates, AWAIT_RUN)
        parts = _parts(target)
        for part in DATA_PARTS if parts else ():
            if parts.get(part) != present.get(part):
                was = (_digest(target, part) or "other data")[:_SHOWN]
                text = f"{target.name} shows an earlier run's figures, with {was} as {_field(part)}"
                text += f"; spec now names {_place_of(spec, part)}."
                yield Cause(Reason.DATA_CHANGED, text, AWAIT_RUN)


def _other_gates(target: TargetStatus, spec: ModelOptimizationSpec, key: str) -> str | None:
    """Return how gates differ from those of an earlier run; None where they do not, or where it is
    not known."""
    measurement = target.measurement
    if measurement is None:
        return None
    if _parts(target).get(GATES, key) == key and measures_all(measurement, spec):
        return None
    computed = ", ".join(measurement.data_ranges) or _NOW_NONE
    asked = ", ".join(map(_in_words, spec.quality)) or _NOW_NONE
    return (
        f"{target.name} shows an earlier run's figures, judged by other gates, with {computed} "
        f"computed; spec.quality now asks for {asked}."
    )


def _in_words(gate: QualityGate) -> str:
    least = gate.minimum is not None
    limit = gate.minimum if least else gate.maximum
    return f"{gate_name(gate)} {'at least' if least else 'at most'} {limit:.10g}"


def _place_of(spec: ModelOptimizationSpec, part: str) -> str:
    evaluation = spec.data.evaluation
    sources = {
        "calibration": spec.data.calibration,
        "evaluation": evaluation,
        "references": evaluation and evaluation.references,
    }
    source = sources[part]
    return source.uri if source is not None else _NOW_NONE
