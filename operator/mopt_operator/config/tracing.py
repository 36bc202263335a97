"""Where traces go, and how many of them. Pure."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mopt_api.base import ApiModel


class Tracing(ApiModel):
    """A collector of traces, for the operator and its Jobs."""

    endpoint: Annotated[str, Field(max_length=2048, pattern=r"^https?://[^\s/?#@]+[^\s?#@]*$")] = (
        Field(description="Of OTLP over HTTP, without /v1/traces: OTEL_EXPORTER_OTLP_ENDPOINT.")
    )
    sampling_ratio: float = Field(
        default=1.0, ge=0, le=1, description="Share of the runs that are traced, each as a whole."
    )
