"""The configuration file: JSON that the chart renders from its values."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mopt_operator.errors import SettingsError
from mopt_operator.objects import Json

from .settings import Profile, Settings, parse_profiles, parse_settings, parse_specs

T = TypeVar("T")
CONFIG_VARIABLE = "MOPT_OPERATOR_CONFIG"
DEFAULT_CONFIG = "/etc/mopt/config.json"


def read_settings() -> Settings:
    """Return the settings of the file that MOPT_OPERATOR_CONFIG names.

    Raises:
        SettingsError: The file cannot be read or used.
    """
    path = Path(os.environ.get(CONFIG_VARIABLE) or DEFAULT_CONFIG)
    settings = _parsed(path, parse_settings)
    if settings.profile_objects:
        read_specs(settings)  # What cannot be read at all ends the start.
        return settings
    if settings.profiles_file is None:
        return settings
    return settings.offering(read_profiles(settings.profiles_file))


def read_profiles(path: str) -> dict[str, Profile]:
    """Return the profiles of a file, by name.

    Raises:
        SettingsError: The file cannot be read or used.
    """
    return _parsed(Path(path), parse_profiles)


def read_specs(settings: Settings) -> dict[str, Json]:
    """Return the specs of the profiles that are to be objects of the cluster, by name.

    They are as they are written: the API server judges each by itself, and one that is wrong
    keeps no other from being used.

    Raises:
        SettingsError: The file cannot be read, or holds something else.
    """
    if settings.profiles_file is None:
        return {name: profile.to_api() for name, profile in settings.profiles.items()}
    return _parsed(Path(settings.profiles_file), parse_specs)


def _parsed(path: Path, parse: Callable[[str], T]) -> T:
    try:
        return parse(path.read_text())
    except OSError as error:
        raise SettingsError(f"cannot read the configuration {path}: {error.strerror}") from error
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from error
