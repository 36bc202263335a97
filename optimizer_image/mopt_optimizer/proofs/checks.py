"""What holds of an image's proof, line by line. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from mopt_api.jobs.gates import gate_name
from mopt_api.spec import QualityGate
from mopt_optimizer.digests import bytes_digest

from .facts import hexadecimal
from .predicates import FAILED, PASSED, gate_title
from .referrer import CYCLONEDX, REPORT
from .wanted import Wanted


@dataclass(frozen=True)
class Check:
    """One line of an answer.

    Attributes:
        name: What is checked.
        holds: Whether it is so.
        message: What was found.
    """

    name: str
    holds: bool
    message: str = ""

    def to_api(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"name": self.name, "holds": self.holds, "message": self.message}


@dataclass(frozen=True)
class Found:
    """What an image and its referrers hold, as far as it is authentic.

    Attributes:
        subject: Digest of the image.
        files: Digests of its files, by path below /models.
        others: Digests of the contents of what is not signed by itself, by artifact type.
    """

    subject: str
    files: Mapping[str, str]
    others: Mapping[str, set[str]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, subject: str, files: Mapping[str, str], contents: Sequence[tuple[str, bytes]]
    ) -> Found:
        """Return it from the contents of referrers, each with its artifact type."""
        others: dict[str, set[str]] = {}
        for kind, content in contents:
            others.setdefault(kind, set()).add(bytes_digest(content))
        return cls(subject, files, others)


def names(statement: Mapping[str, Any], subject: str) -> bool:
    """Return whether a statement is on an image, and on nothing else."""
    subjects = statement.get("subject")
    if not isinstance(subjects, list) or len(subjects) != 1:
        return False
    digest = subjects[0].get("digest") if isinstance(subjects[0], dict) else None
    return isinstance(digest, dict) and digest.get("sha256") == hexadecimal(subject)


def best(
    qualities: Sequence[Mapping[str, Any]],
    results: Sequence[Mapping[str, Any]],
    found: Found,
    wanted: Wanted,
) -> list[Check]:
    """Return the checks of the statement on quality of which most holds, the latest of these.

    An image may carry several: the same form, published again after another measurement.

    Args:
        qualities: Predicates of the statements on quality that this image's key signed.
        results: Those of the statements on test results.
    """
    every = [(_measured_at(q), list(_of_quality(q, results, found, wanted))) for q in qualities]
    ordered = sorted(every, key=lambda pair: pair[0], reverse=True)
    return min(
        (checks for _, checks in ordered), key=lambda c: sum(not x.holds for x in c), default=[]
    )


def _of_quality(
    quality: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    found: Found,
    wanted: Wanted,
) -> Iterator[Check]:
    form = _at(quality, "form", "digest")
    path = next((path for path, digest in found.files.items() if digest == form), None)
    yield Check(
        "form",
        path is not None,
        f"{path} is {_at(quality, 'form', 'name')}, as it was measured"
        if path
        else f"no file in the image is {form}, which was measured",
    )
    yield _attachment(
        "bill of materials", _at(quality, "attached", "bom"), found.others.get(CYCLONEDX)
    )
    if (report := _at(quality, "attached", "report")) is not None:
        yield _attachment("report", report, found.others.get(REPORT))
    gates = list(_gates(quality))
    yield from gates
    yield _test_result(quality, results)
    for data in wanted.data:
        yield _data(quality, data)
    figures = _at(quality, "quality", "figures") or []
    for gate in wanted.gates:
        holds, value = gate.judged(figure for figure in figures if isinstance(figure, dict))
        yield Check(f"wanted {gate.text}", holds, value)


def _attachment(name: str, digest: Any, found: set[str] | None) -> Check:
    if digest in (found or ()):
        return Check(name, True, str(digest))
    return Check(name, False, f"what the statement names, {digest}, is not attached")


def _gates(quality: Mapping[str, Any]) -> Iterator[Check]:
    """Judge each gate again by the value in the statement."""
    for given in _at(quality, "quality", "gates") or []:
        known = {k: v for k, v in given.items() if k not in ("value", "verdict")}
        value, verdict = given.get("value"), given.get("verdict")
        try:
            gate = QualityGate.model_validate(known)
        except ValidationError:
            yield Check(f"gate {known.get('metric')}", False, "it is no gate that this mopt knows")
            continue
        if value is None:
            message = f"{gate_name(gate)} was not measured"
            yield Check(f"gate {gate_title(gate)}", verdict not in (PASSED, FAILED), message)
        else:
            holds = gate.passes(value) and verdict == PASSED
            yield Check(f"gate {gate_title(gate)}", holds, f"{value:.10g}")


def _test_result(quality: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> Check:
    """Hold the statement for policies that know no other to ours."""
    name, digest = "test result", _at(quality, "result", "digest")
    for result in results:
        configuration = result.get("configuration")
        of = _at(configuration[0] if configuration else None, "digest", "sha256")
        if isinstance(digest, str) and of == hexadecimal(digest):
            return Check(name, result.get("result") != FAILED, str(result.get("result")))
    return Check(name, False, f"no statement is on the measurement {digest}")


def _data(quality: Mapping[str, Any], wanted: str) -> Check:
    name = f"wanted data {wanted}"
    known = _at(quality, "data") or {}
    for kind, data in known.items():
        if wanted in (data.get("digest"), data.get("uri")):
            return Check(name, True, f"{kind} data")
    others = ", ".join(f"{kind} {data.get('digest')}" for kind, data in known.items())
    return Check(name, False, f"the statement names {others or 'no data'}")


def _measured_at(quality: Mapping[str, Any]) -> str:
    return str(_at(quality, "result", "measuredAt") or "")


def _at(value: Any, *keys: str) -> Any:
    """Return what lies below keys; None where there is nothing."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value
