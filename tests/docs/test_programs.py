"""The pages' lines with kubectl, helm, docker, buildah, skopeo, crane, cosign, oras and flux.

Held to a table of what the pages use of these programs (program_usage): subcommands, options,
whether an option has a value, the number of arguments. The table is held to the programs' own help
where they are on this machine (test_program_tables.py); that of kubectl, helm, crane and cosign to
the pinned ones by `hack/test gitops`. Of kubectl's arguments the kinds of resources, fields of a
ModelOptimization in JSONPath and explain, conditions, labels and annotations of mopt.dev, and
files of the repository are checked besides. Not checked: values of other options, names of
images and objects, and that a line does what its page says of it; tests/gitops and the demo run
those that matter most.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from doc_pages import ROOT, blocks, page_names, spans
from program_usage import TABLE, Call, check_count, parsed, program_calls

from mopt_api.base import GROUP
from mopt_api.status import ConditionType

CRDS = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml"))]
NAMES = {
    name: crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for crd in CRDS
    for names in [crd["spec"]["names"]]
    for name in (names["singular"], names["plural"], *names["shortNames"])
}
# Kubernetes' own kinds that the pages name, as `kubectl api-resources` has them.
KINDS = {"crd", "deployment", "events", "job", "jobs", "lease", "nodes", "pod", "pods", "secret"}
OURS = set(
    re.findall(
        rf"{re.escape(GROUP)}/\w+", " ".join(p.read_text() for p in (ROOT / "helm").rglob("*.*"))
    )
) | {f"{GROUP}/{word}" for word in ("name", "uid", "stage", "target", "profile", "requestedAt")}
# kubectl's commands whose arguments begin with a kind, or are KIND/NAME.
BY_KIND = {"annotate", "delete", "describe", "explain", "get", "label", "wait"}
BY_KIND |= {"rollout restart", "rollout status"}


def field(schema: dict[str, Any], path: str) -> list[dict[str, Any]]:
    """Return the schemas that a JSONPath leads to.

    Raises:
        AssertionError: There is no such field.
    """
    found = [schema]
    for name, keys in re.findall(r"\.(\w+)|\[([^\]]*)\]", path):
        if name in ("metadata", "kind", "apiVersion"):
            return []
        names = [name] if name else re.findall(r"'(\w+)'", keys)
        if not names:
            found = [each["items"] for each in found]
            continue
        for each in found:
            known = each.get("properties", {})
            assert set(names) <= set(known) or "additionalProperties" in each, (
                f"{path}: no {set(names) - set(known)}"
            )
        found = [each["properties"][n] for each in found for n in names if "properties" in each]
    return found


def check_template(schema: dict[str, Any], template: str) -> None:
    """Raise where a JSONPath template names what a resource has not."""
    here = [schema]
    for part in re.findall(r"\{([^}]*)\}", template):
        if part.startswith("range "):
            here = field(schema, part.removeprefix("range "))
        elif part == "end":
            here = [schema]
        elif part.startswith("."):
            for each in here:
                field(each, part)


def check_kubectl(call: Call) -> None:
    """Raise where kubectl is asked for what is not there."""
    for file in call.values("-f"):
        own = "/" not in file  # The user's, or standard input.
        assert own or (ROOT / file).exists(), f"there is no {file}"
    first = call.arguments[0] if call.arguments else ""
    kinds = re.split(r"[/.]", first)[0].split(",")
    if first and (call.command in BY_KIND or "/" in first):
        assert set(kinds) <= KINDS | set(NAMES), f"no kind {kinds}"
    if call.command == "explain":
        field(NAMES[kinds[0]], first.removeprefix(kinds[0]))
    for output in call.values("-o"):
        if kinds[0] in NAMES and output.startswith("jsonpath="):
            check_template(NAMES[kinds[0]], output)
    for condition in call.values("--for"):
        assert condition.removeprefix("condition=") in set(ConditionType), f"no {condition}"
    keys = [*call.values("-l"), *(a for a in call.arguments[1:] if "=" in a)]
    for key in (word.partition("=")[0] for word in keys):
        assert key in OURS or not key.startswith(GROUP), f"mopt has no {key}"


def check(words: list[str], whole: bool = True) -> None:
    """Raise what is wrong with a call; `whole`: it is a command, no mention of one."""
    if words[:2] == ["kubectl", "mopt"] or (len(words) == 1 and not whole):
        return
    call = parsed(words)
    if whole or call.arguments:
        check_count(call)
    if call.program == "kubectl":
        check_kubectl(call)


CALLS = [
    (str(block), words)
    for block in blocks("console", "sh", "bash")
    for line in re.sub(r"\\\n\s*", " ", block.text).splitlines()
    if any(program in line for program in TABLE)
    for words in program_calls(line.removeprefix("$ "))
]


@pytest.mark.parametrize(
    "words",
    [pytest.param(words, id=f"{page}: {' '.join(words)}"[:90]) for page, words in CALLS],
)
def test_other_programs_have_what_the_pages_use(words: list[str]) -> None:
    check(words)


@pytest.mark.parametrize("page", page_names())
def test_other_programs_have_what_sentences_name(page: str) -> None:
    for span in spans(page):
        text = span.replace(r"\|", "|")
        if text.split()[0] in TABLE:
            for words in program_calls(text):
                check(words, whole=False)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("kubectl aply -f x.yaml", "no kubectl aply"),
        ("kubectl -n a get mopts", "no kind"),
        ("kubectl get mopt,pds", "no kind"),
        ("kubectl get mopt a --ouput yaml", "no --ouput"),
        ("kubectl get mopt a -o", "needs a value"),
        ("kubectl rollout restrt deployment/mopt", "no kubectl rollout"),
        ("kubectl logs deploymnt/mopt", "no kind"),
        ("kubectl explain modeloptimization.spec.modle", "modle"),
        ("kubectl get mopt a -o jsonpath='{.status.target[0].artifact.uri}'", "target"),
        ("kubectl get mopt a -o jsonpath=\"{.status.recommendation['url']}\"", "url"),
        ("kubectl get mopt a -o jsonpath='{range .status.conditions[*]}{.typ}{end}'", "typ"),
        ("kubectl wait --for=condition=Redy mopt/a", "no condition=Redy"),
        ("kubectl get jobs -l mopt.dev/nmae=a", "mopt.dev/nmae"),
        ("kubectl annotate mopt a mopt.dev/requestedat=1", "mopt.dev/requestedat"),
        ("kubectl create -f examples/none.yaml", "there is no examples"),
        ("x=$(kubectl apply --server-sid -f -)", "--server-sid"),
        ("COSIGN_PASSWORD=x cosign verify --kee k image", "no --kee"),
        ("cosign verify-blob --key k --bundle b", "takes 1"),
        ("crane export a b c | tar x", "takes 1 to 2"),
        ("docker tag a", "takes 2"),
        ("for i in a; do docker pus $i; done", "no docker pus"),
        ("skopeo copy dir:a", "takes 2"),
        ("helm install mopt", "takes 2"),
        ("flux tag artefact oci://a --tag=b", "no flux tag"),
    ],
)
def test_a_wrong_line_is_found(line: str, said: str) -> None:
    (words,) = program_calls(line)
    with pytest.raises(AssertionError, match=said):
        check(words)


def test_lines_are_found() -> None:
    assert {words[0] for _, words in CALLS} == set(TABLE)
    pages = {page.partition(":")[0] for page, _ in CALLS}
    assert {"README.md", "docs/runbook.md", "docs/proofs.md", "docs/gitops.md"} <= pages
    assert program_calls("kubectl get x | kubectl apply -f - # kubectl aply") == [
        ["kubectl", "get", "x"],
        ["kubectl", "apply", "-f", "-"],
    ]
