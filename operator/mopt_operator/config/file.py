"""The configuration file: JSON that the chart renders from its values."""

from __future__ import annotations

import os
from pathlib import Path

from mopt_operator.errors import SettingsError

from .settings import Settings, parse_settings

CONFIG_VARIABLE = "MOPT_OPERATOR_CONFIG"
DEFAULT_CONFIG = "/etc/mopt/config.json"


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
