"""The aim of Auto's search, and the facts that it knows. Pure."""

from __future__ import annotations

from enum import StrEnum

from mopt_api.base import ApiModel
from mopt_api.enums import ModelFormat, ObjectiveMetric, TargetKind


class SearchAim(StrEnum):
    """The aim of a search."""

    SPEED = "Speed"
    SIZE = "Size"
    MEMORY = "Memory"

    @classmethod
    def of(cls, metric: ObjectiveMetric) -> SearchAim:
        """Return the aim of an objective's metric."""
        others = {ObjectiveMetric.SIZE_BYTES: cls.SIZE, ObjectiveMetric.PEAK_MEMORY: cls.MEMORY}
        return others.get(metric, cls.SPEED)


class SearchFacts(ApiModel):
    """Known facts; None where a fact is not known yet.

    Attributes:
        calibrated: Whether there is calibration data.
        kind: Of the target.
        operators: ONNX operator types of the exported FP32 model, each with its number of nodes.
        cpu_features: As Hardware has them.
        compute_capabilities: Of the GPU, such as 8.9, or of BuildOnly's, which may be several.
        compiler: Whether there is a C++ compiler where it is measured.
        memory_bytes: Of the container or machine that measures.
        file_bytes: Size of each variant's file, by the variant's name.
        outrun: By the kind of target, variants that cannot win, as they were measured with other
            weights of the same graph, each with what was found.
    """

    model_format: ModelFormat
    calibrated: bool
    kind: TargetKind = TargetKind.CPU
    aim: SearchAim = SearchAim.SPEED
    operators: dict[str, int] | None = None
    cpu_features: list[str] | None = None
    compute_capabilities: list[str] | None = None
    compiler: bool | None = None
    memory_bytes: int | None = None
    file_bytes: dict[str, int] | None = None
    outrun: dict[TargetKind, dict[str, str]] | None = None
