"""The identity with which Jobs ask for keys of a store, where a resource names no Secret. Pure."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from mopt_api.base import ApiModel

# How the API server names itself where nobody gave it another audience.
_API = "https://kubernetes.default"

Url = Annotated[str, Field(max_length=253, pattern=r"^https?://[A-Za-z0-9._\[\]:-]+$")]


def _refuse_api(audience: str) -> str:
    if audience.startswith(_API):
        raise ValueError(
            f"{audience} is the Kubernetes API's: name the store's own, such as sts.amazonaws.com"
        )
    return audience


class StoreIdentity(ApiModel):
    """A token of the Pod's ServiceAccount for one audience, that a service exchanges for keys."""

    audience: Annotated[
        str,
        Field(min_length=1, max_length=253, pattern=r"^[^\s\p{Cc}]+$"),
        AfterValidator(_refuse_api),
    ] = Field(description="Whom the token is for: never the Kubernetes API.")
    role_arn: Annotated[str, Field(max_length=2048, pattern=r"^arn:[^\s]+$")] | None = Field(
        default=None, description="The role that AWS gives; others decide by the token alone."
    )
    endpoint: Url | None = Field(
        default=None, description="The store, as AWS_ENDPOINT_URL. None: AWS."
    )
    sts_endpoint: Url | None = Field(
        default=None, description="The service. None: the store itself, or AWS's."
    )
    region: Annotated[str, Field(max_length=63, pattern=r"^[a-z0-9-]+$")] | None = None
    expiration_seconds: int = Field(
        default=3600, ge=600, le=86400, description="Of the token, which the kubelet renews."
    )

    def variables(self, token_file: str) -> dict[str, str]:
        """Return what every AWS SDK reads, and mopt's client."""
        found = {
            "AWS_WEB_IDENTITY_TOKEN_FILE": token_file,
            "AWS_ROLE_ARN": self.role_arn,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ENDPOINT_URL_STS": self.sts_endpoint,
            "AWS_REGION": self.region,
        }
        return {name: value for name, value in found.items() if value}
