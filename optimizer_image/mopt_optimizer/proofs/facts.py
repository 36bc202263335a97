"""What is known of an image to publish, and what its statements are made from. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mopt_api.inputs import InputSpec
from mopt_api.jobs.measure_result import MeasureResult, VariantResult
from mopt_api.jobs.publishing import PublishedForm, PublishedResource
from mopt_api.objective import Objective
from mopt_api.spec import QualityGate
from mopt_optimizer.errors import DataError

_GATES = TypeAdapter(list[QualityGate])
_INPUTS = TypeAdapter(list[InputSpec])


@dataclass(frozen=True)
class Facts:
    """One target's image, and the measurement that it is published for.

    Attributes:
        subject: Digest of the image's manifest.
        repository: Where it is published, without tag or digest.
        result: The result.json whose digest form names.
        report: The result's page, if there is one.
    """

    subject: str
    repository: str
    form: PublishedForm
    resource: PublishedResource
    result: MeasureResult
    report: bytes | None = None

    @cached_property
    def variant(self) -> VariantResult:
        """The form that the image holds, as it was measured.

        Raises:
            DataError: The result does not have it.
        """
        name = self.form.variant
        for variant in self.result.everyone:
            if variant.name == name:
                return variant
        raise DataError(f"result.json {self.form.result} has no variant {name}")

    @cached_property
    def gates(self) -> list[QualityGate] | None:
        """The gates as last judged; None where result.json does not say."""
        return None if self.result.plan is None else self._planned("quality", _GATES)

    @cached_property
    def objective(self) -> Objective | None:
        """What the winner was chosen by; None where result.json does not say."""
        return (
            None if self.result.plan is None else self._planned("objective", TypeAdapter(Objective))
        )

    @cached_property
    def inputs(self) -> list[InputSpec]:
        """The model's inputs; empty where result.json does not say."""
        return [] if self.result.plan is None else self._planned("inputs", _INPUTS)

    def uri(self, data: str) -> str | None:
        """Return where a folder of data lies: evaluation or references; None where unknown."""
        planned = (self.result.plan or {}).get(data)
        return str(planned["uri"]) if isinstance(planned, dict) and "uri" in planned else None

    def _planned(self, field: str, adapter: TypeAdapter[Any]) -> Any:
        try:
            return adapter.validate_python((self.result.plan or {}).get(field))
        except ValidationError as error:
            raise DataError(f"result.json {self.form.result}: plan.{field}: {error}") from error


def hexadecimal(digest: str) -> str:
    """Return a digest without its algorithm."""
    return digest.removeprefix("sha256:")
