"""What the administrator decides: the model of the operator's configuration. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import Field, PrivateAttr, TypeAdapter, ValidationError, model_validator

from mopt_api.base import ApiModel, Name, Rule
from mopt_api.inputs import SecretRef
from mopt_api.profiles import (
    AtLeastOne,
    Image,
    ObjectName,
    OptimizationProfileSpec,
    resources_fault,
)
from mopt_api.sandbox import SandboxMode
from mopt_api.spec import Output, Resources
from mopt_operator.errors import SettingsError
from mopt_operator.objects import Json

from .job_pods import JobPods
from .known_bad import KnownBad
from .tracing import Tracing

DEFAULT_PROFILE = "default"
_NAMESPACE = "{namespace}"
_PLACEHOLDER = re.compile(r"\{[^}]*\}?")


class LogFormat(StrEnum):
    """How log lines are written."""

    JSON = "json"
    TEXT = "text"


class LogLevel(StrEnum):
    """Which log lines are written: those of a level, and of what is worse."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class PullPolicy(StrEnum):
    """When the kubelet pulls the optimizer image."""

    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


class UpgradePolicy(StrEnum):
    """What happens to results that are Outdated."""

    KEEP = "Keep"
    RERUN = "Rerun"
    VERIFY = "Verify"


class OnUpgrade(ApiModel):
    """How results that are Outdated are treated; in short form the policy alone."""

    policy: UpgradePolicy = Field(
        default=UpgradePolicy.KEEP,
        description="Keep: mark as Outdated. Rerun: make those of another image again. Verify: "
        "measure the best forms briefly, and make again what does not hold.",
    )
    max_concurrent: AtLeastOne = Field(
        default=5,
        description="With Rerun and Verify: resources at work at once, oldest first.",
    )

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, value: object) -> object:
        return {"policy": value} if isinstance(value, str) else value


# As this operator calls it.
Profile = OptimizationProfileSpec


class SigningKey(ApiModel):
    """A Secret in the namespace of each resource, mounted into Jobs that publish."""

    secret_name: ObjectName = Field(min_length=1)
    key: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")] = Field(
        default="key.pem", description="Of the Secret: an unencrypted private key as PEM."
    )


class Publishing(ApiModel):
    """How what to serve is published, where a resource asks for it."""

    base_image: (
        Annotated[str, Field(max_length=512, pattern=r"^[^@\s]+@sha256:[0-9a-f]{64}$")] | None
    ) = Field(default=None, description="Image, by digest, whose layers come first; None: none.")
    resources: Resources = Field(
        default=Resources(
            requests={"cpu": "250m", "memory": "512Mi"}, limits={"cpu": "1", "memory": "1Gi"}
        ),
        description="Of the Job's container.",
    )
    signing: SigningKey | None = Field(default=None, description="None: nothing is signed.")

    @model_validator(mode="after")
    def _check_resources(self) -> Self:
        if fault := resources_fault(self.resources):
            raise ValueError(f"resources.{fault}")
        return self


class LeaderElection(ApiModel):
    """The Lease that decides which of several operators works."""

    namespace: Annotated[str, Field(min_length=1, max_length=63)] = Field(
        description="The namespace that the operator runs in."
    )
    name: Annotated[str, Field(min_length=1, max_length=253)] = Field(
        default="mopt-operator", description="Name of the Lease."
    )


class HealthTls(ApiModel):
    """Files of a certificate, as a Secret of type kubernetes.io/tls has them."""

    folder: str = Field(min_length=1, description="With tls.crt, tls.key and perhaps ca.crt.")
    client_certificates: bool = Field(
        default=False, description="/metrics is for clients whose certificate ca.crt signed."
    )
    bearer_tokens: bool = Field(
        default=False,
        description="/metrics is for bearers of a token whose user the API server lets get it.",
    )


class KubeApi(ApiModel):
    """How many requests are made to the API server; watches and the Lease do not count."""

    qps: Annotated[float, Field(gt=0, le=10_000)] = Field(description="A second, in the long run.")
    burst: AtLeastOne = Field(default=1, description="At once, after a rest.")


class Settings(ApiModel):
    """What the administrator decides."""

    optimizer_image: Image = Field(
        description="Image of the Jobs, with tag or digest; a profile may name another."
    )
    image_pull_policy: PullPolicy = PullPolicy.IF_NOT_PRESENT
    image_pull_secrets: list[SecretRef] = []
    default_output: Output | None = Field(
        default=None,
        description="Where results of resources without spec.output go; {namespace} in its uri "
        "stands for the resource's.",
    )
    profiles: dict[Name, Profile] = {DEFAULT_PROFILE: Profile()}
    profiles_file: Annotated[str, Field(max_length=4096)] | None = Field(
        default=None,
        description="JSON file of profiles, in place of `profiles`: its changes restart nothing.",
    )
    profile_objects: bool = Field(
        default=False,
        description="Targets name OptimizationProfiles of the cluster, among which the profiles "
        "of the file are put. Otherwise profiles are nowhere but in the file.",
    )
    watch_namespaces: list[str] = Field(default=[], description="Empty: the whole cluster.")
    jobs: JobPods = JobPods()
    log_format: LogFormat = LogFormat.JSON
    log_level: LogLevel = LogLevel.INFO
    workers: Annotated[int, Field(ge=1, le=256)] = Field(
        default=16, description="Resources that are looked at at once."
    )
    kube_api: KubeApi | None = Field(
        default=None, description="None: as many requests as there is reason for."
    )
    ttl_seconds_after_finished: int = Field(
        default=3600, ge=0, description="Life of a finished Job once its result is in status."
    )
    health_address: str = Field(
        default="0.0.0.0:8080",
        pattern=r"^[^:/\s]+:[0-9]+$",
        description="HOST:PORT of /healthz, /readyz and /metrics.",
    )
    restarts_file: Annotated[str, Field(max_length=4096)] | None = Field(
        default=None,
        description="Where the process notes why it ends, for the next one. None: nowhere.",
    )
    health_tls: HealthTls | None = Field(default=None, description="None: plain HTTP.")
    on_upgrade: OnUpgrade = OnUpgrade()
    known_bad: list[KnownBad] = Field(
        default=[], max_length=64, description="Results made by one of these are Outdated."
    )
    max_running_per_namespace: AtLeastOne | None = Field(
        default=None, description="Jobs of one namespace that run at once; None: any number."
    )
    sandbox: SandboxMode = Field(
        default=SandboxMode.REQUIRED,
        description="Required: no model is opened on nodes without Landlock. BestEffort: it is.",
    )
    publish: Publishing = Publishing()
    tracing: Tracing | None = Field(
        default=None, description="None: no traces. No part of a Job's identity, nor of a result's."
    )
    leader_election: LeaderElection | None = Field(
        default=None, description="None: this operator is the only one."
    )

    RULES = (
        Rule(
            "'default' in self.profiles",
            "profiles must hold one named default",
            lambda s: DEFAULT_PROFILE in s.profiles,
        ),
    )

    @model_validator(mode="after")
    def _check_default_output(self) -> Self:
        uri = self.default_output.uri if self.default_output else ""
        if unknown := [name for name in _PLACEHOLDER.findall(uri) if name != _NAMESPACE]:
            raise ValueError(
                f"defaultOutput.uri: {unknown[0]} stands for nothing; {_NAMESPACE} does"
            )
        return self

    _refused: Mapping[str, str] = PrivateAttr(default_factory=dict)

    def offering(
        self, profiles: Mapping[str, Profile], refused: Mapping[str, str] | None = None
    ) -> Self:
        """Return these settings with other profiles.

        Args:
            refused: Why others may not be used, by name.
        """
        settings = self.model_copy(update={"profiles": dict(profiles)})
        settings._refused = dict(refused or {})
        return settings

    def refusal_of(self, profile: str) -> str | None:
        """Return why a profile may not be used; None where there is no such profile."""
        return self._refused.get(profile)

    @property
    def select_namespaces(self) -> bool:
        """Whether a profile is not for all namespaces."""
        return any(p.namespace_selector is not None for p in self.profiles.values())

    def output_in(self, namespace: str) -> Output | None:
        """Return where results of a namespace's resources without spec.output go."""
        output = self.default_output
        if output is None:
            return None
        return output.model_copy(update={"uri": output.uri.replace(_NAMESPACE, namespace)})

    def image_of(self, profile: Profile) -> str:
        """Return the image of a profile's Jobs."""
        return profile.image or self.optimizer_image


_PROFILES = TypeAdapter(dict[Name, Profile])
_SPECS = TypeAdapter(dict[Name, dict[str, Any]])


def parse_settings(text: str) -> Settings:
    """Return the settings in a JSON text.

    Raises:
        SettingsError: One line that names the first wrong field.
    """
    try:
        return Settings.model_validate_json(text)
    except ValidationError as error:
        raise _first_error(error) from error


def parse_profiles(text: str) -> dict[str, Profile]:
    """Return the profiles in a JSON text, by name.

    Raises:
        SettingsError: One line that names the first wrong field.
    """
    try:
        profiles = _PROFILES.validate_json(text)
    except ValidationError as error:
        raise _first_error(error) from error
    if DEFAULT_PROFILE not in profiles:
        raise SettingsError(f"there must be a profile named {DEFAULT_PROFILE}")
    return profiles


def parse_specs(text: str) -> dict[str, Json]:
    """Return the specs of profiles in a JSON text, by name; what is null is left out.

    Raises:
        SettingsError: It is something else.
    """
    try:
        specs = _SPECS.validate_json(text)
    except ValidationError as error:
        raise _first_error(error) from error
    return {
        name: {field: value for field, value in spec.items() if value is not None}
        for name, spec in specs.items()
    }


def _first_error(error: ValidationError) -> SettingsError:
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"]) or "the document"
    return SettingsError(f"{field}: {first['msg']}")
