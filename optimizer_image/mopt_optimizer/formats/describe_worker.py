"""Describes a model file in a process of its own: local files only, no credentials."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from mopt_optimizer.progress import Log
from mopt_optimizer.sandbox import serve

from .base import DescribeRequest
from .registry import describe_file


def handle(payload: dict[str, Any], workdir: Path, log: Log) -> dict[str, Any]:
    """Return a ModelDescription; raises as describe_file."""
    log("describe", "opening the model")
    return describe_file(DescribeRequest.model_validate(payload), workdir).to_api()


if __name__ == "__main__":
    sys.exit(serve(handle))
