"""What a result is measured for, recorded small, so that a change is noticed later. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from mopt_api.base import ApiModel
from mopt_api.data import DataSource, ReferenceSource
from mopt_api.figures import SourceInfo
from mopt_api.quantities import amount
from mopt_api.spec import Target
from mopt_api.status import Measurement, TargetStatus
from mopt_api.stores import takes_credentials
from mopt_operator.config.quantities import completed, target_resources
from mopt_operator.config.settings import Settings

from .request import Request
from .secrets import uris_of
from .work import profile_of

GATES = "gates"
_LIMITS = ("cpu", "memory")


def parts_of(request: Request) -> dict[str, str]:
    """Return the keys of the gates, and of each source of data with what is done to it.

    Where a source is includes the Secret, which names the store. A field of a newer version that
    nobody set does not matter.
    """
    spec, output = request.spec, request.output.credentials_secret_ref

    def place(source: DataSource) -> list[object]:
        secret = source.credentials_secret_ref or output
        if not any(map(takes_credentials, uris_of(source))):
            secret = None
        return [secret and secret.name, _files(source)]

    found: dict[str, object] = {GATES: [_set(gate) for gate in spec.quality]}
    if (calibration := spec.data.calibration) is not None:
        found["calibration"] = place(calibration)
    if (evaluation := spec.data.evaluation) is not None:
        found["evaluation"] = place(evaluation)
        if evaluation.references is not None:
            found["references"] = [place(evaluation), _files(evaluation.references)]
    return {name: _key(value) for name, value in found.items()}


def of_present(measurement: Measurement, request: Request) -> Measurement:
    """Return what figures were measured for that hold for a request, whose gates judge them now."""
    if measurement.parts is None:
        return measurement
    return measurement.model_copy(update={"parts": measurement.parts | parts_of(request)})


def _files(source: DataSource | ReferenceSource) -> dict[str, object]:
    files = _set(source, without={"credentials_secret_ref", "credentials", "references"})
    return files | {"uri": source.uri.rstrip("/")}


def _set(model: ApiModel, without: set[str] | None = None) -> dict[str, object]:
    return model.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude=without)


def _key(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def limits_of(target: Target, settings: Settings, source: SourceInfo | None) -> dict[str, str]:
    """Return the CPU and memory limit that a target's Job gets; empty for none.

    Args:
        target: Its profile is one of the settings'.
        source: The model file; None where it is not known.
    """
    given = target_resources(target.resources, profile_of(target, settings).resources)
    limits = completed(given, source.size_bytes if source else None).limits
    return {name: str(limits[name]) for name in _LIMITS if name in limits}


def measured_limits(
    targets: Mapping[str, TargetStatus], name: str, report: str | None, present: dict[str, str]
) -> dict[str, str] | None:
    """Return the limits that a result's figures were measured with; None where not known.

    Args:
        targets: Those in status, by name.
        name: The result's target.
        report: Digest of the earlier result that holds the figures; None where they are new.
        present: The limits of a Job now.
    """
    if report is None:
        return present
    known = targets.get(name)
    if known is None or known.report.digest != report or known.measurement is None:
        return None
    return known.measurement.limits


def limit_changes(measured: Mapping[str, str], present: Mapping[str, str]) -> list[str]:
    """Return how limits differ, for people: CPU limit 2, now 1."""
    return [
        f"{'CPU' if name == 'cpu' else name} limit {measured.get(name, 'none')}, now "
        f"{present.get(name, 'none')}"
        for name in _LIMITS
        if _amount(measured, name) != _amount(present, name)
    ]


def _amount(limits: Mapping[str, str], name: str) -> object:
    try:
        return amount(limits[name]) if name in limits else None
    except ValueError:
        return limits[name]
