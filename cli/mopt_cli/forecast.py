"""Which variants this machine would try, and which it would skip; offline, opens nothing."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import StrEnum

from mopt_api.auto.search import Candidate, SearchFacts, search
from mopt_api.auto.unsupported import unsupported_on_kind
from mopt_api.enums import Precision, QuantizationMode, Runtime, TargetKind
from mopt_api.figures import VariantReason
from mopt_api.jobs.plan import search_facts
from mopt_api.runtimes import RUNTIMES
from mopt_api.spec import ModelOptimizationSpec
from mopt_api.variants import Quantization, Variant
from mopt_optimizer.stages.measure.field import cannot_run


class Outlook(StrEnum):
    """What would happen to a variant."""

    TRIED = "Tried"
    SKIPPED = "Skipped"
    LEFT_OUT = "LeftOut"
    NOT_INSTALLED = "NotInstalled"


@dataclass(frozen=True)
class Forecast:
    """A variant, its outlook and the reason; no message for a listed one that is tried."""

    variant: Variant
    outlook: Outlook
    reason: VariantReason | None = None
    message: str = ""

    def to_api(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "name": self.variant.name,
            "runtime": self.variant.runtime.value,
            "precision": self.variant.precision.value,
            "outlook": self.outlook.value,
            "reason": self.reason and self.reason.value,
            "message": self.message,
        }


def forecasts(
    spec: ModelOptimizationSpec,
    features: list[str],
    installed: Collection[Runtime],
    compiler: str | None,
) -> list[Forecast]:
    """Return the variants of a spec, or all that Auto knows, in their order.

    The model is not opened: Auto may leave out more once it knows the operators.

    Args:
        features: Instruction sets, as hardware.cpu_features.
        installed: Runtimes whose library is installed.
        compiler: Version of the C++ compiler; None without one.
    """
    facts = search_facts(spec).model_copy(
        update={"cpu_features": features, "compiler": compiler is not None}
    )
    if not spec.variants:
        found = [_of_auto(candidate) for candidate in search(facts)]
    else:
        found = [_listed(v, facts, compiler) for v in spec.variants]
    return [_where_installed(forecast, installed) for forecast in found]


def _of_auto(candidate: Candidate) -> Forecast:
    if candidate.taken:
        return Forecast(candidate.variant, Outlook.TRIED, message=candidate.reason)
    outlook = Outlook.SKIPPED if candidate.lacks else Outlook.LEFT_OUT
    return Forecast(candidate.variant, outlook, candidate.lacks, candidate.reason)


def _listed(variant: Variant, facts: SearchFacts, compiler: str | None) -> Forecast:
    if (unsupported := unsupported_on_kind(variant, TargetKind.CPU)) is not None:
        return Forecast(variant, Outlook.SKIPPED, unsupported.reason, unsupported.message)
    mode = (variant.quantization or Quantization()).mode
    static = variant.precision is Precision.INT8 and mode is QuantizationMode.STATIC
    if static and not facts.calibrated:
        return Forecast(
            variant,
            Outlook.SKIPPED,
            VariantReason.NO_CALIBRATION_DATA,
            "static INT8 needs data.calibration",
        )
    if (result := cannot_run(variant, facts.cpu_features or [], compiler)) is not None:
        return Forecast(variant, Outlook.SKIPPED, result.reason, result.message or "")
    return Forecast(variant, Outlook.TRIED)


def _where_installed(forecast: Forecast, installed: Collection[Runtime]) -> Forecast:
    runtime = forecast.variant.runtime
    if forecast.outlook is not Outlook.TRIED or runtime in installed:
        return forecast
    return replace(
        forecast,
        outlook=Outlook.NOT_INSTALLED,
        message=f"{RUNTIMES[runtime].module} is not installed here",
    )
