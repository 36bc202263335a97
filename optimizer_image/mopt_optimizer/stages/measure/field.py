"""Which variants of a plan are tried on this hardware, and why the others are not. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial

from mopt_api.auto.search import Candidate, SearchAim, search
from mopt_api.auto.unsupported import (
    NO_BF16,
    NO_COMPILER,
    Unsupported,
    unsupported_on_gpu,
    unsupported_on_kind,
)
from mopt_api.enums import TargetKind
from mopt_api.figures import Gpu, Hardware, VariantReason, VariantState
from mopt_api.jobs.measure_result import SearchEntry, VariantResult
from mopt_api.jobs.outrun import hardware_digest
from mopt_api.jobs.plan import MeasurePlan, effective_torch_mode
from mopt_api.jobs.prepare_result import PrepareResult
from mopt_api.variants import Variant
from mopt_optimizer.machine.system import has_native_bf16
from mopt_optimizer.machine.versions import COMPILER
from mopt_optimizer.stages.missing import installed_libraries, missing_runtime


@dataclass(frozen=True)
class Field:
    """The variants that take part in a measurement.

    Attributes:
        variants: Rows of the result, in their order.
        known: Results of those among them that are not tried.
        search: Where Auto chose, its verdict on all that it knows of.
        prunes: Whether a probe may leave out more: it finds speed, of what Auto chose.
    """

    variants: list[Variant]
    known: dict[str, VariantResult]
    search: list[SearchEntry]
    prunes: bool


def without_figures(
    variant: Variant, state: VariantState, reason: VariantReason, message: str
) -> VariantResult:
    """Return the result of a variant that was not tried."""
    return VariantResult(
        name=variant.name,
        runtime=variant.runtime,
        precision=variant.precision,
        float_precision=variant.float_precision,
        torch_mode=effective_torch_mode(variant),
        state=state,
        reason=reason,
        message=message,
    )


def cannot_run(
    variant: Variant,
    features: list[str],
    compiler: str | None,
    *,
    kind: TargetKind = TargetKind.CPU,
    gpu: Gpu | None = None,
) -> VariantResult | None:
    """Return the Skipped result of a variant that cannot be computed here, else None.

    Args:
        features: The CPU's.
        compiler: Version of the C++ compiler; None where there is none.
        kind: Of the target.
        gpu: Its GPU.
    """
    unsupported = _unsupported_here(variant, features, compiler, kind, gpu)
    if unsupported is None:
        return None
    return without_figures(variant, VariantState.SKIPPED, unsupported.reason, unsupported.message)


def _unsupported_here(
    variant: Variant, features: list[str], compiler: str | None, kind: TargetKind, gpu: Gpu | None
) -> Unsupported | None:
    if (unsupported := unsupported_on_kind(variant, kind)) is not None:
        return unsupported
    if (
        gpu is not None
        and (unsupported := unsupported_on_gpu(variant, [gpu.compute_capability])) is not None
    ):
        return unsupported
    if kind is TargetKind.CPU and variant.uses_bf16 and not has_native_bf16(features):
        return NO_BF16
    if variant.compiled and compiler is None:
        return NO_COMPILER
    return None


def entries(candidates: list[Candidate]) -> list[SearchEntry]:
    """Return candidates as in result.json."""
    return [SearchEntry(variant=c.variant.name, taken=c.taken, reason=c.reason) for c in candidates]


def _candidates(
    plan: MeasurePlan, manifest: PrepareResult, hardware: Hardware, compiler: str | None
) -> list[Candidate]:
    """Return Auto's verdicts, now that the model and the hardware are known."""
    if plan.search is None:
        return []
    gpus = [hardware.gpu.compute_capability] if hardware.gpu else plan.compute_capabilities
    sizes = {prepared.name: prepared.artifact.size_bytes for prepared in manifest.artifacts}
    return search(
        plan.search.model_copy(
            update={
                "operators": manifest.operators,
                "outrun": _outrun(manifest, plan.kind, hardware),
                "cpu_features": hardware.cpu_features,
                "compute_capabilities": gpus or None,
                "compiler": compiler is not None,
                "memory_bytes": hardware.memory_bytes,
                "file_bytes": {
                    variant: sizes.get(form, manifest.source.size_bytes)
                    for variant, form in manifest.artifacts_on(plan.kind).items()
                },
            }
        )
    )


def _outrun(
    manifest: PrepareResult, kind: TargetKind, hardware: Hardware
) -> dict[TargetKind, dict[str, str]]:
    """Return what prepare left out; it did not know the hardware."""
    if (found := manifest.outrun.get(kind)) is None:
        return {}
    here = hardware_digest(hardware) in found.hardware
    where = "" if here else "on other hardware: "
    return {kind: {name: f"{where}{reason}" for name, reason in found.variants.items()}}


def field_of(
    plan: MeasurePlan,
    manifest: PrepareResult,
    hardware: Hardware,
    software: Mapping[str, str],
    installed: Collection[str] | None = None,
) -> Field:
    """Return the variants that take part.

    Args:
        software: As measure_keys.runtime_versions.
        installed: As missing.installed_libraries, which None asks.
    """
    installed = installed_libraries() if installed is None else installed
    compiler = software.get(COMPILER)
    candidates = _candidates(plan, manifest, hardware, compiler)
    by_name = {candidate.variant.name: candidate for candidate in candidates}
    shown = [v for v in plan.variants if v.name not in by_name or by_name[v.name].shown]
    unmade = {entry.name: entry for entry in manifest.skipped_on(plan.kind)}
    lacking = partial(
        cannot_run,
        features=hardware.cpu_features,
        compiler=compiler,
        kind=plan.kind,
        gpu=hardware.gpu,
    )
    known: dict[str, VariantResult] = {}
    for variant in shown:
        candidate = by_name.get(variant.name)
        if (
            unsupported_on_kind(variant, plan.kind) is None
            and (unsupported := missing_runtime(variant, plan.kind, installed)) is not None
        ):
            known[variant.name] = without_figures(
                variant, VariantState.SKIPPED, unsupported.reason, unsupported.message
            )
        elif (entry := unmade.get(variant.name)) is not None:
            known[variant.name] = without_figures(variant, entry.state, entry.reason, entry.message)
        elif candidate is not None and candidate.lacks is not None:
            known[variant.name] = without_figures(
                variant, VariantState.SKIPPED, candidate.lacks, candidate.reason
            )
        elif (result := lacking(variant)) is not None:
            known[variant.name] = result
    return Field(
        variants=shown,
        known=known,
        search=entries(candidates),
        prunes=plan.search is not None and plan.search.aim is SearchAim.SPEED,
    )
