"""Amounts of compute: compared as written, derived where nobody wrote any."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from kubernetes.utils import parse_quantity
from pydantic import ValidationError

from mopt_api.profiles import resources_fault
from mopt_api.quantities import amount
from mopt_api.spec import Resources
from mopt_operator.config.quantities import (
    completed,
    default_resources,
    target_fault,
    target_resources,
)

GIB = 2**30


# As many digits as the client computes without rounding.
NUMBERS = r"[0-9]{1,6}(\.[0-9]{1,3})?"
SUFFIXES = ("n", "u", "m", "", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
EXPONENTS = ("e3", "E3", "e+03", "E-2", "e0")


@pytest.mark.parametrize("suffix", [*SUFFIXES, *EXPONENTS])
@examples(deadline=None, max_examples=20)
@given(number=st.from_regex(NUMBERS, fullmatch=True))
def test_amount_is_that_of_the_kubernetes_client(number: str, suffix: str) -> None:
    quantity = number + suffix
    assert Resources(limits={"memory": quantity}).limits == {"memory": quantity}
    assert amount(quantity) == Fraction(parse_quantity(quantity))  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("quantity", "number"),
    [(2, 2), ("500m", Fraction(1, 2)), ("1.5Gi", 1.5 * GIB), ("1E", 10**18), ("1E3", 1000)],
)
def test_amount(quantity: int | str, number: float | Fraction) -> None:
    assert amount(quantity) == number


@pytest.mark.parametrize(
    "quantity",
    ["1K", "2ki", "1ni", "1mi", "1Mb", "1e", "1e3k", "e3", "", "1 Gi", "-1", " 1", "1e999", -1],
)
def test_what_kubernetes_does_not_know_is_refused(quantity: int | str) -> None:
    with pytest.raises(ValidationError, match=r"limits\.memory"):
        Resources(limits={"memory": quantity})


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


def resources(**sides: object) -> Resources:
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
