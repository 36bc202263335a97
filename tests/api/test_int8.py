"""Which integers which CPU computes soundly, by the sums that its instructions make."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mopt_api.auto.int8 import (
    S8S8,
    U7S8,
    U8S7,
    U8S8,
    CpuClass,
    Int8Scheme,
    cpu_class,
    is_sound,
    static_scheme,
)

WIDE, NARROW, OTHER = CpuClass.WIDE_X86, CpuClass.NARROW_X86, CpuClass.OTHER
SCHEMES = (U8S8, U8S7, U7S8, S8S8)


@pytest.mark.parametrize(
    ("architecture", "features", "expected"),
    [
        ("x86_64", ["avx2", "avx512f", "avx512_vnni"], WIDE),
        ("AMD64", ["avx2", "avx_vnni"], WIDE),
        ("x86_64", ["amx_int8"], WIDE),
        ("x86_64", ["avx2"], NARROW),
        ("x86_64", ["avx2", "avx512f"], NARROW),
        ("i686", [], NARROW),
        ("aarch64", ["asimd"], OTHER),
        ("arm64", [], OTHER),
        ("aarch64", ["asimd", "asimddp", "i8mm"], OTHER),
        # Where the features alone are known.
        ("x86_64", ["asimd", "asimddp"], OTHER),
    ],
)
def test_class_follows_the_instructions(
    architecture: str, features: list[str], expected: CpuClass
) -> None:
    assert cpu_class(architecture, features) is expected


@pytest.mark.parametrize(
    ("cpu", "sound"),
    [
        (WIDE, {U8S8, U8S7, U7S8, S8S8}),
        (OTHER, {U8S8, U8S7, U7S8, S8S8}),
        (NARROW, {U8S7, U7S8}),
    ],
)
def test_what_is_sound_where(cpu: CpuClass, sound: set[Int8Scheme]) -> None:
    assert {scheme for scheme in SCHEMES if is_sound(scheme, cpu)} == sound


def test_static_files_have_all_bits_that_are_sound() -> None:
    found = {cpu: static_scheme(cpu) for cpu in CpuClass}
    assert found == {WIDE: U8S8, NARROW: U8S7, OTHER: S8S8}
    assert all(is_sound(scheme, cpu) for cpu, scheme in found.items())


def saturating(activations: tuple[int, ...], weights: tuple[int, ...]) -> int:
    """Add two products as PMADDUBSW does."""
    exact = sum(a * w for a, w in zip(activations, weights, strict=True))
    return max(-(2**15), min(2**15 - 1, exact))


def ranges(scheme: Int8Scheme) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the smallest and the largest activation, as x86 multiplies it, and weight."""
    half = 2 ** (scheme.weight_bits - 1)
    return (0, 2**scheme.activation_bits - 1), (-half, half - (scheme.weight_bits == 8))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_is_called_sound_is_what_the_instruction_adds_up(scheme: Int8Scheme) -> None:
    activations, weights = ranges(scheme)
    cut = [
        (a, w)
        for a in product(activations, repeat=2)
        for w in product(weights, repeat=2)
        if saturating(a, w) != a[0] * w[0] + a[1] * w[1]
    ]
    assert bool(cut) is not is_sound(scheme, NARROW)


@given(st.data())
def test_no_values_of_a_sound_scheme_saturate(data: st.DataObject) -> None:
    scheme = data.draw(st.sampled_from([U8S7, U7S8]))
    (low, high), (least, most) = ranges(scheme)
    a = data.draw(st.tuples(st.integers(low, high), st.integers(low, high)))
    w = data.draw(st.tuples(st.integers(least, most), st.integers(least, most)))
    assert saturating(a, w) == a[0] * w[0] + a[1] * w[1]
