"""OpenVINO's messages on one line. Pure."""

from __future__ import annotations

import re

# What names OpenVINO's own source files, not the model.
_PLACES = re.compile(
    r"Exception from \S+?:\d+:\s*|Check '.*?' failed at \S+?:\d+:\s*"
    r"|FrontEnd API failed with \w+:\s*"
)
_RULES = re.compile(r"^[-\s]+|^Summary:\s*$")


def essence(error: Exception) -> str:
    """Return what a message says of the model; the class of an error without one."""
    said = [_RULES.sub("", _PLACES.sub("", line).strip()) for line in str(error).splitlines()]
    return " ".join(dict.fromkeys(line for line in said if line)) or type(error).__name__
