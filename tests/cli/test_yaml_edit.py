"""One value of a YAML file is replaced, and not one byte beside it."""

from __future__ import annotations

import difflib
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mopt_cli._errors import CliError
from mopt_cli.yaml_edit import Edit, NotAScalar, PathMissing, Wanted, with_value
from mopt_cli.yaml_path import Choice, Index, Key, parse_path, path_text

# The machine may be busy.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
VALUE = "oci://registry.example:5000/team/sr@sha256:" + "a" * 64

FILE = """\
# Served by KServe.
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: sr,   labels: {app: "x", tier: 'y'}}   # in flow style
spec:
    predictor:
        model:
          modelFormat:  {name: onnx}
          storageUri:   "s3://old/blob"   # mopt pin
          runtime: 'triton'
          empty:
          long: a plain value
            over two lines
          nothing: null # yet
          tagged: !!str s3://tagged
          text: |
            several
            lines
---

kind: Deployment
metadata:
  name: edge
  annotations:
    mopt.dev/digest: sha256:0
spec:
  containers:
  - name: side
    image: &image busybox
  - image: &main "registry.example/main"   # after the name
    name: main
    again: *image
...
"""


def edited(path: str, value: str = VALUE, text: str = FILE, **wanted: str) -> Edit:
    return with_value(text, parse_path(path), value, Wanted(**wanted), "f.yaml")


def changed(before: str, after: str) -> list[str]:
    lines = difflib.ndiff(before.splitlines(keepends=True), after.splitlines(keepends=True))
    return [line[2:].strip() for line in lines if line[0] in "+-"]


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        (
            ".spec.predictor.model.storageUri",
            'storageUri:   "s3://old/blob"   # mopt pin',
            f'storageUri:   "{VALUE}"   # mopt pin',
        ),
        (".spec.predictor.model.runtime", "runtime: 'triton'", f"runtime: '{VALUE}'"),
        (".spec.predictor.model.empty", "empty:", f"empty: {VALUE}"),
        (".spec.predictor.model.nothing", "nothing: null # yet", f"nothing: {VALUE} # yet"),
        (
            ".spec.predictor.model.tagged",
            "tagged: !!str s3://tagged",
            f"tagged: !!str {VALUE}",
        ),
        (
            "spec.predictor.model.modelFormat.name",
            "modelFormat:  {name: onnx}",
            f"modelFormat:  {{name: {VALUE}}}",
        ),
        (".spec.containers[0].image", "image: &image busybox", None),
        (
            ".spec.containers[name=main].image",
            '- image: &main "registry.example/main"   # after the name',
            f'- image: &main "{VALUE}"   # after the name',
        ),
        ("{.spec.containers[1].name}", "name: main", f"name: {VALUE}"),
        (
            '.metadata.annotations["mopt.dev/digest"]',
            "mopt.dev/digest: sha256:0",
            f"mopt.dev/digest: {VALUE}",
        ),
    ],
    ids=[
        "double quotes and a comment stay",
        "single quotes stay",
        "a field without a value gets one",
        "null becomes a value",
        "a tag stays",
        "flow style stays",
        "an anchor that others name is refused",
        "an anchor that nobody names stays",
        "a list by index, braces as kubectl has them",
        "a key with dots",
    ],
)
def test_only_the_value_changes(path: str, old: str, new: str | None) -> None:
    if new is None:
        with pytest.raises(NotAScalar, match="an anchor there is used by other fields"):
            edited(path)
        return
    edit = edited(path)
    assert changed(FILE, edit.text) == [old, new]
    assert edit.text.splitlines()[edit.line - 1].strip() == new


def test_a_value_over_several_lines_becomes_one_line() -> None:
    edit = edited(".spec.predictor.model.long")
    assert edit.before == "a plain value over two lines"
    assert edit.text == FILE.replace("a plain value\n            over two lines", VALUE)


def test_an_equal_value_changes_nothing_whatever_its_quotes() -> None:
    edit = edited(".spec.predictor.model.storageUri", "s3://old/blob")
    assert edit.text == FILE
    assert (edit.before, edit.line) == ("s3://old/blob", 9)


@pytest.mark.parametrize(
    "value",
    ["true", "12", "null", "=", "2026-99-99", "a: b", "a #b", "- x", "*x", "{x", "", "é'\""],
)
def test_a_value_that_would_be_read_as_another_gets_quotes(value: str) -> None:
    for path in (".spec.predictor.model.empty", ".spec.predictor.model.modelFormat.name"):
        documents = list(yaml.safe_load_all(edited(path, value).text))
        model = documents[0]["spec"]["predictor"]["model"]
        assert value in (model["empty"], model["modelFormat"]["name"])


@pytest.mark.parametrize("breaks", ["\n", "\r\n"])
def test_line_breaks_and_a_missing_last_one_stay(breaks: str) -> None:
    text = breaks.join(["\ufeff# é", "a:", "  b: 'x' # y", "c: z"])
    edit = edited(".a.b", text=text)
    assert edit.text == text.replace("'x'", f"'{VALUE}'")


@pytest.mark.parametrize(
    ("path", "wanted", "error", "message"),
    [
        (".spec.nowhere.x", {}, PathMissing, r"f.yaml:6: .spec.nowhere: no such field"),
        (".spec.containers[7]", {"kind": "Deployment"}, PathMissing, "the list has 2"),
        (".spec.containers[name=x].image", {"name": "edge"}, PathMissing, r"\[name=x\]: no such"),
        (".spec", {"kind": "Deployment"}, NotAScalar, ".spec is a mapping"),
        (".spec.containers", {"kind": "Deployment"}, NotAScalar, ".spec.containers is a list"),
        (".spec.predictor.model.text", {}, NotAScalar, "over several lines"),
        (".spec.containers[name=main].again", {}, NotAScalar, r"is an alias: .*\(f.yaml:29\)"),
        (".metadata.name", {}, PathMissing, "in 2 of the documents InferenceService/sr, Deploym"),
        (".kind", {"kind": "Pod"}, PathMissing, "no document with --kind Pod: it holds Inf"),
    ],
)
def test_what_cannot_be_changed_is_refused(
    path: str, wanted: dict[str, str], error: type[CliError], message: str
) -> None:
    with pytest.raises(error, match=message):
        edited(path, **wanted)


def test_a_document_is_chosen_by_kind_and_name() -> None:
    for wanted in ({"kind": "Deployment"}, {"name": "edge"}):
        assert changed(FILE, edited(".metadata.name", "new", **wanted).text) == [
            "name: edge",
            "name: new",
        ]


@pytest.mark.parametrize("text", ["a: [", "{{ .Values.x }}: {{", "a: \x00"])
def test_what_is_not_yaml_is_said(text: str) -> None:
    with pytest.raises(CliError, match=r"f\.yaml is not YAML"):
        edited(".a", text=text)


def test_a_field_twice_is_refused() -> None:
    with pytest.raises(PathMissing, match="there 2 times"):
        edited(".a", text="a: 1\na: 2\n")


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc", "Cn"]), max_size=12)
TREES: st.SearchStrategy[Any] = st.recursive(
    TEXTS | st.integers() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@UNHURRIED
@given(tree=TREES, value=TEXTS, flow=st.booleans(), style=st.sampled_from([None, "'", '"']))
def test_any_value_of_any_document_is_replaced_alone(
    tree: Any, value: str, flow: bool, style: str | None
) -> None:
    """What PyYAML then reads is the same tree with that one value."""
    document = {"before": tree, "at": ["x", {"here": "old"}], "after": tree}
    text = yaml.dump(document, default_flow_style=flow, default_style=style, allow_unicode=True)
    edit = with_value(text, parse_path(".at[1].here"), value, Wanted(), "f.yaml")
    document["at"] = ["x", {"here": value}]
    assert yaml.safe_load(edit.text) == document
    head = len(text[: text.index("here")])
    assert edit.text[:head] == text[:head]


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        (".a.b-c", (Key("a"), Key("b-c"))),
        ("a[0][x=y]", (Key("a"), Index(0), Choice("x", "y"))),
        ('["a.b/c"].d', (Key("a.b/c"), Key("d"))),
        ('.a["b\\"]"]', (Key("a"), Key('b"]'))),
        ('.a[name="x y]"]', (Key("a"), Choice("name", "x y]"))),
    ],
)
def test_paths(text: str, steps: tuple[object, ...]) -> None:
    assert parse_path(text) == steps
    assert "".join(map(str, steps)) == path_text(parse_path(text))


@pytest.mark.parametrize("text", ["", ".", "a..b", "a[", "a[-1]", "a[x]", "a b", ".a]"])
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(CliError, match="--path"):
        parse_path(text)
