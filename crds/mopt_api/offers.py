"""The winners of a resource's targets as ways to serve, and how a CPU limit would serve that was
not measured. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from .constraints import Figures, shown_figures
from .figures import Hardware, Serving
from .recommendation import Basis, Offer, Terms
from .scaling import Point, fitted, usable
from .status import TargetStatus


def offers_of(
    targets: Iterable[TargetStatus], terms: Mapping[str, Terms], *, batch: int = 1
) -> list[Offer]:
    """Return what may be served: the winner of each target that has one of the present run.

    Args:
        terms: By target.
        batch: Samples in a call at the objective's point.
    """
    return [
        offer
        for target in targets
        if not target.from_earlier_run
        and (offer := _offer(target, terms.get(target.name, Terms()), batch)) is not None
    ]


def _offer(target: TargetStatus, terms: Terms, batch: int) -> Offer | None:
    chosen = target.winner
    if chosen is None:
        return None
    return Offer(
        target=target.name,
        variant=chosen.name,
        figures=shown_figures(chosen),
        single=Serving(instances=1, threads=_threads(target.hardware), batch=batch),
        terms=terms,
    )


def _threads(hardware: Hardware) -> int:
    return min(max(hardware.threads or 1, 1), 1024)


def predicted(
    measured: Iterable[Offer], cpus: float, *, price: float | None = None
) -> Offer | None:
    """Return how a CPU limit would serve that was not measured.

    Targets of one kind differ in their CPU limit alone: the variant that wins on most of them
    counts, and the law of scaling is fitted on its throughputs, over the whole CPUs that threads
    compute on. Copies grow with these; threads and batch stay as at the nearest limit, and so does
    the latency, which a rate within a bound does not exceed.

    Args:
        measured: Those whose CPU limit is not known do not count.
        cpus: Above 0.
        price: Of one replica with that limit for an hour.

    Returns:
        None where there is nothing to predict from.
    """
    known = [(o.terms.cpus, o) for o in measured if o.terms.cpus and o.throughput > 0]
    if not known:
        return None
    variants = [offer.variant for _, offer in known]
    common = max(dict.fromkeys(variants), key=variants.count)
    alike = [(limit, offer) for limit, offer in known if offer.variant == common]
    law = fitted([Point(usable(limit), offer.throughput) for limit, offer in alike])
    wanted = usable(cpus)
    limit, near = min(alike, key=lambda each: abs(usable(each[0]) - wanted))
    loaded = all(offer.figures.load for _, offer in alike)
    sure = loaded and law.within_reach(wanted)
    copies = min(max(1, round(near.serving.instances * wanted / usable(limit))), 1024)
    return replace(
        near,
        figures=_with(near.figures, law.throughput(wanted), copies),
        single=near.single.model_copy(update={"instances": copies}),
        terms=Terms(price=price, cpus=cpus),
        basis=Basis.EXTRAPOLATED if sure else Basis.ESTIMATED,
    )


def _with(figures: Figures, throughput: float, copies: int) -> Figures:
    if figures.load is None:
        return replace(figures, throughput=throughput)
    serving = figures.load.serving.model_copy(update={"instances": copies})
    changed = {"serving": serving, "throughput": throughput}
    return replace(figures, load=figures.load.model_copy(update=changed))
