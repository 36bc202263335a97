"""The operator's configuration: a JSON file that the chart renders from its values."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from mopt_api.base import ApiModel, Name, Rule
from mopt_api.spec import Output, Quantity, Resources, SecretRef

from ._errors import SettingsError

CONFIG_VARIABLE = "MOPT_OPERATOR_CONFIG"
DEFAULT_CONFIG = "/etc/mopt/config.json"
DEFAULT_PROFILE = "default"


class LogFormat(StrEnum):
    """How log lines are written."""

    JSON = "json"
    TEXT = "text"


class PullPolicy(StrEnum):
    """When the kubelet pulls the optimizer image."""

    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


class Toleration(ApiModel):
    """As in a Pod."""

    key: str | None = None
    operator: str | None = None
    value: str | None = None
    effect: str | None = None
    toleration_seconds: int | None = None


class Profile(ApiModel):
    """Hardware that the administrator offers to targets."""

    node_selector: dict[str, str] = {}
    tolerations: list[Toleration] = []
    resources: Resources = Resources()
    service_account_name: str | None = None
    runtime_class_name: str | None = None
    priority_class_name: str | None = None
    scratch_size: Quantity = Field(default="8Gi", description="Size limit of the Job's /tmp.")


class Settings(ApiModel):
    """What the administrator decides."""

    optimizer_image: Annotated[str, Field(min_length=1)] = Field(
        description="Image of the Jobs, with tag or digest."
    )
    image_pull_policy: PullPolicy = PullPolicy.IF_NOT_PRESENT
    image_pull_secrets: list[SecretRef] = []
    default_output: Output | None = Field(
        default=None, description="Where results of resources without spec.output go."
    )
    profiles: dict[Name, Profile] = {DEFAULT_PROFILE: Profile()}
    watch_namespaces: list[str] = Field(default=[], description="Empty: the whole cluster.")
    log_format: LogFormat = LogFormat.JSON
    ttl_seconds_after_finished: int = Field(
        default=3600, ge=0, description="Life of a finished Job once its result is in status."
    )
    health_address: str = Field(
        default="0.0.0.0:8080",
        pattern=r"^[^:/\s]+:[0-9]+$",
        description="HOST:PORT of /healthz.",
    )

    RULES = (
        Rule(
            "'default' in self.profiles",
            "profiles must hold one named default",
            lambda s: DEFAULT_PROFILE in s.profiles,
        ),
    )


def parse_settings(text: str) -> Settings:
    """Return the settings in a JSON text.

    Raises:
        SettingsError: One line that names the first wrong field.
    """
    try:
        return Settings.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the document"
        raise SettingsError(f"{field}: {first['msg']}") from error


def read_settings() -> Settings:
    """Return the settings of the file that MOPT_OPERATOR_CONFIG names.

    Raises:
        SettingsError: The file cannot be read or used.
    """
    path = Path(os.environ.get(CONFIG_VARIABLE) or DEFAULT_CONFIG)
    try:
        return parse_settings(path.read_text())
    except OSError as error:
        raise SettingsError(f"cannot read the configuration {path}: {error.strerror}") from error
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from error
