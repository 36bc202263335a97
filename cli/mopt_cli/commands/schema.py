"""`mopt schema`."""

from __future__ import annotations

import json

from mopt_api.spec import ModelOptimizationSpec


def schema() -> None:
    """Print the JSON schema of spec, for editors."""
    print(json.dumps(ModelOptimizationSpec.model_json_schema(), indent=2))
