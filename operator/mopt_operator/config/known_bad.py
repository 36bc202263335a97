"""Versions of tools that the administrator knows to be bad. Pure."""

from __future__ import annotations

from typing import Annotated

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version
from pydantic import Field, field_validator

from mopt_api.base import ApiModel
from mopt_api.text import one_line

MAX_BECAUSE = 512


class KnownBad(ApiModel):
    """Versions of a tool whose results are to be measured again."""

    package: Annotated[
        str, Field(max_length=64, pattern=r"^[A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?$")
    ] = Field(description="As status.targets[].software names it, such as openvino.")
    versions: Annotated[str, Field(min_length=1, max_length=256)] = Field(
        description="Specifiers of PEP 440, such as <2026.1.2 or >=2.9,<2.9.3."
    )
    because: Annotated[str, Field(min_length=1, max_length=MAX_BECAUSE)] = Field(
        description="What is wrong with them, for whoever reads Outdated."
    )

    @field_validator("versions")
    @classmethod
    def _check_versions(cls, value: str) -> str:
        try:
            SpecifierSet(value)
        except InvalidSpecifier as error:
            raise ValueError(
                f"{value!r} are no version specifiers of PEP 440, such as <2026.1.2"
            ) from error
        return value

    @field_validator("because")
    @classmethod
    def _in_one_line(cls, value: str) -> str:
        return one_line(value, MAX_BECAUSE)

    def matches(self, package: str, version: str) -> bool:
        """Tell whether a tool is one of them; what is no version of PEP 440 is not.

        Also pre-releases, and builds with a local part such as 2.9.0+cpu.
        """
        if canonicalize_name(package) != canonicalize_name(self.package):
            return False
        try:
            found = Version(version)
        except InvalidVersion:
            return False
        return SpecifierSet(self.versions).contains(found, prereleases=True)
