"""Which forms there are of a model on a GPU."""

from __future__ import annotations

from itertools import pairwise

import pytest
from bench.gpu.forms import BASELINES, Facts, Form, Mode, Type, forms_of
from bench.gpu.schedule import Work

CONVOLUTIONS = Facts("9.0", linear=0, convolutions=18)
LINEAR = Facts("9.0", linear=36, convolutions=0)


def test_a_network_of_convolutions_has_channels_last_and_no_eight_bits() -> None:
    forms, without = forms_of(Work.FIGURES, CONVOLUTIONS)
    assert forms[:2] == list(BASELINES)
    assert Form(Type.FP16, channels_last=True) in forms
    assert Form(Type.FP16, Mode.COMPILED, channels_last=True) in forms
    assert {form.type for form, _ in without} == {Type.FP8, Type.INT8}
    assert {why for _, why in without} == {"the model has no Linear"}


def test_a_network_of_linear_has_eight_bits_compiled_and_no_channels_last() -> None:
    forms, without = forms_of(Work.FIGURES, LINEAR)
    assert {form.mode for form in forms if form.type.of_linear} == {Mode.COMPILED}
    assert {form.type for form in forms} == set(Type)
    assert not any(form.channels_last for form in forms)
    assert without == []


@pytest.mark.parametrize(
    ("capability", "missing"),
    [
        ("7.5", {Type.TF32, Type.BF16, Type.FP8}),
        ("8.0", {Type.FP8}),
        ("8.6", {Type.FP8}),
        ("8.9", set()),
        ("10.0", set()),
    ],
)
def test_what_the_gpu_has_no_units_for_is_said(capability: str, missing: set[Type]) -> None:
    _, without = forms_of(Work.FIGURES, Facts(capability, linear=36, convolutions=0))
    assert {form.type for form, _ in without} == missing
    assert all(f"here is {capability}" in why for _, why in without)


def test_eager_comes_before_what_compiles_and_graphs_before_tuning() -> None:
    for facts in (CONVOLUTIONS, LINEAR):
        modes = [form.mode for form in forms_of(Work.FIGURES, facts)[0]]
        eager = [mode is Mode.EAGER for mode in modes]
        assert all(first >= second for first, second in pairwise(eager))
        tuned = [form.mode for form in forms_of(Work.TUNED, facts)[0]]
        assert tuned == [Mode.GRAPHS] * 3 + [Mode.TUNED] * 3


def test_every_form_has_a_name_of_its_own() -> None:
    forms = [f for work in (Work.FIGURES, Work.TUNED) for f in forms_of(work, CONVOLUTIONS)[0]]
    assert len({form.name for form in forms}) == len(forms)
