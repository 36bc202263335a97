"""Amounts of compute: compared as written, derived where nobody wrote any."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from mopt_api.spec import Resources
from mopt_operator.sizing import amount, default_resources, resources_fault

GIB = 2**30


@pytest.mark.parametrize(
    ("quantity", "number"),
    [
        (2, 2),
        ("2", 2),
        ("0.5", "0.5"),
        ("500m", "0.5"),
        ("1k", 1000),
        ("2Ki", 2048),
        ("1.5Gi", 1.5 * GIB),
    ],
)
def test_amount(quantity: int | str, number: Any) -> None:
    assert amount(quantity) == Decimal(number)


@pytest.mark.parametrize(
    "resources",
    [
        {},
        {"requests": {"cpu": "1"}},
        {"requests": {"cpu": "1000m"}, "limits": {"cpu": 1}},
        {"limits": {"nvidia.com/gpu": 1}},
        {"requests": {"nvidia.com/mig-1g.10gb": 1}, "limits": {"nvidia.com/mig-1g.10gb": "1"}},
    ],
)
def test_legal_resources(resources: dict[str, Any]) -> None:
    assert resources_fault(Resources.model_validate(resources)) is None


@pytest.mark.parametrize(
    ("model_bytes", "request_mib"),
    [(0, 2048), (1, 2304), (100 * 2**20, 2816), (GIB, 8192), (None, 5120)],
)
def test_memory_grows_with_the_model(model_bytes: int | None, request_mib: int) -> None:
    derived = default_resources(model_bytes)
    assert derived.requests == {"cpu": "1", "memory": f"{request_mib}Mi"}
    assert derived.limits == {"cpu": "2", "memory": f"{2 * request_mib}Mi"}
    assert resources_fault(derived) is None
