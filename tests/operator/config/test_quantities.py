"""Amounts of compute: compared as written, derived where nobody wrote any."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from mopt_api.spec import Resources
from mopt_operator.config.quantities import (
    amount,
    completed,
    default_resources,
    resources_fault,
    target_fault,
    target_resources,
)

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


def resources(**sides: Any) -> Resources:
    return Resources.model_validate(sides)


L4 = resources(limits={"cpu": "8", "nvidia.com/gpu": 2})


@pytest.mark.parametrize(
    "wanted", [{}, {"cpu": "4"}, {"nvidia.com/gpu": 1}, {"cpu": "4", "nvidia.com/gpu": "2"}]
)
def test_target_may_ask_for_the_devices_of_its_profile(wanted: dict[str, Any]) -> None:
    assert target_fault(resources(limits=wanted), L4) is None


@pytest.mark.parametrize(
    ("wanted", "offered", "words"),
    [
        (resources(limits={"nvidia.com/gpu": 3}), L4, "3 is more than the profile's 2"),
        (resources(limits={"nvidia.com/gpu": 0}), L4, "name a profile without that device"),
        (
            resources(limits={"nvidia.com/mig-1g.10gb": 1}),
            L4,
            "limits.nvidia.com/mig-1g.10gb: the profile offers no such device",
        ),
        (resources(limits={"nvidia.com/gpu": 1}), Resources(), "the profile offers no such device"),
        (resources(requests={"nvidia.com/gpu": 1}), L4, "must equal limits.nvidia.com/gpu"),
    ],
)
def test_devices_are_the_administrator_s_to_give(
    wanted: Resources, offered: Resources, words: str
) -> None:
    assert words in (target_fault(wanted, offered) or "")


def test_target_keeps_the_devices_of_its_profile() -> None:
    own = resources(requests={"memory": "1Gi"}, limits={"memory": "4Gi"})
    assert target_resources(None, L4) == L4
    assert target_resources(own, L4) == resources(
        requests={"memory": "1Gi"}, limits={"memory": "4Gi", "nvidia.com/gpu": 2}
    )
    one = target_resources(resources(limits={"nvidia.com/gpu": 1}), L4)
    assert one.limits == {"nvidia.com/gpu": 1}


def test_device_alone_says_nothing_of_cpu_and_memory() -> None:
    gpu = resources(limits={"nvidia.com/gpu": 1})
    derived = default_resources(GIB)
    assert completed(gpu, GIB).limits == {**derived.limits, "nvidia.com/gpu": 1}
    assert completed(gpu, GIB).requests == derived.requests
    assert completed(L4, GIB) == L4
    assert completed(Resources(), None) == default_resources(None)
